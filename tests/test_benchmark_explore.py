"""The benchmark of explore runs whole, on little data and a scripted teacher, and counts what it says."""

import argparse
import asyncio
import json
import random

import pytest

from distill.teacher.scripted import ScriptedTeacher
from tests.conftest import sentence
from tests.test_benchmarks import BENCHMARKS

pytestmark = pytest.mark.slow


@pytest.fixture
def exploring(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import explore

    return explore


def put(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(count, start=0):
    moods = {"positive": "lovely", "negative": "dreadful"}
    return [
        {"input": f"{sentence(start + n, moods[mood])}", "output": mood}
        for n in range(count)
        for mood in moods
    ]


def reads(request, sample):
    """Writes and reads sentiment; without examples it reads one in three as a coin would."""
    last = request.messages[-1].content
    if last.startswith("Write a "):
        return sentence(request.seed, "lovely" if "positive" in last else "dreadful")
    right = "positive" if "lovely" in last else "negative"
    shown = any(message.role == "assistant" for message in request.messages)
    return right if shown or random.Random(last).random() > 0.4 else "neither"


def test_a_study_of_one_task_holds_what_the_issue_asks(exploring, tmp_path):
    put(tmp_path / "sst2" / "train.jsonl", rows(90))
    put(tmp_path / "sst2" / "test.jsonl", rows(40, 1000))
    options = argparse.Namespace(data=tmp_path, rows=60, sums=5, calls=400, probes=40, split="test")
    teacher = ScriptedTeacher(reads)
    found = asyncio.run(exploring.study("sst2", options, teacher, "test"))
    assert found["verdict"]["standing"] == "~OK"
    assert found["calls"] <= 400
    assert len(found["prompts"]) == exploring.MOST_PROMPTS
    assert all(row["gold_rows"] == 60 for row in found["prompts"])
    assert found["improved"]["beats_zero_shot"]
    assert found["improved"]["calls"] <= 400
    assert found["kendall_tau"]["tau"] > 0
    whole = exploring.overall({"tasks": {"sst2": found}})
    assert whole["rows"] == exploring.MOST_PROMPTS
    assert whole["beats_zero_shot"] == ["sst2"]


def test_labels_of_the_two_subsets_of_banking_are_apart(exploring, tmp_path):
    names = [f"label_{number:02}" for number in range(77)]
    put(tmp_path / "banking77" / "train.jsonl", [{"input": name, "output": name} for name in names])
    one, other = (set(exploring.labels_of(name, tmp_path)) for name in ("banking77-10", "banking77-dev"))
    assert len(one) == len(other) == 10
    assert not one & other
