"""The report's section "cascade": the student where it is sure, the teacher where it is not.

Refuses to choose a threshold and to measure it on the same rows, and to call an unknown price nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.score.cascade import (
    Calibration,
    Joint,
    Rows,
    calibrate,
    calibration_error,
    cross_fitted,
    steps,
    threshold_for,
)
from distill.score.metrics import primary, row_values
from distill.score.paired import paired_difference
from distill.score.stats import FEW, mean_interval
from distill.types import Prediction, Task

POINTS = 20
"""Steps of the curve from all student to all teacher."""


def sureness(task: Task, row: Prediction) -> float | None:
    """How sure the student is of an answer, 0 to 1; None where it does not say.

    A label or an object is right as a whole, so all its tokens count (their product); of free text the mean
    one, as a long answer is not a worse one (length-normalised: Malinin & Gales 2021).
    """
    if row.confidence is None:
        return None
    whole = task.kind in ("label", "json")
    return float(row.confidence ** (row.tokens or 1)) if whole else row.confidence


def cascade(
    task: Task,
    student: Sequence[Prediction],
    teacher: Sequence[Prediction],
    valid: Sequence[Prediction],
    student_usd_per_1000: float | None,
    *,
    drop_points: float,
    seed: int,
) -> dict[str, Any]:
    """{"cascade": section}, or {} where the student does not say how sure it is, or rows are too few.

    `student` and `teacher`: the same held-out rows. `valid`: the student's answers to the validation rows,
    whose gold is the teacher's accepted answer: the calibration is of agreeing with that.
    """
    raw, known = sures(task, student), sures(task, valid)
    if raw is None or len(raw) < FEW:
        return {}
    calibration = calibrate(known, worth(task, valid)) if known and len(known) >= FEW else None
    scale = calibration or Calibration()
    rows = Rows([scale.of(each) for each in raw], worth(task, student), worth(task, teacher))
    clusters = [row.cluster or row.row for row in student]

    def measured(joint: Joint) -> dict[str, Any]:
        against = paired_difference(joint.values, rows.teacher, seed, clusters)
        return {
            "share_to_teacher": joint.share,
            **mean_interval(joint.values, seed)._asdict(),
            "usd_per_1000": price(teacher, joint.sent, student_usd_per_1000),
            "to_teacher": {"diff": against.value, "low": against.low, "high": against.high},
        }

    target = aimed(rows, clusters, drop_points / 100, seed, measured)
    if known and calibration:
        told = worth(task, valid)
        chosen = threshold_for(
            Rows([scale.of(each) for each in known], told, [1.0] * len(told)), drop_points / 100
        )
        target["on_valid"] = {"threshold": chosen, **measured(rows.at(chosen))}
    section = {
        "split": student[0].split,
        "metric": primary(task),
        "confidence": "whole answer" if task.kind in ("label", "json") else "mean token",
        "points": [
            {"threshold": threshold, **measured(rows.at(threshold))} for threshold in steps(rows.sure, POINTS)
        ],
        "target": {"drop_points": drop_points, **target},
        "calibration": fitted(calibration, rows, len(known or ())),
    }
    return {"cascade": {**section, "sentence": sentence(target)}}


def aimed(
    rows: Rows,
    clusters: Sequence[str],
    drop: float,
    seed: int,
    measured: Callable[[Joint], dict[str, Any]],
) -> dict[str, Any]:
    """The threshold by all held-out rows, and what such a choice is worth on rows that it did not see."""
    if len(set(clusters)) < 2:
        clusters = [str(place) for place in range(len(clusters))]
    return {
        "threshold": threshold_for(rows, drop),
        "chosen_on": "held-out rows",
        "measured_by": "cross-fitting: each fifth of the rows by a threshold chosen on the others",
        **measured(cross_fitted(rows, drop, clusters, seed)),
    }


def fitted(calibration: Calibration | None, rows: Rows, n: int) -> dict[str, Any] | None:
    """How confidence became a probability, and how far off that is on the held-out rows; None: not at all."""
    if calibration is None:
        return None
    return {
        "on": "valid",
        "n": n,
        **calibration._asdict(),
        "ece": calibration_error(rows.sure, rows.student),
        "ece_n": len(rows.sure),
    }


def sures(task: Task, rows: Sequence[Prediction]) -> list[float] | None:
    """How sure each answer is; None where one does not say."""
    found = [sureness(task, row) for row in rows]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def worth(task: Task, rows: Sequence[Prediction]) -> list[float]:
    """The primary metric, a value a row."""
    return row_values(task, rows)[primary(task)] if rows else []


def price(
    teacher: Sequence[Prediction], sent: Sequence[bool], student_usd_per_1000: float | None
) -> float | None:
    """USD per 1000 requests: the student reads all of them, the teacher those sent; None: one is unknown."""
    costs = [row.cost_usd for row, goes in zip(teacher, sent, strict=True) if goes]
    known = [cost for cost in costs if cost is not None]
    if student_usd_per_1000 is None or len(known) < len(costs):
        return None
    return student_usd_per_1000 + 1000 * math.fsum(known) / len(teacher)


def sentence(target: Mapping[str, Any]) -> str:
    """What to do, in one sentence: "Send the 18% least sure to the teacher: 0.91 (0.88 to 0.93) at $2 …"."""
    share, usd = target["share_to_teacher"], target["usd_per_1000"]
    most = {0: "Send nothing to the teacher", 1: "Send everything to the teacher"}
    what = most.get(share, f"Send the {share:.0%} least sure to the teacher")
    value = f"{target['value']:.2f} ({target['low']:.2f} to {target['high']:.2f})"
    return f"{what}: {value} at {'an unknown price' if usd is None else f'${usd:.4g}'} per 1000 requests"


def lines(summary: Mapping[str, Any]) -> list[str]:
    """The section for a terminal; older reports have none."""
    section = summary.get("cascade")
    if not section:
        return []
    target, calibration = section["target"], section["calibration"]
    told = [
        f"cascade: {section['sentence']} (target: within {target['drop_points']:g} points of the teacher,"
        f" cross-fitted; threshold {target['threshold']:.3f})"
    ]
    if on_valid := target.get("on_valid"):
        told.append(
            f"cascade, threshold chosen on valid: {on_valid['share_to_teacher']:.0%} to the teacher,"
            f" {on_valid['value']:.2f} ({on_valid['low']:.2f} to {on_valid['high']:.2f})"
        )
    if calibration:
        told.append(
            f"confidence is off by {100 * calibration['ece']:.1f} points on average"
            f" ({calibration['ece_n']} rows; calibrated on {calibration['n']} valid rows)"
        )
    return told
