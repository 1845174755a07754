"""A student answers in batches what it answers row by row; adapters go where they belong; loading is safe."""

import pytest

from distill.errors import DataError, DeviceError, UsageError
from distill.types import Message
from tests.student.engines import fitted, recipe_of
from tests.student.tiny import byte_tokenizer, few_pairs, tiny_model

pytestmark = pytest.mark.slow


def conversations(count):
    return [pair.messages for pair in few_pairs(count)]


def texts(student, asked, size, room=12):
    answers = dict(student.answer(asked, max_new_tokens=room, batch_size=size))
    assert sorted(answers) == list(range(len(asked)))
    return [answers[index].text for index in range(len(asked))]


def weights_of(folder):
    from distill.weights import Weights

    return Weights(str(folder), None, folder.name)


@pytest.fixture
def student(student_folder, float32):
    from distill.student.causal import open_student

    return open_student(weights_of(student_folder), float32)


def test_batched_answers_are_the_single_ones(student):
    asked = conversations(30)
    assert texts(student, asked, 7) == texts(student, asked, 1)
    assert len(set(texts(student, asked, 7))) > 1


def test_answers_are_what_transformers_generates(student):
    import torch

    asked = conversations(6)
    for conversation, text in zip(asked, texts(student, asked, 6), strict=True):
        ids_BT = torch.tensor([student.chat.prompt(conversation)])
        out = student.net.model.generate(
            input_ids=ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=[0, 2],
            pad_token_id=1,
        )
        new = [number for number in out[0, ids_BT.shape[1] :].tolist() if number not in (0, 2)]
        assert student.chat.text(new).strip() == text


def test_an_answer_says_how_it_ended(student):
    (_, answer), *_ = student.answer(conversations(3), max_new_tokens=2, batch_size=2)
    assert answer.finish_reason in ("stop", "length")
    assert 1 <= answer.tokens <= 2
    assert answer.latency_s > 0


def test_no_room_for_an_answer_is_an_error(student):
    with pytest.raises(DataError, match="leaves no room"):
        list(student.answer([(Message("user", "x" * 300),)], max_new_tokens=4, batch_size=1))


def test_a_trained_student_stops_and_its_base_is_untouched(tmp_path, chat, student_folder, float32):
    from distill.student import causal, forward, loop, lora
    from distill.student.encode import encode

    weights = weights_of(student_folder)
    model, _ = causal.load(weights, float32)
    wrapped = lora.attach(model, lora.LoraShape(8, 16), 0)
    learner = loop.Learner(forward.open_net(model), lora.trainable(wrapped), chat.pad, float32)
    recipe = recipe_of(batch_size=8, learning_rate=1e-2, epochs=12)
    fitted(learner, encode(chat, few_pairs(32), 256), [], recipe)
    lora.save(wrapped, tmp_path / "adapter", "tiny")

    student = causal.open_student(weights, float32, tmp_path / "adapter")
    before = texts(causal.open_student(weights, float32), conversations(8), 4)
    assert set(texts(student, conversations(8), 4)) <= {"good", "bad"}
    assert texts(student.base(), conversations(8), 4) == before
    answers = [answer for _, answer in student.answer(conversations(8), max_new_tokens=12, batch_size=8)]
    assert {answer.finish_reason for answer in answers} == {"stop"}


def test_an_adapter_of_another_base_is_refused(tmp_path, float32):
    from distill.student import lora

    wrapped = lora.attach(tiny_model(), lora.LoraShape(4, 8), 0)
    lora.save(wrapped, tmp_path, "that one")
    other = tiny_model(initializer_range=0.1)
    with pytest.raises(UsageError, match="trained on that one, whose weights are not those of this one"):
        lora.load(other, tmp_path, "this one")
    assert lora.load(tiny_model(), tmp_path, "the same weights elsewhere") is not None
    with pytest.raises(UsageError, match="no adapter here"):
        lora.load(tiny_model(), tmp_path / "none", "x")


def test_a_fingerprint_sees_through_lora_and_rounding():
    import torch

    from distill.student import lora

    plain = lora.fingerprint(tiny_model())
    assert lora.fingerprint(tiny_model().to(torch.bfloat16)) == plain
    assert lora.fingerprint(lora.attach(tiny_model(), lora.LoraShape(4, 8), 0)) == plain
    assert lora.fingerprint(tiny_model(hidden_size=32)) != plain


def test_unsafe_or_missing_weights_are_refused(tmp_path, float32):
    from distill.student.causal import load

    with pytest.raises(UsageError, match="no model here"):
        load(weights_of(tmp_path), float32)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UsageError, match=r"only pickled weights here \(pytorch_model.bin\)"):
        load(weights_of(tmp_path), float32)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(UsageError, match="cannot be loaded"):
        load(weights_of(tmp_path), float32)


def test_out_of_memory_is_a_device_error():
    import torch

    from distill.student.causal import memory

    with pytest.raises(DeviceError, match="out of memory"), memory("smaller"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
    with pytest.raises(DeviceError, match="not enough memory"), memory("smaller"):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
    with pytest.raises(RuntimeError, match="shapes"), memory("smaller"):
        raise RuntimeError("shapes do not match")


def test_a_model_that_caps_its_logits_keeps_its_own_head():
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from distill.student.forward import open_net

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        initializer_range=0.5,
        final_logit_softcapping=1.0,
    )
    net = open_net(Gemma2ForCausalLM(config).eval())
    assert net.head is None
    assert not net.shares_prefix


def test_the_device_says_why(tmp_path):
    import torch

    from distill.student.device import cpu_bfloat16, pick

    (tmp_path / "cpuinfo").write_text("flags : fpu avx512_bf16 sse\n")
    assert cpu_bfloat16(tmp_path / "cpuinfo") == "avx512_bf16"
    assert cpu_bfloat16(tmp_path / "none") == ""
    assert pick("cpu", "float32").line.startswith("CPU, float32 (asked for")
    assert pick("cpu", "auto").name == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            pick("cuda", "auto")


def test_padding_ids_never_reach_an_answer():
    from distill.student.chat import open_chat
    from distill.student.decode import stop_ids

    chat = open_chat(byte_tokenizer())
    assert stop_ids(tiny_model(), chat) == frozenset({0, 2})
    assert chat.pad not in (chat.stop,)
