"""What the page's template is given, section by section: numbers in words, figures drawn. Pure.

Refuses to invent a section: one whose numbers are missing is None, and the template leaves it out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.report import frontier, page_curves, page_top, words
from distill.report.plain import visible
from distill.report.reproduce import private, reproduce
from distill.report.svg import linear, system_class
from distill.report.verdicts import panel, review

Record = Mapping[str, Any]


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
        "verdict": page_top.verdict(report, split),
        "done": page_top.done(report, receipt, metrics, run, split),
        "facts": page_top.facts(report, scores, split),
        "systems": [card(each, scores[each["who"]], report) for each in report["systems"]],
        "frontiers": frontiers(report["systems"], scores),
        "tables": [scores_table(report, name) for name in splits(report)],
        "slices": slices(report),
        "correction": report.get("correction", ""),
        "per_class": report.get("per_class") or None,
        "per_field": report.get("per_field") or None,
        "confusion": confusion(report),
        "training": page_curves.training(metrics, history),
        "learning": page_curves.learning(report, metrics),
        "rounds": page_curves.rounds(report),
        "data": data(receipt) if receipt else None,
        "judge": panel(report["judged"]) if report.get("judged") else None,
        "economics": report.get("economics"),
        "cascade": page_curves.cascade(report),
        "review": review(report),
        "notes": [visible(note) for note in report.get("notes", ())],
        "reproduce": reproduce(report, receipt or {}, run, metrics),
    }


def splits(report: Record) -> list[str]:
    """The splits there are, the verdict's first."""
    first = main_split(report)
    return sorted({each["split"] for each in report["scores"]}, key=lambda name: (name != first, name))


def main_split(report: Record) -> str:
    """The split the verdict rests on."""
    names = {each["split"] for each in report["scores"]}
    return str(report.get("split") or ("gold" if "gold" in names else min(names)))


def card(system: Record, score: Record, report: Record) -> dict[str, Any]:
    """One system: its name, its score with the interval, and what is known of speed and price."""
    told = [
        ("Answers in", "latency_p50_s", words.seconds),
        ("95% within", "latency_p95_s", words.seconds),
        ("Rows a second", "rows_per_s", words.rate),
        ("Tokens a second", "tokens_per_s", words.rate),
        ("Per 1,000", "usd_per_1000", words.usd),
        ("Per 1,000 right", "usd_per_accepted", lambda usd: words.usd(1000 * usd)),
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
    return frontier.sign_of(difference["low"], difference["high"])


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
