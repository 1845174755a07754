"""How much a task is worth distilling, in terms a person can check, and when a student has paid for itself.

Refuses to fill in what is not known: an unknown term is None, and is left out of the whole and named.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from distill.score.stats import Interval
from distill.types import Task

HALF_CALLS = 10_000
"""Calls a month that count half."""
HALF_USD = 100.0
"""USD a month saved that count half."""
MONTHS = 12
"""A student is to pay for its making within so many months."""
PAIRS = 1000
CALLS_A_PAIR = 4
"""Teacher calls a kept pair takes: its input, its answer, a vote, and the rows that filters drop."""
USD_PER_HOUR = 2.0
"""What a machine with one GPU is taken to cost where nobody says."""
TRAINING_HOURS = 1.0
ANSWERS_PER_S = 10.0
"""Answers a second a small student gives on that machine, taken."""
CHANCE_KINDS = ("text", "json", "chat")
MEANING = {
    "teacher": "share of probes the teacher gets right with its best prompt",
    "headroom": "what the untrained student is behind the teacher, as a share of the teacher's score",
    "checkability": "how surely an answer can be told right or wrong without a person",
    "volume": f"calls a month, {HALF_CALLS:,} of them counting half",
    "saved": f"USD a month a student would save, ${HALF_USD:.0f} counting half",
}
"""The terms in order, each between 0 and 1; distillability is their geometric mean."""


class Costs(NamedTuple):
    """What a call costs now and how many there are a month; None: unknown."""

    usd_a_call: float | None = None
    calls_a_month: float | None = None
    usd_per_hour: float = USD_PER_HOUR


def checkability(task: Task) -> float:
    """1: equal or not; less where reading an answer leaves room."""
    if task.kind == "label":
        return 1.0
    if task.verify:
        return 0.95
    if task.kind == "json":
        return 0.9
    return 0.6 if task.rubric else 0.4


def terms(task: Task, teacher: Interval, student: Interval | None, costs: Costs) -> dict[str, Any]:
    """Every term with its value (None: unknown), the whole, what was left out of it, and the break-even.

    {"value", "terms": {name: value}, "left_out": [name], "break_even": {…}, "advice", "why"}
    """
    saved = saving(costs)
    known: dict[str, float | None] = {
        "teacher": teacher.value,
        "headroom": None if student is None else headroom(teacher.value, student.value),
        "checkability": checkability(task),
        "volume": half(costs.calls_a_month, HALF_CALLS),
        "saved": half(_times(saved, costs.calls_a_month), HALF_USD),
    }
    told = [value for value in known.values() if value is not None]
    advice, why = advise(task, teacher, student)
    return {
        "value": math.prod(told) ** (1 / len(told)) if told else None,
        "terms": known,
        "left_out": [name for name, value in known.items() if value is None],
        "break_even": break_even(costs),
        "advice": advice,
        "why": why,
    }


def headroom(teacher: float, student: float) -> float:
    """The part of the teacher's score that the student lacks, 0 where it is as good."""
    return max(0.0, teacher - student) / teacher if teacher > 0 else 0.0


def half(value: float | None, middle: float) -> float | None:
    """0 to 1, a half at `middle`; what is negative counts nothing, what is unknown stays so."""
    return None if value is None else max(0.0, value) / (max(0.0, value) + middle)


def saving(costs: Costs) -> float | None:
    """USD a call saves on a student, at the machine's price and full use of it."""
    own = costs.usd_per_hour / 3600 / ANSWERS_PER_S
    return None if costs.usd_a_call is None else costs.usd_a_call - own


def break_even(costs: Costs, pairs: int = PAIRS) -> dict[str, Any]:
    """Calls a month from which a student pays for its making within MONTHS, and the sums behind it.

    `calls_a_month` is None where it never does, or the teacher's price is unknown; `why` says which.
    """
    training = TRAINING_HOURS * costs.usd_per_hour
    taught = None if costs.usd_a_call is None else pairs * CALLS_A_PAIR * costs.usd_a_call
    saved = saving(costs)
    found: dict[str, Any] = {
        "pairs": pairs,
        "teacher_usd": taught,
        "training_usd": training,
        "saved_usd_a_call": saved,
    }
    if saved is None or taught is None:
        return {**found, "calls_a_month": None, "months": None, "why": "the price of a call is unknown"}
    if saved <= 0:
        why = "a call costs no more than the student's would"
        return {**found, "calls_a_month": None, "months": None, "why": why}
    calls = (taught + training) / saved
    months = calls / costs.calls_a_month if costs.calls_a_month else None
    why = (
        f"${taught + training:.2f} to make ({pairs:,} pairs of {CALLS_A_PAIR} calls, {TRAINING_HOURS:g} h at "
        f"${costs.usd_per_hour:.2f}) against ${saved:.2g} saved a call"
    )
    return {**found, "calls_a_month": math.ceil(calls / MONTHS), "months": months, "why": why}


def advise(task: Task, teacher: Interval, student: Interval | None) -> tuple[str, str]:
    """("don't distil" | "warn" | "", why) from how the untrained student does on the teacher's probes."""
    if student is None or student.n == 0:
        return "", ""
    if student.value >= teacher.value and student.low >= teacher.low:
        return "don't distil", f"the untrained student does no worse already ({student.value:.0%})"
    if task.kind in CHANCE_KINDS and task.verify and student.high < 0.25:
        return (
            "warn",
            f"the untrained student is at chance ({student.value:.0%}): pairs seldom teach reasoning",
        )
    return "", ""


def _times(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left * right


def by(name: str, row: Mapping[str, Any]) -> float:
    """What `--sort NAME` sorts a row of the table by, more first; the unknown last.

    A log without a period has no month: there its own sums are what is compared.
    """
    found, logged = row.get("terms") or {}, row.get("traffic") or {}
    monthly = logged.get("calls_a_month") is not None
    values = {
        "distillability": found.get("value"),
        "score": row["low"],
        "cost": logged.get("usd_a_month" if monthly else "usd"),
        "volume": logged.get("calls_a_month" if monthly else "requests"),
    }
    return -1.0 if values[name] is None else float(values[name])
