"""What the page's template is given, section by section: numbers in words, figures drawn. Pure.

Refuses to invent a section: one whose numbers are missing is None, and the template leaves it out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.report import frontier, words
from distill.report.plain import visible
from distill.report.reproduce import private, reproduce
from distill.report.svg import linear, system_class

Record = Mapping[str, Any]
HEADLINES = {"yes": "Yes", "no": "No", "unclear": "Not enough data"}


def context(
    report: Record,
    receipt: Record | None,
    metrics: Record | None,
    history: Sequence[Record],
    run: Record,
) -> dict[str, Any]:
    """Every name the template uses."""
    split = main_split(report)
    scores = {
        each["who"]: each
        for each in report["scores"]
        if each["split"] == split and each["metric"] == report["primary_metric"]
    }
    receipt = receipt or report.get("data")
    return {
        "words": words,
        "visible": visible,
        "css": system_class,
        "task": visible(report["task"]),
        "kind": report["kind"],
        "split": split,
        "metric": words.metric(report["primary_metric"]),
        "n": next(iter(scores.values()))["n"],
        "verdict": verdict(report, split),
        "done": done(report, receipt, metrics, run, split),
        "facts": facts(report, scores, split),
        "systems": [card(each, scores[each["who"]], report) for each in report["systems"]],
        "frontiers": frontiers(report["systems"], scores),
        "tables": [scores_table(report, name) for name in splits(report)],
        "slices": slices(report),
        "correction": report.get("correction", ""),
        "per_class": report.get("per_class") or None,
        "per_field": report.get("per_field") or None,
        "confusion": confusion(report),
        "training": training(metrics, history),
        "curves": curves(report),
        "data": data(receipt) if receipt else None,
        "judge": report.get("judge"),
        "economics": report.get("economics"),
        "cascade": report.get("cascade"),
        "notes": [visible(note) for note in report.get("notes", ())],
        "reproduce": reproduce(report, run, metrics),
    }


def splits(report: Record) -> list[str]:
    """The splits there are, the verdict's first."""
    first = main_split(report)
    return sorted({each["split"] for each in report["scores"]}, key=lambda name: (name != first, name))


def main_split(report: Record) -> str:
    """The split the verdict rests on."""
    names = {each["split"] for each in report["scores"]}
    return str(report.get("split") or ("gold" if "gold" in names else min(names)))


def verdict(report: Record, split: str) -> dict[str, Any]:
    """The answer as a headline, its sentence in two parts, and the interval it rests on as a figure."""
    given = report["verdict"]
    word, _, rest = given["sentence"].partition(": ")
    sentence = rest[:1].upper() + rest[1:] if word in ("Yes", "No", "Unclear") and rest else given["sentence"]
    paired = next((p for p in report["paired"] if p["split"] == split and p["b"] == "teacher"), None)
    sentence, but, caveat = sentence.partition(" But ")
    claim, colon, reason = sentence.partition(": ")
    return {
        "answer": given["answer"] if given["answer"] in HEADLINES else "unclear",
        "headline": HEADLINES.get(given["answer"], "Not enough data"),
        "claim": visible(claim + ("." if colon else "")),
        "reason": visible(reason[:1].upper() + reason[1:]),
        "more_rows": given.get("more_rows"),
        "caveat": visible(caveat[:1].upper() + caveat[1:]) if but else "",
        "by_chance": given.get("teacher_beats_chance", True) is False,
        "figure": frontier.difference(paired, given["max_drop"]) if paired else None,
    }


def done(
    report: Record, receipt: Record | None, metrics: Record | None, run: Record, split: str
) -> dict[str, str]:
    """What was done, in words for one who was not there: the task, the student's making, who was asked."""
    models = {each["who"]: visible(private(each["model"])) for each in report["systems"]}
    made = ""
    if receipt and run and run.get("generate") is None:
        made = f"{receipt['accepted']:,} examples were imported. "
    elif receipt:
        made = f"{models['teacher']} made {receipt['accepted']:,} examples that passed every filter. "
    if metrics and metrics.get("rows"):
        made += f"{models['base']} was trained on {metrics['rows']['train']:,} of them: the student. "
    n = next(each["n"] for each in report["scores"] if each["split"] == split)
    by = "with known answers" if split == "gold" else "kept out of the training, made by the teacher"
    asked = f"Then teacher and student answered the same {n:,} rows, {by}, and were compared row by row."
    return {"instruction": visible(run.get("instruction") or ""), "made": made, "asked": asked}


