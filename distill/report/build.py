"""Predictions to report.json: scores with intervals, differences, slices, money, time, verdict and caveats.

Refuses to mix splits, to call agreement with the teacher truth, and to read anything but what it is given:
answers.jsonl and `measured` give every number again (`distill compare --verify`).

The schema. Names of systems: "teacher", "student", "base" (the untuned student, asked as the student is),
"prompted base" (asked with the teacher's prompt; absent where that is the same), then the names of --also.
Shares are 0 to 1; low and high are a 95% interval; null is unknown, never 0. What is marked * may be absent.

    schema 1, task, kind ("label|text|json|chat"), primary_metric
    verdict       {answer "yes|no|unclear", sentence, max_drop (points), more_rows|null, teacher_beats_chance}
    scores        [{who, split "test|gold", metric, value, low, high, n}]             the primary metric first
    paired        [{a "student", b (each other system), split, metric, diff, low, high, n, gains, losses,
                    p|null}]
    systems       [{who, model, prompt, latency_p50_s, latency_p95_s, rows_per_s, tokens_per_s, usd_per_1000,
                    accepted_share, usd_per_accepted}]   latency: teacher per call, student one row at a time
    split         the split that verdict, slices, per_class, confusion, chance and gap_closed are of
    sees_points   the smallest true difference (points) that this n shows with 80% power
    chance        {answer, value, split}                     the best constant answer: what to beat
    ceiling*      {self_agreement, low, high, n}             the teacher asked twice, says the same
    gap_closed*   {value, low, high, n}                  (student - base) / (teacher - base); 1 is all of it
    per_class*    [{who, split, label, n, precision, recall, f1}]                     label tasks
    confusion*    {split, labels, counts {who: [[n]]}}  a line a gold label, a column an answer, last: none
    checks*       [{who, split, value, low, high, n}]        answers that pass the user's own rules (--check)
    per_field*    [{who, split, field, value, low, high, n}]                          json tasks
    slices        [{by, value, n, a (student), b (teacher), diff, low, high, p, p_adjusted}]   worst first
    correction    how p_adjusted was made, in words
    economics     {upfront_usd {what: usd|null}, teacher_usd_per_1000, student_usd_per_1000,
                   break_even_requests|null, why}
    data*         generate's receipt, short {accepted, tried, dropped {rule: n}, calls, cost_usd|null, splits}
    notes         [sentence]
    rows          {test, gold: n, gold_left_out, gold_duplicates, test_duplicates}
    measured      what was measured or counted and is not in answers.jsonl (results.Measured)

answers.jsonl, a line an answer: key, row (joins the systems), who, split, text, answer|null, gold, latency_s,
cost_usd, finish_reason, input, attributes {name: value}, cluster, spent_s, tokens. Rows of who
"teacher again" are the teacher's second answers: they are for `ceiling` alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from distill.config import CompareConfig
from distill.report.economics import economics, system
from distill.report.slices import CORRECTION, slices
from distill.results import AGAIN, GateVerdict, Measured, PairedDifference, Score
from distill.score.metrics import chance, confusion, field_values, per_class, primary, row_values
from distill.score.paired import detectable_difference, gap_closed, paired_difference, sign_test
from distill.score.same import same
from distill.score.stats import macro_f1_interval, mean_interval, wilson
from distill.score.verdict import CAVEAT, verdict
from distill.types import Prediction, Task

Predictions = Mapping[str, Sequence[Prediction]]


class Scored(NamedTuple):
    """One system's answers to one split, and every metric of them, a value a row."""

    rows: Sequence[Prediction]
    values: Mapping[str, Sequence[float]]

    @property
    def main(self) -> Sequence[float]:
        """The primary metric, a value a row."""
        return next(iter(self.values.values()))

    @property
    def clusters(self) -> list[str]:
        """What rows belong together, by row; each its own where nothing was said."""
        return [row.cluster or row.row for row in self.rows]


Split = Mapping[str, Scored]
"""The systems' answers to one split."""


