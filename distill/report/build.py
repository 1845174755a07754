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
    split         what verdict, systems, slices, per_class, confusion, chance, ceiling and gap_closed are of
    sees_points   the smallest true difference (points) that this n shows with 80% power
    chance        {answer, value, split}                     the best constant answer: what to beat
    ceiling*      {self_agreement, low, high, n}             the teacher asked twice, says the same
    gap_closed*   {value, low|null, high|null, n}|null   (student - base) / (teacher - base); 1 is all of it;
                  null: the teacher is not shown to be ahead of the base, or only just: no clear gap to close
    per_class*    [{who, split, label, n, precision, recall, f1}]                     label tasks
    confusion*    {split, labels, counts {who: [[n]]}}  a line a gold label, a column an answer, last: none
    checks*       [{who, split, value, low, high, n}]        answers that pass the user's own rules (--check)
    per_field*    [{who, split, field, value, low, high, n}]                          json tasks
    slices        [{by, value, n, a (student), b (teacher), diff, low, high, p, p_adjusted}]   worst first
    correction    how p_adjusted was made, in words
    economics     {upfront_usd {what: usd|null}, teacher_usd_per_1000, student_usd_per_1000,
                   break_even_requests|null, why}
    cascade*      what comes of sending the student's least sure answers to the teacher (see cascade.py)
    data*         generate's receipt, short {accepted, tried, dropped {rule: n}, calls, cost_usd|null, splits}
    notes         [sentence]
    rows          {test, gold: n, gold_left_out, gold_duplicates, test_duplicates, without_teacher* {split}}
    measured      what was measured or counted and is not in answers.jsonl (results.Measured)

answers.jsonl, a line an answer: key, row (joins the systems), who, split, text, answer|null, gold, latency_s,
cost_usd, finish_reason, input, attributes {name: value}, cluster, spent_s, tokens, confidence|null. Rows of
who "teacher again" (second answers) are for `ceiling` alone, those of "student on valid" for `cascade`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from distill.config import CompareConfig
from distill.report.cascade import cascade
from distill.report.economics import economics, system
from distill.report.notes import left_out, notes, sees
from distill.report.scored import Predictions, Scored, Split, split_up
from distill.report.slices import CORRECTION, slices
from distill.results import AGAIN, VALID, GateVerdict, Measured, PairedDifference, Score
from distill.score.metrics import chance, confusion, field_values, per_class, primary
from distill.score.paired import gap_closed, paired_difference, sign_test
from distill.score.same import same
from distill.score.stats import macro_f1_interval, mean_interval, wilson
from distill.score.verdict import verdict
from distill.types import Task

SCORING = 4
"""Raised where the same answers come to another number than before: an older report is stale then."""


def build(task: Task, config: CompareConfig, predictions: Predictions, measured: Measured) -> dict[str, Any]:
    """The report; `predictions` has the same rows in one order for every system (ASIDE: others)."""
    by_split = split_up(task, predictions)
    scores = [s for split in by_split.values() for one in split.values() for s in scored(one, config.seed)]
    paired = [
        paired_up(split, other, config.seed)
        for split in by_split.values()
        for other in split
        if other != "student"
    ]
    name = verdict_split(by_split)
    systems = [
        system(task, who, one.rows, measured, config.hardware_usd_per_hour)
        for who, one in by_split[name].items()
    ]
    by_who = {each["who"]: each for each in systems}
    given = decide(task, by_split[name], scores, paired, config, imported=measured.test_imported)
    return {
        "schema": 1,
        "task": task.name,
        "kind": task.kind,
        "primary_metric": primary(task),
        "verdict": {**msgspec.to_builtins(given), "caveats": list(given.caveats)},
        "scores": msgspec.to_builtins(scores),
        "paired": msgspec.to_builtins(paired),
        "systems": systems,
        **of_split(task, name, by_split[name], config.seed),
        **ceiling(task, name, predictions),
        **checks(by_split, measured),
        **cascade(
            task,
            by_split[name]["student"].rows,
            by_split[name]["teacher"].rows,
            predictions.get(VALID, ()),
            by_who["student"]["usd_per_1000"],
            drop_points=config.max_drop if config.cascade_target is None else config.cascade_target,
            seed=config.seed,
        ),
        "economics": economics(by_who["teacher"], by_who["student"], measured.upfront_usd),
        **({"data": measured.data} if measured.data else {}),
        "notes": notes(by_split, measured, by_who, limited=config.answers == "labels"),
        "rows": {name: len(split["teacher"].rows) for name, split in by_split.items()} | left_out(measured),
        "measured": msgspec.to_builtins(measured),
    }


def verdict_split(splits: Collection[str]) -> str:
    """Which split the verdict, and all that is told of one alone, is of: gold where there is any."""
    return "gold" if "gold" in splits else "test"


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
    *,
    imported: bool,
) -> GateVerdict:
    """The verdict on one split: student against teacher on the primary metric."""
    by_chance = chance(task, split["teacher"].rows)
    mine = {s.who: s for s in scores if s.split == by_chance.split and s.metric == primary(task)}
    difference = next(p for p in paired if p.split == by_chance.split and p.b == "teacher")
    return verdict(
        mine["student"], mine["teacher"], difference, config.max_drop, by_chance, imported=imported
    )


def of_split(task: Task, name: str, split: Split, seed: int) -> dict[str, Any]:
    """What is told of the verdict's split alone."""
    student, teacher, base = split["student"], split["teacher"], split["base"]
    gap = gap_closed(student.main, base.main, teacher.main, seed, student.clusters)
    by_label = task.kind == "label"
    return {
        "split": name,
        "sees_points": 100 * sees(student, teacher),
        "chance": msgspec.to_builtins(chance(task, teacher.rows)),
        "gap_closed": gap._asdict() if gap else None,
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


def ceiling(task: Task, split: str, predictions: Predictions) -> dict[str, Any]:
    """How often the teacher, asked twice, says the same; nothing where it was not asked `split` twice."""
    first = {row.row: row for row in predictions["teacher"] if row.split == split}
    again = [(first[row.row], row) for row in predictions.get(AGAIN, ()) if row.split == split]
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
