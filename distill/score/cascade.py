"""A student that asks the teacher where it is unsure: calibrated confidence, joint answers, the threshold.

Refuses to judge a threshold by the rows that chose it: `cross_fitted` chooses for each fold on the others.
"""

import bisect
import itertools
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

FOLDS = 5
BINS = 10
EDGE = 1e-7
"""How near to 0 or 1 a probability counts: float32 knows no nearer."""
FLATTEST = 1e-3
"""The least slope of a calibration, so that a surer answer stays the surer one."""
ROUNDS = 100


class Calibration(NamedTuple):
    """Probability of being right = 1 / (1 + exp(-(slope * logit(confidence) + intercept)))."""

    slope: float = 1.0
    intercept: float = 0.0

    def of(self, confidence: float) -> float:
        """The calibrated probability, strictly between 0 and 1."""
        return min(1 - 1e-12, _expit(self.slope * _logit(confidence) + self.intercept))


class Joint(NamedTuple):
    """Answers of both: the student's value or the teacher's, row by row, and which the teacher was asked."""

    values: list[float]
    sent: list[bool]

    @property
    def share(self) -> float:
        """The share of rows sent to the teacher."""
        return sum(self.sent) / len(self.sent)


class Rows(NamedTuple):
    """The same rows answered by both: how sure the student is, and what each answer is worth, 0 to 1."""

    sure: Sequence[float]
    student: Sequence[float]
    teacher: Sequence[float]

    def at(self, threshold: float) -> Joint:
        """What comes of it when rows less sure than `threshold` go to the teacher."""
        sent = [sure < threshold for sure in self.sure]
        columns = zip(sent, self.student, self.teacher, strict=True)
        return Joint([theirs if goes else mine for goes, mine, theirs in columns], sent)

    def chosen(self, places: Sequence[int]) -> "Rows":
        """Only these rows."""
        return Rows(*([column[place] for place in places] for column in self))


def calibrate(confidences: Sequence[float], values: Sequence[float]) -> Calibration:
    """Platt scaling (Platt 1999, his smoothed targets; Newton's method as in Lin, Lin and Weng 2007).

    `values` are 1 right, 0 wrong, or graded between. The slope is kept above 0: order is never turned round.
    """
    right = math.fsum(values)
    low, high = 1 / (len(values) - right + 2), (right + 1) / (right + 2)
    targets = [low + value * (high - low) for value in values]
    found = _newton([_logit(confidence) for confidence in confidences], targets)
    if found.slope >= FLATTEST:
        return found
    flat = [FLATTEST * _logit(confidence) for confidence in confidences]
    return Calibration(FLATTEST, _newton([0.0] * len(flat), targets, flat).intercept)


def calibration_error(sure: Sequence[float], values: Sequence[float]) -> float:
    """Expected calibration error: mean |probability - value| over BINS bins of as many rows each."""
    order = sorted(range(len(sure)), key=lambda place: sure[place])
    cuts = [round(bin_ * len(order) / BINS) for bin_ in range(BINS + 1)]
    bins = [order[start:end] for start, end in itertools.pairwise(cuts)]
    return math.fsum(abs(math.fsum(sure[at] - values[at] for at in each)) for each in bins) / len(order)


def steps(sure: Sequence[float], count: int) -> list[float]:
    """At most `count` + 1 thresholds, ascending: 0 (no row goes), by like shares of rows, to 1 (all go)."""
    ranked = sorted(sure)
    found = (_between(ranked, round(step * len(ranked) / count)) for step in range(count, -1, -1))
    # One for each number of rows sent: rows alike in sureness go together.
    return sorted({bisect.bisect_left(ranked, threshold): threshold for threshold in found}.values())


