"""Misses, failures, refill, finetune, compare, as typed: an endpoint, and a student that really learns."""

import json
from pathlib import Path

import pytest

from distill.cli import main
from distill.store import jsonl
from distill.store.refills import REFILL
from distill.store.run import Run
from distill.types import Message, Pair, Request
from tests.conftest import play
from tests.student.tiny import byte_tokenizer, tiny_model
from tests.teacher.fault_server import FaultServer, chat

pytestmark = pytest.mark.slow  # trains twice

TASK = """
name = "mood"
kind = "label"
instruction = "Say the mood."
input_noun = "note"
labels = [
    {name = "happy", description = "glad", examples = ["what a joyful morning", "we laughed all evening"]},
    {name = "sad", description = "unhappy", examples = ["nobody came and it rained", "she missed him more"]},
]
[attributes]
place = ["home", "work", "school"]
"""
TRAINING = ("--max-steps", 8, "--batch-size", 4, "--learning-rate", "5e-4", "--device", "cpu")


def answer(_number, body):
    messages = tuple(Message(entry["role"], entry["content"]) for entry in body["messages"])
    return chat(play(Request(messages, seed=body.get("seed", 0)), 0))


def rows(path):
    return [record for _, record in jsonl.read(path, Pair)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    (tmp_path / "task.toml").write_text(TASK)
    tiny_model(max_position_embeddings=512).save_pretrained(tmp_path / "tiny")
    byte_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path


def distill(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["--json", *(str(argument) for argument in arguments)])
    return left.value.code


def test_misses_become_pairs_and_the_next_student_is_measured_on_rows_unseen(place, capsys):
    run = Run(Path("runs") / "first")
    with FaultServer(answer) as server:
        teacher = ("--teacher", "big", "--base-url", server.url)
        shares = ("--valid-share", "0.25", "--test-share", "0.25", "--lift-rows", 0)

        def round_of():
            assert distill("finetune", "--student", "tiny", *TRAINING) in (0, 3)
            return distill("compare", *teacher, "--ask-twice", 0)

        assert distill("pick", "--task", "task.toml") == 0
        assert distill("generate", "--n", 96, *shares, *teacher) == 0
        assert round_of() in (0, 3)
        held_out = {name: run.splits[name].read_bytes() for name in ("valid", "test")}
        test = [pair.input for pair in rows(run.splits["test"])]
        assert distill("failures") == 0
        found = json.loads(run.failures.read_text())
        assert found["clusters"], "a student of 8 steps knows everything"
        before = len(server.asked)
        capsys.readouterr()
        assert distill("generate", "--from-failures", "--n", 10, *teacher) == 0
        summary = json.loads(capsys.readouterr().out)
        refilling = server.asked[before:]
        assert refilling
        assert not any(
            text in entry["content"] for body in refilling for entry in body["messages"] for text in test
        )
        asked = len(server.asked)
        assert distill("generate", "--from-failures", *teacher) == 0
        assert distill("generate", "--n", 96, *shares, *teacher) == 0  # done, and the refilled rows stay
        assert len(server.asked) == asked
        new = [pair for pair in rows(run.splits["train"]) if pair.origin == REFILL]
        assert len(new) == summary["refills"][0]["accepted"] == 10
        assert distill("failures") == 0  # of the student that is compared, until there is another
        first = run.summary("finetune")
        assert round_of() in (0, 3)
        assert run.summary("finetune")["rows"]["train"] == first["rows"]["train"] + 10
    assert {name: run.splits[name].read_bytes() for name in held_out} == held_out
    assert not set(test) & {pair.input for pair in rows(run.splits["train"])}
    report = run.summary("compare")
    assert [each["round"] for each in report["rounds"]] == [0, 1]
    assert report["rounds"][1]["n_train"] == report["rounds"][0]["n_train"] + 10
    assert report["rounds"][1]["n"] == len(test)
    assert report["rounds"][1]["against_previous"]["n"] == len(test)
    assert "ound by round" in run.html.read_text()