def facts(report: Record, scores: Mapping[str, Record], split: str) -> list[tuple[str, str, str]]:
    """(number, what it is, beside it) for the few numbers that stand under the verdict."""
    found = []
    for paired in (p for p in report["paired"] if p["split"] == split and p["b"] in ("teacher", "base")):
        between = f"{words.points(paired['low'])} to {words.points(paired['high'])}"
        found.append((words.points(paired["diff"]), f"points against the {paired['b']}", between))
    if gap := report.get("gap_closed"):
        between = f"{words.percent(gap['low'], 0)} to {words.percent(gap['high'], 0)}"
        found.append((words.percent(gap["value"], 0), "of the gap from base to teacher closed", between))
    by_who = {each["who"]: each for each in report["systems"]}
    slow, fast = (by_who[who]["latency_p50_s"] if who in by_who else None for who in ("teacher", "student"))
    if slow and fast:
        word = "faster" if slow > fast else "slower"
        shown = f"{max(slow, fast) / min(slow, fast):.1f}×"
        found.append(
            (shown, f"{word} than the teacher", f"{words.seconds(fast)} against {words.seconds(slow)}")
        )
    dear, cheap = (by_who[who]["usd_per_1000"] if who in by_who else None for who in ("teacher", "student"))
    if dear and cheap:
        word = "cheaper" if dear > cheap else "dearer"
        against = f"{words.usd(cheap)} against {words.usd(dear)} per 1,000"
        found.append((f"{max(dear, cheap) / min(dear, cheap):,.1f}×", f"{word} than the teacher", against))
    return found


def card(system: Record, score: Record, report: Record) -> dict[str, Any]:
    """One system: its name, its score with the interval, and what is known of speed and price."""
    told = [
        ("Answers in", "latency_p50_s", words.seconds),
        ("95% within", "latency_p95_s", words.seconds),
        ("Rows a second", "rows_per_s", words.rate),
        ("Tokens a second", "tokens_per_s", words.rate),
        ("Per 1,000 answers", "usd_per_1000", words.usd),
        ("Per 1,000 accepted", "usd_per_accepted", lambda usd: words.usd(1000 * usd)),
    ]
    lines = [(name, said(system[key])) for name, key, said in told if system.get(key) is not None]
    if system.get("usd_per_1000") is None:
        lines.append(("Price", "unknown"))
    return {
        "who": visible(system["who"]),
        "css": system_class(system["who"]),
        "model": visible(private(system["model"])),
        "prompt": visible(system.get("prompt") or ""),
        "value": words.percent(score["value"]),
        "between": f"{words.percent(score['low'])} to {words.percent(score['high'])}",
        "bar": score,
        "lines": lines,
    }


def frontiers(systems: Sequence[Record], scores: Mapping[str, Record]) -> list[Any]:
    """The figures of quality against cost and against latency that can be drawn."""
    asked = (("usd_per_1000", "USD per 1,000 answers"), ("latency_p50_s", "median time to an answer"))
    drawn = (frontier.frontier(systems, scores, key, name) for key, name in asked)
    return [each for each in drawn if each is not None]


def scores_table(report: Record, split: str) -> dict[str, Any]:
    """Every metric of every system on one split; the paired differences under it."""
    mine = [each for each in report["scores"] if each["split"] == split]
    by_both = {(each["metric"], each["who"]): each for each in mine}
    who = list(dict.fromkeys(each["who"] for each in mine))
    lines = [
        {
            "metric": words.metric(metric),
            "lower": metric in words.LOWER_IS_BETTER,
            "cells": [by_both.get((metric, each)) for each in who],
        }
        for metric in dict.fromkeys(each["metric"] for each in mine)
    ]
    paired = [each for each in report["paired"] if each["split"] == split]
    return {"split": visible(split), "n": mine[0]["n"], "who": who, "lines": lines, "paired": paired}