def threshold_for(rows: Rows, drop: float) -> float:
    """The lowest threshold whose joint mean is at most `drop` (a share) below the teacher's on these rows."""
    order = sorted(range(len(rows.sure)), key=lambda place: rows.sure[place])
    ranked = [rows.sure[place] for place in order]
    total, wanted = math.fsum(rows.student), math.fsum(rows.teacher) - drop * len(order)
    for count, place in enumerate(order):
        # Rows alike in sureness go together.
        parts = count == 0 or ranked[count - 1] < ranked[count]
        if parts and total >= wanted - 1e-9:
            return _between(ranked, count)
        total += rows.teacher[place] - rows.student[place]
    return 1.0


def cross_fitted(rows: Rows, drop: float, clusters: Sequence[str], seed: int) -> Joint:
    """What comes of choosing a threshold on some rows and using it on others: each fold by the rest.

    Raises ValueError where there are fewer than two clusters.
    """
    folds = folded(clusters, seed)
    if len(set(folds)) < 2:
        raise ValueError("cross-fitting takes two clusters at least")
    values, sent = [0.0] * len(folds), [False] * len(folds)
    for fold in set(folds):
        mine = [place for place, other in enumerate(folds) if other == fold]
        rest = [place for place, other in enumerate(folds) if other != fold]
        found = rows.chosen(mine).at(threshold_for(rows.chosen(rest), drop))
        for place, value, goes in zip(mine, found.values, found.sent, strict=True):
            values[place], sent[place] = value, goes
    return Joint(values, sent)


def folded(clusters: Sequence[str], seed: int) -> list[int]:
    """The fold of each row; rows of one cluster stay in one."""
    names = sorted(set(clusters))
    random.Random(seed).shuffle(names)
    fold_of = {name: place % FOLDS for place, name in enumerate(names)}
    return [fold_of[cluster] for cluster in clusters]


def _between(ranked: Sequence[float], count: int) -> float:
    """The threshold below which the first `count` of `ranked` are, half-way to the next."""
    if count <= 0:
        return 0.0
    return 1.0 if count >= len(ranked) else (ranked[count - 1] + ranked[count]) / 2


def _logit(probability: float) -> float:
    inside = min(max(probability, EDGE), 1 - EDGE)
    return math.log(inside / (1 - inside))


def _expit(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value)) if value > -700 else 0.0


def _newton(xs: Sequence[float], targets: Sequence[float], offsets: Sequence[float] = ()) -> Calibration:
    """The logistic regression of `targets` (0 to 1) on xs, `offsets` added; begun at the identity."""
    offsets = offsets or [0.0] * len(xs)

    def loss(a: float, b: float) -> float:
        zs = [a * x + b + o for x, o in zip(xs, offsets, strict=True)]
        return math.fsum(
            max(z, 0) - z * t + math.log1p(math.exp(-abs(z))) for z, t in zip(zs, targets, strict=True)
        )

    a, b = 1.0, 0.0
    for _ in range(ROUNDS):
        ps = [_expit(a * x + b + o) for x, o in zip(xs, offsets, strict=True)]
        gaps, weights = [p - t for p, t in zip(ps, targets, strict=True)], [p * (1 - p) for p in ps]
        slope_b, haa = math.fsum(gaps), math.fsum(w * x * x for w, x in zip(weights, xs, strict=True)) + 1e-9
        slope_a, hbb = math.fsum(g * x for g, x in zip(gaps, xs, strict=True)), math.fsum(weights) + 1e-9
        hab = math.fsum(w * x for w, x in zip(weights, xs, strict=True))
        det = haa * hbb - hab * hab
        step_a = (hbb * slope_a - hab * slope_b) / det
        step_b = (haa * slope_b - hab * slope_a) / det
        size, before = 1.0, loss(a, b)
        while size > 1e-9 and loss(a - size * step_a, b - size * step_b) > before:
            size /= 2
        a, b = a - size * step_a, b - size * step_b
        if size <= 1e-9 or abs(step_a) + abs(step_b) < 1e-10:
            break
    return Calibration(a, b)
