"""Intervals for one system's score: a mean, a share, a macro F1. All are 95% and two-sided.

Refuses false certainty: rows that all score alike still leave an interval wider than a point.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

Z = 1.959963984540054
"""The normal quantile behind a two-sided 95% interval."""
RESAMPLES = 2000
FEW = 20
"""Below this many rows that differ from the rest, a bootstrap cannot see the tail and is not used."""


class Interval(NamedTuple):
    """An estimate with its 95% interval and the number of rows behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(right: float, n: int, z: float = Z) -> Interval:
    """The share right / n with its Wilson score interval (Wilson 1927); n = 0 says nothing: 0 to 1.

    `z` is the normal quantile behind the interval, that of 95% where nothing is said.

    `right` need not be whole: for graded values in [0, 1] the interval is too wide, never too narrow, as none
    varies more than a yes/no value of the same mean. Written out, and tested against scipy, because scipy's
    takes whole numbers only. Raises ValueError outside 0..n.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}")
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return Interval(share, min(low, share), max(high, share), n)


def mean_interval(values: Sequence[float], seed: int) -> Interval:
    """The mean of `values`, each in [0, 1].

    Wilson where they are all 0 or 1, or where fewer than FEW differ from the commonest value (none, when all
    are equal); else BCa bootstrap.
    """
    n, mean = len(values), math.fsum(values) / max(1, len(values))
    commonest = Counter(values).most_common(1)[0][1] if values else 0
    if all(value in (0.0, 1.0) for value in values) or n - commonest < FEW:
        return wilson(min(mean * n, n), n)
    low, high = bootstrap_mean(values, seed)
    return Interval(mean, max(0.0, min(low, mean)), min(1.0, max(high, mean)), n)


def bootstrap_mean(values: Any, seed: int, resamples: int = RESAMPLES) -> tuple[Any, Any]:
    """Bias-corrected and accelerated bootstrap bounds (Efron 1987) of the mean over the last axis; seeded."""
    import numpy
    from scipy import stats

    data = numpy.asarray(values, dtype=float)
    batch = max(1, 4_000_000 // data.size)
    result = stats.bootstrap(
        (data,), numpy.mean, axis=-1, n_resamples=resamples, batch=batch, rng=numpy.random.default_rng(seed)
    )
    low, high = result.confidence_interval
    return (float(low), float(high)) if data.ndim == 1 else (low, high)


def macro_f1_interval(answers: Sequence[str | None], gold: Sequence[str], seed: int) -> Interval:
    """Macro F1 over gold's labels with a percentile bootstrap over rows; no rows say nothing: 0 to 1.

    Widened to that of the labels one by one, as no resample shows a miss of a rare label that has none, and
    to Wilson's interval for the share of right rows where fewer than FEW rows are wrong, or right.
    """
    import numpy

    from distill.score.metrics import macro_f1

    n = len(gold)
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    value = macro_f1(list(zip(answers, gold, strict=True)))
    cells = Counter(zip(answers, gold, strict=True))
    labels = sorted(set(gold))
    wanted_DK = numpy.array([[wanted == label for label in labels] for _, wanted in cells], dtype=float)
    got_DK = numpy.array([[answer == label for label in labels] for answer, _ in cells], dtype=float)
    counts_D = numpy.array(list(cells.values()))
    wanted_K, got_K, right_K = (counts_D @ each for each in (wanted_DK, got_DK, wanted_DK * got_DK))
    boot_low, boot_high = _bootstrap_macro_f1(counts_D, wanted_DK, got_DK, seed)
    below, above = _label_by_label(right_K.tolist(), (wanted_K + got_K - right_K).tolist())
    low, high = min(boot_low, value - below), max(boot_high, value + above)
    right = int(right_K.sum())
    if min(right, n - right) < FEW:
        share = wilson(right, n)
        low, high = min(low, value - share.value + share.low), max(high, value + share.high - share.value)
    return Interval(value, max(0.0, min(low, value)), min(1.0, max(high, value)), n)


def _label_by_label(right: Sequence[float], touched: Sequence[float]) -> tuple[float, float]:
    """How far macro F1's interval goes below and above it, from an interval for each label's F1.

    Of the rows whose gold or answer is the label (`touched`), the share j that is `right` has Wilson's
    interval, and F1 is 2j / (1 + j). Put together by their distances (Zou and Donner's MOVER, 2008).
    """
    below = above = 0.0
    for hits, rows in zip(right, touched, strict=True):
        value, low, high = (2 * share / (1 + share) for share in wilson(hits, int(rows))[:3])
        below, above = below + (value - low) ** 2, above + (high - value) ** 2
    return math.sqrt(below) / len(right), math.sqrt(above) / len(right)


def _bootstrap_macro_f1(counts_D: Any, wanted_DK: Any, got_DK: Any, seed: int) -> tuple[float, float]:
    import numpy

    # A resample is a row of counts of the distinct (answer, gold): one matrix product then gives every F1.
    n, rng = int(counts_D.sum()), numpy.random.default_rng(seed)
    values: list[float] = []
    for start in range(0, RESAMPLES, 100):
        counts_BD = rng.multinomial(n, counts_D / n, size=min(100, RESAMPLES - start))
        wanted, got = counts_BD @ wanted_DK, counts_BD @ got_DK
        f1 = 2 * (counts_BD @ (wanted_DK * got_DK)) / numpy.maximum(wanted + got, 1)
        values.extend((f1.sum(axis=1) / (wanted > 0).sum(axis=1)).tolist())
    low, high = numpy.quantile(values, [0.025, 0.975])
    return float(low), float(high)