def build(task: Task, config: CompareConfig, predictions: Predictions, measured: Measured) -> dict[str, Any]:
    """The report; `predictions` has the same rows in one order for every system (AGAIN: some of them)."""
    by_split = split_up(task, predictions)
    scores = [s for split in by_split.values() for one in split.values() for s in scored(one, config.seed)]
    paired = [
        paired_up(split, other, config.seed)
        for split in by_split.values()
        for other in split
        if other != "student"
    ]
    name = "gold" if "gold" in by_split else "test"
    systems = [
        system(task, who, rows, measured, config.hardware_usd_per_hour)
        for who, rows in predictions.items()
        if who != AGAIN
    ]
    by_who = {each["who"]: each for each in systems}
    return {
        "schema": 1,
        "task": task.name,
        "kind": task.kind,
        "primary_metric": primary(task),
        "verdict": msgspec.to_builtins(decide(task, by_split[name], scores, paired, config)),
        "scores": msgspec.to_builtins(scores),
        "paired": msgspec.to_builtins(paired),
        "systems": systems,
        **of_split(task, name, by_split[name], config.seed),
        **ceiling(task, predictions),
        **checks(by_split, measured),
        "economics": economics(by_who["teacher"], by_who["student"], measured.upfront_usd),
        **({"data": measured.data} if measured.data else {}),
        "notes": notes(by_split, measured, by_who),
        "rows": {
            **{name: len(split["teacher"].rows) for name, split in by_split.items()},
            "gold_left_out": measured.gold_left_out,
            "gold_duplicates": measured.gold_duplicates,
            "test_duplicates": measured.test_duplicates,
        },
        "measured": msgspec.to_builtins(measured),
    }


def split_up(task: Task, predictions: Predictions) -> dict[str, dict[str, Scored]]:
    """Split -> system -> its answers with their metrics, in the order of the rows."""
    found: dict[str, dict[str, Scored]] = {}
    for split in dict.fromkeys(row.split for row in predictions["teacher"]):
        found[split] = {}
        for who, rows in predictions.items():
            if who != AGAIN:
                mine = [row for row in rows if row.split == split]
                found[split][who] = Scored(mine, row_values(task, mine))
    return found


def scored(one: Scored, seed: int) -> list[Score]:
    """Every metric of one system on one split, the primary one first."""
    found = {metric: mean_interval(values, seed) for metric, values in one.values.items()}
    if "accuracy" in found:
        found["macro_f1"] = macro_f1_interval(
            [row.answer for row in one.rows], [row.gold for row in one.rows], seed
        )
    who, split = one.rows[0].who, one.rows[0].split
    return [
        Score(who=who, split=split, metric=metric, **interval._asdict()) for metric, interval in found.items()
    ]


def paired_up(split: Split, other: str, seed: int) -> PairedDifference:
    """The student minus another system on the primary metric, row by row."""
    student, against = split["student"], split[other]
    found = paired_difference(student.main, against.main, seed, student.clusters)
    gains, losses, p = sign_test(student.main, against.main)
    alone = len(set(student.clusters)) == len(student.clusters)
    return PairedDifference(
        a="student",
        b=other,
        split=student.rows[0].split,
        metric=next(iter(student.values)),
        diff=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        gains=gains,
        losses=losses,
        p=p if alone else None,
    )


def decide(
    task: Task,
    split: Split,
    scores: Sequence[Score],
    paired: Sequence[PairedDifference],
    config: CompareConfig,
) -> GateVerdict:
    """The verdict on one split: student against teacher on the primary metric."""
    by_chance = chance(task, split["teacher"].rows)
    mine = {s.who: s for s in scores if s.split == by_chance.split and s.metric == primary(task)}
    difference = next(p for p in paired if p.split == by_chance.split and p.b == "teacher")
    return verdict(mine["student"], mine["teacher"], difference, config.max_drop, by_chance)


