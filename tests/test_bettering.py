"""Stages on trial: what a vote and a revision gain on known rows; revision is bought only where it pays."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from distill.answering import Answering
from distill.bettering import known_rows, revision_pays, through_stages
from distill.config import GenerateConfig
from distill.filters.chain import on_answers
from distill.preparing import settle_stages
from distill.score.lift import stage_gains
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Candidate, Example, Label, PromptChoice, Quiet, Task

SUM = Task("sum", "text", "Add up.", verify="number")
KNOWN = [Example(f"{n} and {n}", str(2 * n)) for n in range(1, 31)]


def adder(mends):
    """Adds up wrongly on every third input; told so, it `mends` the answer or spoils a right one."""

    def script(request, sample):
        last = request.messages[-1].content
        n = int(re.search(r"(\d+) and", " ".join(message.content for message in request.messages))[1])
        wrong = n % 3 == 0
        if "Say in two sentences" in last:
            return "Check the sum."
        if "A reviewer says" in last:
            return str(2 * n) if mends else "0"
        return str(2 * n + 1) if wrong and sample == 0 else str(2 * n)

    return ScriptedTeacher(script)


def trial(teacher, known=KNOWN, task=SUM, **knobs):
    config = GenerateConfig(judge="off", **{"samples": 1, **knobs})
    settled, found = asyncio.run(settle_stages(task, config, teacher, Quiet(), known))
    return settled, found["revision"]


def test_revision_is_on_where_it_pays_and_off_where_it_does_not():
    config, found = trial(adder(mends=True))
    assert config.revise == "on"
    assert found["gain"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["low"] > 0
    config, found = trial(adder(mends=False))
    assert config.revise == "off"
    assert found["gain"] == pytest.approx(-2 / 3, abs=1e-4)
    assert found["why"] == "it does not pay: -66.7 points on 30 known rows"


def test_revision_without_known_rows_is_off_and_asks_nothing():
    teacher = adder(mends=True)
    config, found = trial(teacher, known=KNOWN[:9])
    assert (config.revise, found["on"]) == ("off", False)
    assert "--seeds" in found["why"]
    labels = Task("mood", "label", "Say it.", labels=(Label("a"), Label("b")))
    assert trial(teacher, task=labels)[0].revise == "off"
    assert not teacher.requests


def test_revision_asked_for_is_never_on_trial():
    teacher = adder(mends=False)
    config, found = trial(teacher, revise="on")
    assert (config.revise, found) == ("on", {"on": True, "why": "--revise on"})
    assert not teacher.requests


def test_each_stage_is_measured_on_the_one_before_it():
    config = GenerateConfig(judge="off", samples=3, elect="on", revise="on")
    answering = Answering(SUM, config, adder(mends=True), (), on_answers(SUM, config))
    rows = [right for _, right in asyncio.run(through_stages(answering, KNOWN, Quiet()))]
    vote, revision = stage_gains(rows)
    assert (vote["stage"], vote["before"], vote["after"], vote["pays"]) == ("chosen", 0.6667, 1.0, True)
    assert (revision["stage"], revision["gain"], revision["pays"]) == ("revised", 0.0, None)


MOODS = Task(
    "mood",
    "label",
    "Say the mood.",
    labels=(Label("happy", examples=("a good day",)), Label("sad", examples=("a bad day",))),
    prompt=PromptChoice("zero-shot", others=("cued-1", "few-shot-1")),
)
FELT = [Example(f"note {n}", ("happy", "sad")[n % 2]) for n in range(20)]


def reader(first, others):
    """Reads notes with the best prompt as `first` says, with the other kinds as `others` says."""

    def script(request, sample):
        last = request.messages[-1].content
        n = int(re.search(r"note (\d+)", last)[1])
        best = len(request.messages) == 2 and not last.startswith("Text")
        return (first if best else others)(n)

    return ScriptedTeacher(script)


def truth(n):
    return ("happy", "sad")[n % 2]


def election(teacher, known=FELT, task=MOODS, **knobs):
    config = GenerateConfig(**{"inputs": Path("inputs.jsonl"), "judge": "off", **knobs})
    settled, found = asyncio.run(settle_stages(task, config, teacher, Quiet(), known))
    return settled, found["election"]


def test_votes_choose_where_they_gain_known_rows_and_only_drop_elsewhere():
    config, found = election(reader(lambda n: "happy", truth))
    assert (config.elect, found["gain"]) == ("on", 0.5)
    config, found = election(reader(truth, lambda n: "happy"))
    assert (config.elect, found["gain"]) == ("off", -0.5)
    assert "does not pay" in found["why"]


def test_without_known_rows_the_first_answer_stands_unless_best_of_is_asked_for():
    teacher = reader(truth, truth)
    assert election(teacher, known=())[0].elect == "off"
    assert election(teacher, known=(), best_of=5)[0].elect == "on"
    assert election(teacher, known=(), task=SUM)[0].elect == "off"
    assert election(teacher, known=(), task=SUM, samples=1)[0].elect == "off"
    assert election(teacher, inputs=None)[0].elect == "off"
    assert not teacher.requests


def test_votes_are_held_against_the_answer_that_stands_without_them():
    """The best prompt says nothing on some notes; there the next one's answer stands, which is right."""
    best = reader(lambda n: "" if n % 5 == 0 else truth(n), truth)
    config, found = election(best)
    assert (config.elect, found["gain"], found["before"]) == ("off", 0.0, 1.0)


