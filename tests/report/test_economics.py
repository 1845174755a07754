"""Money and time: worked out by hand, and unknown where anything it needs is."""

import pytest

from distill.report.economics import break_even, economics, quantile, speed, system
from distill.results import Measured
from distill.types import Label, Prediction, Task

TASK = Task(name="t", kind="label", instruction="?", labels=(Label("a"), Label("b")))
MEASURED = Measured(
    models={"teacher": "big", "student": "small"},
    prompts={"teacher": "cued-3", "student": "student"},
    single_s={"student": (0.1, 0.2, 0.3, 0.4)},
)


def answers(who, n=10, right=8, **more):
    return [
        Prediction(
            row=str(place),
            who=who,
            split="gold",
            text="a",
            answer="a" if place < right else None,
            gold="a",
            **more,
        )
        for place in range(n)
    ]


def test_a_teacher_costs_what_its_calls_did():
    found = system(TASK, "teacher", answers("teacher", cost_usd=0.004, latency_s=0.5, tokens=3), MEASURED, 1)
    assert (found["model"], found["prompt"]) == ("big", "cued-3")
    assert found["usd_per_1000"] == pytest.approx(4)
    assert found["accepted_share"] == 0.8
    assert found["usd_per_accepted"] == pytest.approx(0.005)
    assert found["tokens_per_s"] == pytest.approx(6)
    assert (found["latency_p50_s"], found["rows_per_s"]) == (0.5, None)


def test_a_student_costs_what_its_machine_does():
    found = system(TASK, "student", answers("student", spent_s=0.01, tokens=2), MEASURED, 3.6)
    assert found["rows_per_s"] == pytest.approx(100)
    assert found["usd_per_1000"] == pytest.approx(0.01)
    assert found["usd_per_accepted"] == pytest.approx(0.0000125)
    assert found["tokens_per_s"] == pytest.approx(200)
    assert (found["latency_p50_s"], found["latency_p95_s"]) == (0.2, 0.4)


def test_what_is_unknown_is_not_nothing():
    student = system(TASK, "student", answers("student", right=0, spent_s=0.01), MEASURED, None)
    assert student["usd_per_1000"] is student["usd_per_accepted"] is student["tokens_per_s"] is None
    priced = [*answers("teacher", cost_usd=0.1), *answers("teacher", n=1)]
    teacher = system(TASK, "teacher", priced, MEASURED, None)
    assert teacher["usd_per_1000"] is teacher["latency_p50_s"] is None
    never_right = system(TASK, "teacher", answers("teacher", right=0, cost_usd=0.1), MEASURED, None)
    assert never_right["usd_per_accepted"] is None
    assert speed([], 1.0) is None


@pytest.mark.parametrize(
    ("teacher", "student", "upfront", "requests", "why"),
    [
        (4.0, 1.0, 6.0, 2000, "$3 saved per 1000 requests pays back $6 after 2,000 of them"),
        (4.0, 1.0, 0.0, 0, "after 0 of them"),
        (4.0, 1.0, 0.0001, 1, "after 1 of them"),
        (1.0, 1.0, 6.0, None, "not cheaper"),
        (None, 1.0, 6.0, None, "--price-in"),
        (1.0, None, 6.0, None, "--hardware-usd-per-hour"),
        (4.0, 1.0, None, None, "so far is unknown"),
    ],
)
def test_break_even(teacher, student, upfront, requests, why):
    found = break_even(teacher, student, upfront)
    assert found[0] == requests
    assert why in found[1]


def test_one_unknown_cost_makes_the_sum_unknown():
    prices = {"usd_per_1000": 4.0}, {"usd_per_1000": 1.0}
    assert economics(*prices, {"teacher": 2.0, "training": 4.0})["break_even_requests"] == 2000
    assert economics(*prices, {"teacher": 2.0, "training": None})["break_even_requests"] is None


def test_quantile_is_a_value_that_was_measured():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2, 3, 4], 0.95) == 4
    assert quantile([], 0.5) is None
