"""The page's curves in words and figures: training, more data, rounds, sharing with the teacher. Pure.

Refuses to draw through fewer than two points, and to extend a curve beyond what was measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.report import frontier, words
from distill.report.plain import visible
from distill.report.rounds import others

Record = Mapping[str, Any]


def training(metrics: Record | None, history: Sequence[Record]) -> dict[str, Any] | None:
    """The loss curve and what was trained; None where nothing was."""
    if not metrics:
        return None
    told = [
        ("Base model", visible(str(metrics.get("base") or ""))),
        ("Trained on", f"{metrics['rows']['train']:,} rows" if metrics.get("rows") else ""),
        ("Method", visible(str(metrics.get("method") or ""))),
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


def learning(report: Record, metrics: Record | None) -> dict[str, Any] | None:
    """Quality by the number of training rows, and what twice as many would bring (finetune's curve)."""
    found = (metrics or {}).get("learning_curve") or report.get("learning_curve")
    if not found:
        return None
    points = [each for each in found["points"] if each.get("value") is not None]
    name = visible(str(points[0].get("metric") or "quality")) if points else "quality"
    figure = frontier.quality_curve(points, "n", "training rows (log scale)", whole=True, log=True)
    return {"figure": figure, "metric": words.metric(name), "sentence": visible(found.get("sentence") or "")}


def rounds(report: Record) -> dict[str, Any] | None:
    """The student after each refilling, beside its teacher, on rows never refilled (distill/rounds.py)."""
    found: Sequence[Record] = report.get("rounds") or ()
    if len(found) < 2:
        return None
    lines = [
        {
            "round": each["round"],
            "rows": words.count(each.get("n_train")),
            "value": words.percent(each["value"]),
            "between": f"{words.percent(each['low'])} to {words.percent(each['high'])}",
            "gain": gain(each.get("against_previous")),
        }
        for each in found
    ]
    teacher = [(each["round"], each["teacher"]) for each in found if each.get("teacher") is not None]
    figure = frontier.quality_curve(found, "round", "round of refilling", whole=True, beside=teacher)
    return {
        "figure": figure,
        "lines": lines,
        "n": words.count(found[-1].get("n")),
        "others": others(found[-1]).capitalize(),
    }


def gain(difference: Record | None) -> str:
    """ "+2.0 points (+0.4 to +3.6)" against the round before; a dash where there is none."""
    if not difference:
        return "–"
    between = f"{words.points(difference['low'])} to {words.points(difference['high'])}"
    return f"{words.points(difference['diff'])} points ({between})"


def cascade(report: Record) -> dict[str, Any] | None:
    """Joint quality by the share sent to the teacher, the threshold to use, how far off confidence is."""
    found = report.get("cascade")
    if not found:
        return None
    target, calibration = found.get("target") or {}, found.get("calibration")
    mark: tuple[float, float, str] | None = None
    if target.get("share_to_teacher") is not None:
        mark = (target["share_to_teacher"], target["value"], f"target: {words.percent(target['value'])}")
    figure = frontier.quality_curve(
        found["points"], "share_to_teacher", "share sent to the teacher", whole=False, mark=mark
    )
    return {
        "figure": figure,
        "sentence": visible(found.get("sentence") or ""),
        "lines": cascade_lines(target, calibration),
        "points": [
            {
                "threshold": f"{each['threshold']:.3f}",
                "share": words.percent(each["share_to_teacher"], 0),
                "value": words.percent(each["value"]),
                "between": f"{words.percent(each['low'])} to {words.percent(each['high'])}",
                "usd": words.usd(each.get("usd_per_1000")),
            }
            for each in found["points"]
        ],
    }


def cascade_lines(target: Record, calibration: Record | None) -> list[tuple[str, str]]:
    """(name, said) of the target and the calibration."""
    lines = []
    if target.get("threshold") is not None:
        lines.append(("Threshold to serve with", f"{target['threshold']:.3f}"))
        lines.append(("Sent to the teacher", words.percent(target.get("share_to_teacher"), 0)))
        lines.append(("Joint quality", words.percent(target.get("value"))))
        lines.append(("95%", f"{words.percent(target.get('low'))} to {words.percent(target.get('high'))}"))
        lines.append(("Per 1,000 requests", words.usd(target.get("usd_per_1000"))))
    if target.get("drop_points") is not None:
        lines.insert(0, ("Wanted", f"within {target['drop_points']:g} points of the teacher"))
    if calibration and calibration.get("ece") is not None:
        lines.append(("Confidence is off by", f"{100 * calibration['ece']:.1f} points on average"))
    return lines
