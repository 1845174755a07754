"""What a scouted task would save and whether it is worth distilling, from its score, its traffic and prices.

Refuses to take an estimate for a measurement: what is estimated says so.
"""

import datetime
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from distill.ask import answer_request
from distill.score.distillability import USD_PER_HOUR, Costs, terms
from distill.score.stats import Interval
from distill.scouted import Scouted, Trial
from distill.student.protocol import Student
from distill.teacher.prices import Prices
from distill.traffic.clusters import Cluster, Traffic, UsdOf, estimated_tokens


class Means(NamedTuple):
    """What explore is given beside a teacher: prices of its calls and of logged ones, and a base student.

    `student()` opens it when it is first needed; None: there is none, and it has been said why. `notes` are
    warnings to stand in the summary.
    """

    prices: Prices = Prices()
    usd_of: UsdOf = lambda *_: None
    student: Callable[[], Student | None] = lambda: None
    notes: tuple[str, ...] = ()


DAY_S = 86_400.0
DAYS_A_MONTH = 365.25 / 12
SHORTEST_DAYS = 1.0
"""A log that covers less time says nothing of a month."""
ROOM_TOKENS = {"label": 4, "json": 60, "text": 80, "chat": 80}
"""Tokens an answer is taken to have where none was seen."""


def traffic_of(cluster: Cluster, traffic: Traffic, description: str) -> dict[str, Any]:
    """What the log says of one task: counts, tokens, USD of the log and of a month (None: unknown)."""
    days = days_of(traffic)
    monthly = None if days is None else DAYS_A_MONTH / days
    return {
        "description": description,
        "template": cluster.number,
        "requests": cluster.volume,
        "share": cluster.volume / traffic.requests,
        "prompt_tokens": cluster.prompt_tokens,
        "completion_tokens": cluster.completion_tokens,
        "estimated": cluster.estimated,
        "cut": cluster.cut,
        "models": dict(cluster.models.most_common(5)),
        "usd": cluster.usd,
        "usd_a_call": None if cluster.usd is None else cluster.usd / cluster.volume,
        "days": days,
        "calls_a_month": None if monthly is None else cluster.volume * monthly,
        "usd_a_month": None if monthly is None or cluster.usd is None else cluster.usd * monthly,
        "prompt": [msgspec.to_builtins(message) for message in cluster.frame.prompt],
        "fitting": cluster.fitting,
    }


def days_of(traffic: Traffic) -> float | None:
    """Days that a log covers; None where its stamps do not say, or it is too short to tell a month from."""
    if traffic.first_s is None or traffic.last_s is None:
        return None
    days = (traffic.last_s - traffic.first_s) / DAY_S
    return days if days >= SHORTEST_DAYS else None


def with_terms(found: Scouted, prices: Prices, usd_per_hour: float | None) -> Scouted:
    """`found` with the terms of its distillability; unchanged where nothing was measured to the end."""
    if not measured(found):
        return found
    logged = found.traffic or {}
    usd = logged.get("usd_a_call")
    costs = Costs(
        estimated_usd(found, prices) if usd is None else usd,
        logged.get("calls_a_month"),
        USD_PER_HOUR if usd_per_hour is None else usd_per_hour,
    )
    student = None if found.base is None else interval(found.base)
    told = terms(found.task, interval(found.trials[0]), student, costs)
    told["usd_a_call"] = costs.usd_a_call
    told["usd_from"] = (
        "unknown" if costs.usd_a_call is None else "the log" if usd is not None else "estimated"
    )
    return msgspec.structs.replace(found, terms=told)


def measured(found: Scouted) -> bool:
    """Whether a prompt was tried on probes that decide."""
    return bool(found.trials) and not found.trials[0].tuning and found.trials[0].n > 0


def interval(trial: Trial) -> Interval:
    """A trial's share of right answers."""
    return Interval(trial.value, trial.low, trial.high, trial.n)


def estimated_usd(found: Scouted, prices: Prices) -> float | None:
    """USD of one call with the best prompt at the teacher's prices, its tokens estimated; None: no price."""
    if prices.input is None or prices.output is None:
        return None
    best, probes = found.trials[0], found.probes[:5]
    if not probes:
        return None
    task = msgspec.structs.replace(found.task, prompt=best.way)
    asked = [
        answer_request(task, best.prompt, probe.input, max_tokens=ROOM_TOKENS[found.task.kind])
        for probe in probes
    ]
    tokens_in = mean([sum(estimated_tokens(turn.content) for turn in each.messages) for each in asked])
    answers = [estimated_tokens(text) for text in best.answers if text]
    tokens_out = mean(answers) if answers else ROOM_TOKENS[found.task.kind]
    return (tokens_in * prices.input + tokens_out * prices.output) / 1e6


def mean(values: Sequence[float]) -> float:
    """The mean of some values."""
    return sum(values) / len(values)


def period(traffic: Traffic) -> str:
    """ "30.0 days to 2026-10-21", or that the log does not say."""
    days = days_of(traffic)
    if days is None or traffic.last_s is None:
        return "no period: its time stamps are missing on some lines, or cover less than a day"
    last = datetime.datetime.fromtimestamp(traffic.last_s, datetime.UTC).date()
    return f"{days:.1f} days to {last}"