def test_the_responses_of_a_log_are_votes_whatever_is_known():
    teacher = reader(truth, lambda n: "happy")
    config, found = election(teacher, inputs=None, from_logs=Path("log.jsonl"))
    assert (config.elect, found["on"]) == ("on", True)
    assert not teacher.requests
    answering = Answering(MOODS, config, reader(truth, truth), (), on_answers(MOODS, config))
    logged = Candidate(index=0, input="note 7", answer="", origin="given", raw="happy")
    row = asyncio.run(answering.answer(logged))
    assert (row.answer, row.raw, row.agreement) == ("sad", "happy", pytest.approx(2 / 3))


def test_a_judge_chooses_only_where_that_pays():
    """The judge always takes the second answer, which is wrong."""

    def script(request, sample):
        last = request.messages[-1].content
        if "Reply with the name" in last:
            return re.search(r"Answer (\S+): (?!" + right(last) + r"\b)", last)[1]
        return right(last) if sample == 0 else "0"

    def right(text):
        return str(2 * int(re.search(r"(\d+) and", text)[1]))

    ruled = msgspec.structs.replace(SUM, rubric=("Is it the sum?",))
    knobs = {"task": ruled, "inputs": None, "known": KNOWN, "judge": "on", "best_of": 2}
    config, found = election(ScriptedTeacher(script), **knobs)
    assert (config.elect, found["gain"]) == ("off", -1.0)
    assert Answering(ruled, config, ScriptedTeacher(script), (), on_answers(ruled, config)).choosing is False
    assert election(ScriptedTeacher(script), **knobs | {"known": ()})[0].elect == "on"


@pytest.mark.parametrize(("elect", "answer", "kept"), [("on", "sad", True), ("off", "happy", False)])
def test_an_answer_that_is_outvoted_is_dropped_where_votes_do_not_choose(elect, answer, kept):
    config = GenerateConfig(inputs=Path("inputs.jsonl"), judge="off", elect=elect, min_agreement=0.3)
    rules = on_answers(MOODS, config)
    answering = Answering(MOODS, config, reader(lambda n: "happy", lambda n: "sad"), (), rules)
    row = asyncio.run(answering.answer(Candidate(index=0, input="note 7", answer="", origin="given")))
    assert (row.raw, row.answer) == ("happy", answer)
    assert rules.judge(row).keep == kept


def test_known_rows_are_the_same_each_time():
    assert known_rows(KNOWN, 12, 3) == known_rows(KNOWN, 12, 3)
    assert len(known_rows(KNOWN, 100, 3)) == 30


def test_revision_pays_says_why_it_cannot_tell():
    chat = Task("help", "chat", "Help.")
    config = GenerateConfig(revise="on")
    answering = Answering(chat, config, adder(mends=True), (), on_answers(chat, config))
    assert "no known answer" in asyncio.run(revision_pays(answering, KNOWN, Quiet()))["why"]
