"""What a task is worth: each term, what is left out, and when a student has paid for itself."""

import math

import pytest

from distill.score.distillability import MEANING, MONTHS, Costs, advise, break_even, by, half, headroom, terms
from distill.score.stats import wilson
from distill.types import AnswerField, Label, Task

LABEL = Task("t", "label", "Decide.", labels=(Label("a"), Label("b")))
TEXT = Task("t", "text", "Write.")
SUMS = Task("t", "text", "Add.", verify="number")


def test_the_whole_is_the_geometric_mean_of_what_is_known():
    told = terms(LABEL, wilson(18, 20), wilson(9, 20), Costs(0.01, 10_000))
    saved = half((0.01 - 2 / 3600 / 10) * 10_000, 100)
    expected = {"teacher": 0.9, "headroom": 0.5, "checkability": 1.0, "volume": 0.5, "saved": saved}
    assert told["terms"] == pytest.approx(expected)
    assert list(told["terms"]) == list(MEANING)
    assert told["value"] == pytest.approx(math.prod(expected.values()) ** 0.2)
    assert told["left_out"] == []


def test_what_is_not_known_is_left_out_and_named():
    told = terms(LABEL, wilson(18, 20), None, Costs())
    assert told["left_out"] == ["headroom", "volume", "saved"]
    assert told["value"] == pytest.approx(math.sqrt(0.9))
    assert told["break_even"]["calls_a_month"] is None
    assert "unknown" in told["break_even"]["why"]


def test_answers_that_check_themselves_are_worth_more():
    json_task = Task("t", "json", "Take out.", fields=(AnswerField("a"),))
    values = [terms(task, wilson(9, 10), None, Costs())["value"] for task in (LABEL, SUMS, json_task, TEXT)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_headroom_is_what_the_student_lacks():
    assert headroom(0.8, 0.2) == pytest.approx(0.75)
    assert headroom(0.5, 0.9) == 0
    assert headroom(0, 0) == 0


def test_a_student_as_good_is_advised_against_and_chance_at_sums_warned_of():
    assert advise(LABEL, wilson(15, 20), wilson(16, 20))[0] == "don't distil"
    assert advise(LABEL, wilson(18, 20), wilson(10, 20)) == ("", "")
    assert advise(SUMS, wilson(18, 20), wilson(0, 20))[0] == "warn"
    assert advise(SUMS, wilson(18, 20), wilson(9, 20))[0] == ""
    assert advise(LABEL, wilson(18, 20), None) == ("", "")


def test_break_even_pays_exactly_what_making_cost():
    found = break_even(Costs(0.01, 1000, 3.6), pairs=500)
    saved = 0.01 - 3.6 / 3600 / 10
    assert found["saved_usd_a_call"] == pytest.approx(saved)
    made = 500 * 4 * 0.01 + 3.6
    assert found["calls_a_month"] == math.ceil(made / saved / MONTHS)
    assert found["months"] == pytest.approx(made / saved / 1000)
    never = break_even(Costs(0.00001, 1000))
    assert never["calls_a_month"] is None
    assert "no more than" in never["why"]


def test_sorting_puts_the_unknown_last():
    known = {"low": 0.5, "terms": {"value": 0.4}, "traffic": {"usd_a_month": 3.0, "calls_a_month": 7}}
    bare = {"low": 0.6, "terms": None, "traffic": None}
    assert [by(name, known) for name in ("distillability", "score", "cost", "volume")] == [0.4, 0.5, 3.0, 7]
    assert all(by(name, bare) < 0 for name in ("distillability", "cost", "volume"))