def slices(report: Record) -> list[dict[str, Any]] | None:
    """The worst slices first, each with its interval drawn on one common axis."""
    found = report.get("slices") or []
    if not found:
        return None
    margin = -report["verdict"]["max_drop"] / 100
    ends = [0.0, 2 * margin, *(each[end] for each in found for end in ("low", "high"))]
    axis = linear(ends, 6, 214, pad=0.03)
    return [
        {
            **each,
            "mark": sign(each),
            "figure": frontier.whisker(each["low"], each["diff"], each["high"], axis, sign(each), margin),
        }
        for each in found
    ]


def sign(difference: Record) -> str:
    """What an interval says: a loss, a gain, or neither."""
    return "bad" if difference["high"] < 0 else "good" if difference["low"] > 0 else "unsure"


def confusion(report: Record) -> list[dict[str, Any]] | None:
    """A heat table for each system: `heat` (0 to 9) is the share of the gold label's rows."""
    found = report.get("confusion")
    if not found or len(found["labels"]) > 30:
        return None
    return [
        {
            "who": visible(who),
            "labels": [visible(label) for label in found["labels"]],
            "lines": [
                [
                    (count, round(9 * count / (sum(line) or 1)), place == row)
                    for place, count in enumerate(line)
                ]
                for row, line in enumerate(found["counts"][who])
            ],
            "none": any(line[-1] for line in found["counts"][who]),
        }
        for who in found["counts"]
        if who in ("student", "teacher", "base")
    ]


def training(metrics: Record | None, history: Sequence[Record]) -> dict[str, Any] | None:
    """The loss curve and what was trained; None where nothing was."""
    if not metrics:
        return None
    told = [
        ("Base model", visible(str(metrics.get("base") or ""))),
        ("Trained on", f"{metrics['rows']['train']:,} rows" if metrics.get("rows") else ""),
        ("Trainable weights", words.count(metrics.get("trainable_parameters"))),
        ("Optimiser steps", words.count(metrics.get("steps"))),
        (
            "Best validation loss",
            f"{metrics['best_valid_loss']:.3g}" if metrics.get("best_valid_loss") else "",
        ),
        ("Time", words.seconds(metrics.get("seconds"))),
        ("On", visible(str(metrics.get("device") or ""))),
    ]
    figure = frontier.loss_curve(history, metrics.get("best_step"))
    return {"figure": figure, "lines": [(name, said) for name, said in told if said not in ("", "unknown")]}


def curves(report: Record) -> list[tuple[str, Any]]:
    """(title, figure) of the curves over rows, rounds and shares sent to the teacher that can be drawn."""
    cascade = (report.get("cascade") or {}).get("points", ())
    asked = (
        ("More data, better student?", report.get("learning_curve", ()), "rows", "training rows", True),
        ("Round by round", report.get("rounds", ()), "round", "round of refilling", True),
        ("Send the unsure ones to the teacher", cascade, "share", "share sent to the teacher", False),
    )
    drawn = ((title, frontier.quality_curve(points, key, name, whole=whole))
             for title, points, key, name, whole in asked)  # fmt: skip
    return [(title, figure) for title, figure in drawn if figure is not None]


def data(receipt: Record) -> dict[str, Any]:
    """The data receipt: what was kept of what was tried, and why the rest was not."""
    dropped = sorted((receipt.get("dropped") or {}).items(), key=lambda each: -each[1])
    parts = [("kept", receipt["accepted"]), *((words.reason(name), n) for name, n in dropped)]
    lift = receipt.get("filter_lift") or {}
    return {
        "accepted": receipt["accepted"],
        "tried": receipt["tried"],
        "parts": parts,
        "figure": frontier.funnel(parts),
        "calls": receipt.get("calls"),
        "cost": words.usd(receipt.get("cost_usd")),
        "splits": receipt.get("splits") or {},
        "lift": visible(lift["why"]) if lift.get("basis") else "",
        "by_answer": receipt.get("by_answer") or {},
    }
