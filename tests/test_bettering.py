"""Stages on trial: what a vote and a revision gain on known rows; revision is bought only where it pays."""

import asyncio
import re

import pytest

from distill.answering import Answering
from distill.bettering import known_rows, revision_pays, through_stages
from distill.config import GenerateConfig
from distill.filters.chain import on_answers
from distill.preparing import settle_revision
from distill.score.lift import stage_gains
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Example, Label, Quiet, Task

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
    return asyncio.run(settle_revision(task, config, teacher, Quiet(), known))


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
    config = GenerateConfig(judge="off", samples=3, revise="on")
    answering = Answering(SUM, config, adder(mends=True), (), on_answers(SUM, config))
    rows = [right for _, right in asyncio.run(through_stages(answering, KNOWN, Quiet()))]
    vote, revision = stage_gains(rows)
    assert (vote["stage"], vote["before"], vote["after"], vote["pays"]) == ("chosen", 0.6667, 1.0, True)
    assert (revision["stage"], revision["gain"], revision["pays"]) == ("revised", 0.0, None)


def test_known_rows_are_the_same_each_time():
    assert known_rows(KNOWN, 12, 3) == known_rows(KNOWN, 12, 3)
    assert len(known_rows(KNOWN, 100, 3)) == 30


def test_revision_pays_says_why_it_cannot_tell():
    chat = Task("help", "chat", "Help.")
    config = GenerateConfig(revise="on")
    answering = Answering(chat, config, adder(mends=True), (), on_answers(chat, config))
    assert "no known answer" in asyncio.run(revision_pays(answering, KNOWN, Quiet()))["why"]
