"""Predictions to the report: scores with intervals, paired differences, money, time, verdict and caveats.

Refuses to mix splits, and to call agreement with the teacher truth.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from distill.config import CompareConfig
from distill.score.metrics import PRIMARY, row_values
from distill.score.paired import detectable_difference, paired_difference
from distill.score.stats import macro_f1_interval, mean_interval, wilson
from distill.score.verdict import CAVEAT, verdict
from distill.types import GateVerdict, PairedDifference, Prediction, Score, Task

WHO = ("teacher", "student", "base")
PAIRS = (("student", "teacher"), ("student", "base"))
Predictions = Mapping[str, Sequence[Prediction]]


class Spent(NamedTuple):
    """Seconds the students took for all their rows in batches, and the student for single rows."""

    batched_s: Mapping[str, float]
    single_s: Sequence[float]


def build(
    task: Task,
    config: CompareConfig,
    predictions: Predictions,
    models: Mapping[str, str],
    spent: Spent,
    *,
    prompt: str,
    gold_left_out: int = 0,
    gold_duplicates: int = 0,
) -> dict[str, Any]:
    """The report as design.md draws it; `predictions` has the same rows in one order for every system."""
    by_split = split_up(predictions)
    scores = [score for rows in by_split.values() for who in WHO for score in scored(task, rows[who], config)]
    paired = [paired_up(task, rows, a, b, config) for rows in by_split.values() for a, b in PAIRS]
    decided = decide(task, scores, paired, config, "gold" if "gold" in by_split else "test")
    rows = {name: len(rows["teacher"]) for name, rows in by_split.items()}
    return {
        "schema": 1,
        "task": task.name,
        "kind": task.kind,
        "primary_metric": PRIMARY[task.kind],
        "verdict": msgspec.to_builtins(decided),
        "scores": msgspec.to_builtins(scores),
        "paired": msgspec.to_builtins(paired),
        "systems": [system(who, models[who], predictions[who], spent, config, prompt) for who in WHO],
        "notes": notes(task, by_split, paired, spent, gold_left_out, gold_duplicates),
        "rows": {**rows, "gold_left_out": gold_left_out, "gold_duplicates": gold_duplicates},
    }


def split_up(predictions: Predictions) -> dict[str, dict[str, list[Prediction]]]:
    """Split -> system -> its predictions, in the order of the rows."""
    splits = dict.fromkeys(row.split for row in predictions["teacher"])
    return {
        split: {who: [row for row in rows if row.split == split] for who, rows in predictions.items()}
        for split in splits
    }


def scored(task: Task, rows: Sequence[Prediction], config: CompareConfig) -> list[Score]:
    """Every metric of one system on one split, the primary one first."""
    answers = [(row.answer, row.gold) for row in rows]
    found = {
        metric: mean_interval(values, config.seed)
        for metric, values in row_values(task.kind, answers).items()
    }
    if task.kind == "label":
        found["macro_f1"] = macro_f1_interval(
            [row.answer for row in rows], [row.gold for row in rows], config.seed
        )
    return [
        Score(who=rows[0].who, split=rows[0].split, metric=metric, **interval._asdict())
        for metric, interval in found.items()
    ]


def paired_up(
    task: Task, rows: Mapping[str, Sequence[Prediction]], a: str, b: str, config: CompareConfig
) -> PairedDifference:
    """System a minus system b on the primary metric, row by row."""
    metric = PRIMARY[task.kind]
    one, other = (
        row_values(task.kind, [(row.answer, row.gold) for row in rows[who]])[metric] for who in (a, b)
    )
    found = paired_difference(one, other, config.seed)
    return PairedDifference(
        a=a,
        b=b,
        split=rows[a][0].split,
        metric=metric,
        diff=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
    )


def decide(
    task: Task, scores: Sequence[Score], paired: Sequence[PairedDifference], config: CompareConfig, split: str
) -> GateVerdict:
    """The verdict on one split: student against teacher on the primary metric."""
    mine = {s.who: s for s in scores if s.split == split and s.metric == PRIMARY[task.kind]}
    difference = next(p for p in paired if p.split == split and p.b == "teacher")
    return verdict(mine["student"], mine["teacher"], difference, config.max_drop)


def system(
    who: str, model: str, rows: Sequence[Prediction], spent: Spent, config: CompareConfig, prompt: str
) -> dict[str, Any]:
    """What one system is and what an answer of it takes; None is unknown, never free."""
    if who == "teacher":
        latencies = [row.latency_s for row in rows if row.latency_s]
        costs = [row.cost_usd for row in rows if row.cost_usd is not None]
        rate, usd = None, 1000 * math.fsum(costs) / len(rows) if len(costs) == len(rows) else None
    else:
        latencies = list(spent.single_s) if who == "student" else []
        taken, hourly = spent.batched_s.get(who, 0.0), config.hardware_usd_per_hour
        rate = len({(row.split, row.row) for row in rows}) / taken if taken > 0 else None
        usd = 1000 * hourly / 3600 / rate if hourly is not None and rate else None
    return {
        "who": who,
        "model": model,
        "prompt": prompt if who == "teacher" else "student",
        "latency_p50_s": quantile(latencies, 0.5),
        "latency_p95_s": quantile(latencies, 0.95),
        "rows_per_s": rate,
        "usd_per_1000": usd,
    }


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def notes(
    task: Task,
    by_split: Mapping[str, Mapping[str, Sequence[Prediction]]],
    paired: Sequence[PairedDifference],
    spent: Spent,
    gold_left_out: int,
    gold_duplicates: int,
) -> list[str]:
    """What a reader must know before believing a number."""
    told = []
    if "test" in by_split:
        told.append(f"On test rows: {CAVEAT}.")
    if gold_left_out:
        told.append(f"{gold_left_out} gold rows were left out: trained on, or shown in prompts.")
    if gold_duplicates:
        told.append(f"{gold_duplicates} gold rows repeat an earlier one; each counts.")
    for difference in (p for p in paired if p.b == "teacher"):
        rows = by_split[difference.split]
        share = discordant_share(task, rows["student"], rows["teacher"])
        seen = 100 * detectable_difference(difference.n, share)
        told.append(
            f"{difference.n} {difference.split} rows can show a difference between student and teacher of"
            f" about {seen:.1f} points or more (80% power)."
        )
    for who in WHO:
        cut = sum(row.finish_reason == "length" for rows in by_split.values() for row in rows[who])
        if cut:
            told.append(f"{cut} answers of the {who} were cut at their token limit.")
    if spent.single_s:
        timed = f"student latency is one row at a time, {len(spent.single_s)} rows."
        told.append(f"Teacher latency is per call, as it came; {timed}")
    return told


def discordant_share(task: Task, one: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """Mean squared row difference of the primary metric (right/wrong: share of rows), its upper 95% bound."""
    metric = PRIMARY[task.kind]
    a, b = (row_values(task.kind, [(row.answer, row.gold) for row in rows])[metric] for rows in (one, other))
    return wilson(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)), len(a)).high
