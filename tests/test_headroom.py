"""The base student on the teacher's probes, and what a task would save."""

import asyncio

import msgspec
import pytest

from distill.headroom import with_base
from distill.scouted import Probe, Scouted, Trial
from distill.student.protocol import Answer
from distill.teacher.prices import Prices
from distill.types import Task
from distill.worth import with_terms
from tests.conftest import MOOD

INPUTS = [f"note {place}" for place in range(8)]
TEACHER = ["happy"] * 6 + ["sad"] * 2


class Fixed:
    """A student that always says the same, in an order of its own; it keeps what it was shown."""

    model = "fixed"

    def __init__(self, text, finish="stop"):
        self.text, self.finish, self.shown = text, finish, []

    def answer(self, conversations, *, max_new_tokens, batch_size):
        self.shown = list(conversations)
        for place in reversed(range(len(conversations))):
            yield place, Answer(self.text, self.finish, 0.1, 1)


def scouted(task=MOOD, expected="happy"):
    probes = [Probe(text, expected) for text in INPUTS] + [Probe("shaped on", "sad", tuning=True)]
    best = Trial("zero-shot", "construction", 6, 8, 0.4, 0.9, TEACHER, [True] * 6 + [False] * 2)
    return Scouted(task, "~OK", "written", [best], probes=probes)


def test_student_answers_the_probes_of_the_best_prompt_with_its_own_prompt():
    student = Fixed("Happy.")
    base = asyncio.run(with_base(scouted(), student)).base
    assert (base.right, base.n, base.prompt) == (8, 8, "student")
    assert base.answers == ["happy"] * 8
    assert [turns[-1].content.count(text) for turns, text in zip(student.shown, INPUTS, strict=True)] == [
        1
    ] * 8


def test_without_known_answers_the_student_is_held_to_the_teachers():
    assert asyncio.run(with_base(scouted(expected=None), Fixed("happy"))).base.right == 6


@pytest.mark.parametrize("student", [Fixed("no idea"), Fixed("happy", "length")])
def test_no_answer_and_a_cut_one_are_wrong(student):
    assert asyncio.run(with_base(scouted(), student)).base.right == 0


def test_terms_take_the_logs_cost_before_an_estimate():
    found = asyncio.run(with_base(scouted(), Fixed("sad")))
    prices = Prices(1.0, 2.0)
    guessed = with_terms(found, prices, None).terms
    assert guessed["usd_from"] == "estimated"
    assert 1e-6 < guessed["usd_a_call"] < 1e-3
    logged = msgspec.structs.replace(found, traffic={"usd_a_call": 0.5, "calls_a_month": 10_000})
    told = with_terms(logged, prices, None).terms
    assert (told["usd_from"], told["usd_a_call"], told["terms"]["volume"]) == ("the log", 0.5, 0.5)
    assert told["terms"]["headroom"] == 1
    assert with_terms(found, Prices(), None).terms["usd_from"] == "unknown"


def test_nothing_measured_has_no_terms():
    bare = Scouted(Task("t", "text", "Write."), "unclear", "", [])
    assert with_terms(bare, Prices(1, 1), None).terms is None
    assert asyncio.run(with_base(scouted(), Fixed("happy"))).terms is None