def of_split(task: Task, name: str, split: Split, seed: int) -> dict[str, Any]:
    """What is told of the verdict's split alone."""
    student, teacher, base = split["student"], split["teacher"], split["base"]
    gap = gap_closed(student.main, base.main, teacher.main, seed, student.clusters)
    by_label = task.kind == "label"
    return {
        "split": name,
        "sees_points": 100 * sees(student, teacher),
        "chance": msgspec.to_builtins(chance(task, teacher.rows)),
        **({"gap_closed": gap._asdict()} if gap else {}),
        **(classes(task, name, split) if by_label else {}),
        **({"per_field": fields(task, name, split, seed)} if task.kind == "json" else {}),
        "slices": slices(
            student.rows,
            student.main,
            teacher.main,
            by_label=by_label,
            seed=seed,
            clusters=student.clusters,
        ),
        "correction": CORRECTION,
    }


def classes(task: Task, name: str, split: Split) -> dict[str, Any]:
    """The per-class table and the confusion matrix of every system."""
    return {
        "per_class": [
            {"who": who, "split": name, **record}
            for who, one in split.items()
            for record in per_class(task.label_names, one.rows)
        ],
        "confusion": {
            "split": name,
            "labels": list(task.label_names),
            "counts": {who: confusion(task.label_names, one.rows) for who, one in split.items()},
        },
    }


def fields(task: Task, name: str, split: Split, seed: int) -> list[dict[str, Any]]:
    """How often each field of a JSON answer is right, by system."""
    return [
        {"who": who, "split": name, "field": field.name, **mean_interval(values, seed)._asdict()}
        for who, one in split.items()
        for field in task.fields
        if (values := field_values(one.rows, field.name))
    ]


def ceiling(task: Task, predictions: Predictions) -> dict[str, Any]:
    """How often the teacher, asked twice, says the same; nothing where it was not asked twice."""
    first = {(row.split, row.row): row for row in predictions["teacher"]}
    again = [(first[row.split, row.row], row) for row in predictions.get(AGAIN, ())]
    if not again:
        return {}
    agreed = [one.answer is not None and same(task, one.answer, two.answer) for one, two in again]
    share = wilson(sum(agreed), len(agreed))
    return {"ceiling": {"self_agreement": share.value, "low": share.low, "high": share.high, "n": share.n}}


def checks(by_split: Mapping[str, Split], measured: Measured) -> dict[str, Any]:
    """The share of answers that pass the user's rules, by system; nothing where there are no rules."""
    found = []
    for who, failed in measured.failed_checks.items():
        for name, split in by_split.items():
            n = len(split[who].rows)
            found.append({"who": who, "split": name, **wilson(n - failed[name], n)._asdict()})
    return {"checks": found} if found else {}


def sees(one: Scored, other: Scored) -> float:
    """The smallest true difference (a share) that these rows show with 80% power.

    By the mean squared row difference (right/wrong: the share of rows that differ), its upper 95% bound.
    """
    squares = math.fsum((x - y) ** 2 for x, y in zip(one.main, other.main, strict=True))
    return detectable_difference(len(one.rows), wilson(squares, len(one.rows)).high)


def notes(
    by_split: Mapping[str, Split], measured: Measured, systems: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What a reader must know before believing a number."""
    told = [f"On test rows: {CAVEAT}."] if "test" in by_split else []
    if measured.gold_left_out:
        told.append(f"{measured.gold_left_out} gold rows were left out: trained on, or shown in prompts.")
    for name, count in (("gold", measured.gold_duplicates), ("test", measured.test_duplicates)):
        if count:
            told.append(f"{count} {name} rows repeat an earlier one; a row counts once.")
    for name, split in by_split.items():
        seen = 100 * sees(split["student"], split["teacher"])
        told.append(
            f"{len(split['student'].rows)} {name} rows can show a difference between student and teacher of"
            f" about {seen:.1f} points or more (80% power)."
        )
    for who in systems:
        rows = [row for split in by_split.values() for row in split[who].rows]
        if cut := sum(row.finish_reason == "length" for row in rows):
            told.append(f"{cut} answers of the {who} were cut at their token limit.")
    if measured.single_s:
        timed = f"student latency is one row at a time, {len(measured.single_s)} rows."
        told.append(f"Teacher latency is per call, as it came; {timed}")
    return [*told, *measured.told]
