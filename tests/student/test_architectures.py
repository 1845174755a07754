"""Students that are no Llama and no BERT: other attention, other names for layers, weights not there."""

import msgspec
import pytest

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.taskfile import write_task
from distill.types import Message, Quiet
from distill.weights import Weights
from tests.student.test_classifier import TASK
from tests.student.tiny import byte_tokenizer, few_pairs, tiny_model
from tests.student.tiny_encoder import encoder_tokenizer, labelled

pytestmark = pytest.mark.slow
STEPS = {"batch_size": 4, "max_steps": 2, "dtype": "float32", "device": "cpu"}
SHAPE = {"vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "initializer_range": 0.2}
DECODERS = {
    "bloom": {"vocab_size": 259, "hidden_size": 32, "n_layer": 2, "n_head": 2},
    "gpt_neo": {
        "vocab_size": 259,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 256,
    },
    "mpt": {"vocab_size": 259, "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 256},
    "gpt2": {"vocab_size": 259, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
}
ENCODERS = {
    "roberta": {**SHAPE, **HEADS, "max_position_embeddings": 66, "type_vocab_size": 2, "pad_token_id": 0},
    "deberta-v2": {**SHAPE, **HEADS, "max_position_embeddings": 64, "type_vocab_size": 2},
}


def save(folder, kind, config, auto, tokenizer):
    import torch
    import transformers

    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": 0} if auto == "AutoModelForCausalLM" else {}
    made = transformers.AutoConfig.for_model(kind, **config, **ends)
    getattr(transformers, auto).from_config(made).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def decoder(folder, kind):
    return save(folder, kind, DECODERS[kind], "AutoModelForCausalLM", byte_tokenizer())


def encoder(folder, kind):
    return save(folder, kind, ENCODERS[kind], "AutoModelForMaskedLM", encoder_tokenizer())


def weights(folder):
    return Weights(str(folder), None, str(folder))


@pytest.fixture
def label_run(run):
    write_task(run.task, TASK)
    pairs = labelled(51)
    jsonl.replace(run.splits["train"], pairs[:39])
    jsonl.replace(run.splits["valid"], pairs[39:])
    return run


@pytest.mark.parametrize("packing", ["auto", "on"])
@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_of_any_kind_is_trained_and_answers(run, tmp_path, float32, capsys, kind, packing):
    from distill.student.causal import open_student

    folder = decoder(tmp_path / kind, kind)
    config = FinetuneConfig(student=str(folder), packing=packing, **STEPS)
    if packing == "on" and kind != "gpt2":
        with pytest.raises(UsageError, match="see each other"):
            finetune(run, config, Quiet())
        return
    assert finetune(run, config, Quiet())["steps"] == 2
    student = open_student(weights(folder), float32, run.adapter)
    asked = [pair.messages for pair in few_pairs(5)]
    together = dict(student.answer(asked, max_new_tokens=6, batch_size=4))
    for place, conversation in enumerate(asked):
        alone = dict(student.answer([conversation], max_new_tokens=6, batch_size=1))
        assert alone[0].text == together[place].text
    assert "attention implementation" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_of_any_kind_is_trained_and_opened(label_run, tmp_path, float32, kind):
    """RoBERTa's checkpoints have no pooler: what fills one must be the same at each load."""
    from distill.student.opening import open_student

    folder = encoder(tmp_path / kind, kind)
    config = FinetuneConfig(student=str(folder), student_kind="classifier", engine="loop", **STEPS)
    assert finetune(label_run, config, Quiet())["steps"] == 2
    for _ in range(2):
        student = open_student(weights(folder), float32, label_run.adapter)
        found = dict(student.answer([pair.messages for pair in labelled(4)], max_new_tokens=1, batch_size=2))
        assert {answer.text for answer in found.values()} <= {label.name for label in TASK.labels}


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_that_lacks_weights_is_refused(tmp_path, float32, kind):
    from distill.student import classifier

    folder = encoder(tmp_path / kind, kind)
    changed(folder, num_hidden_layers=3)
    with pytest.raises(UsageError, match=r"lack 16 of the weights .* encoder\.layer\.2\.attention"):
        classifier.load(weights(folder), float32)


def changed(folder, **settings):
    """Change config.json."""
    path = folder / "config.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **settings}))


def test_an_encoder_is_no_causal_student(run, tmp_path):
    longer = {**ENCODERS["roberta"], "max_position_embeddings": 258}
    folder = save(tmp_path / "roberta", "roberta", longer, "AutoModelForMaskedLM", encoder_tokenizer())
    byte_tokenizer().save_pretrained(folder)
    with pytest.raises(UsageError, match="it is an encoder") as caught:
        finetune(run, FinetuneConfig(student=str(folder), student_kind="causal", **STEPS), Quiet())
    assert "--student-kind classifier" in caught.value.hint
    assert not run.adapter.exists()


@pytest.mark.parametrize("kind", DECODERS)
def test_states_of_a_decoder_whatever_its_layers_are_called(tmp_path, float32, kind):
    """0.6 of two layers is one: the states are those of a model cut to it."""
    from distill.student.states import states

    whole = decoder(tmp_path / "whole", kind)
    conversations = [(Message("user", text),) for text in ("a", "bb", "ccc")]
    found = states(weights(whole), float32, conversations, Quiet())
    assert found.shape == (3, 64)
    name = {"gpt_neo": "num_layers", "mpt": "n_layers"}.get(kind, "n_layer")
    import transformers

    config = transformers.AutoConfig.from_pretrained(whole)
    setattr(config, name, 1)
    if kind == "gpt_neo":
        config.attention_types, config.attention_layers = [[["global"], 1]], ["global"]
    model = transformers.AutoModelForCausalLM.from_pretrained(whole, config=config)
    model.save_pretrained(tmp_path / "cut")
    byte_tokenizer().save_pretrained(tmp_path / "cut")
    assert found.allclose(states(weights(tmp_path / "cut"), float32, conversations, Quiet()), atol=1e-4)


def test_layers_that_are_no_list_are_told(tmp_path, float32):
    import torch

    from distill.student.states import cut

    model = tiny_model().get_decoder()
    model.config.num_hidden_layers = 7
    with pytest.raises(UsageError, match="which of this model's parts are its layers"):
        cut(model, weights(tmp_path))
    assert isinstance(model.layers, torch.nn.ModuleList)


def test_lora_on_the_layers_of_gpt2(run, tmp_path, float32):
    from distill.student import need
    from distill.student.lora import LoraShape

    folder = decoder(tmp_path / "gpt2", "gpt2")
    config = FinetuneConfig(student=str(folder), lora_targets="c_attn", lora_rank=4, **STEPS)
    assert finetune(run, config, Quiet())["trainable_parameters"] == 2 * 4 * (32 + 96)
    all_linear = 4 * 2 * ((32 + 96) + (32 + 32) + 2 * (32 + 128))
    told = need.estimate(weights(folder), float32, LoraShape(4, 8))
    assert told.trained == all_linear * need.ADAM_BYTES
    with pytest.raises(UsageError, match="no linear layer called q_proj"):
        finetune(run, FinetuneConfig(student=str(folder), lora_targets="q_proj", **STEPS), Quiet())


@pytest.mark.parametrize(
    ("fused", "tokens", "chosen"), [(True, 9, "eager"), (True, 999, "sdpa"), (False, 999, "eager")]
)
def test_attention_is_torchs_for_long_rows_where_there_is_any(monkeypatch, fused, tokens, chosen):
    from distill.student.forward import choose_attention

    model = tiny_model()
    monkeypatch.setattr(type(model), "_supports_sdpa", fused)
    choose_attention(model, tokens)
    assert model.config._attn_implementation == chosen
