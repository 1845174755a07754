"""What more training data would bring, from scores at several sizes: a fitted law in a sentence. Pure.

Refuses to promise: an estimate whose ± reaches zero is "cannot tell", with the rows that were too few.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

RESAMPLES = 200
FEWEST_SIZES = 3
"""A law has at least two numbers to find."""
HARDLY = 1.0
"""Points: a gain that is certainly below this is called none."""
STEEPEST = 1.5
"""The largest exponent of the law; fitted ones are 0.05 to 1 (Hestness et al. 2017, arXiv 1712.00409)."""
LEAST_ERROR = 0.5
"""Half a wrong row is the least noise a share of rows is credited with."""


class Doubling(NamedTuple):
    """Points (hundredths) that twice the data would add to the metric, with the 95% interval."""

    points: float
    low: float
    high: float


def doubling(sizes: Sequence[int], values: Sequence[Sequence[float]], seed: int) -> Doubling | None:
    """What twice the largest of `sizes` would add; None where there are fewer than FEWEST_SIZES.

    `values`: for each size a value in [0, 1] a held-out row, the same rows in the same order, 1 best. The law
    is error = a + b n^-c, fitted twice: with the floor a free and with a = 0, since few sizes cannot tell the
    two apart; the estimate is their mean. The interval is over resampled rows (all sizes by the same rows),
    refitted with either: it knows the luck of the rows, not that of training, which ran once a size.
    """
    import numpy

    if len(set(sizes)) < FEWEST_SIZES or not values[0]:
        return None
    errors_SN = 1.0 - numpy.asarray(values, dtype=float)
    rows = errors_SN.shape[1]
    spread = numpy.maximum(errors_SN.var(axis=1), LEAST_ERROR / rows) ** 0.5 / rows**0.5
    rng = numpy.random.default_rng(seed)
    drawn = [errors_SN[:, rng.integers(0, rows, rows)].mean(axis=1) for _ in range(RESAMPLES)]
    gains = [gain(sizes, errors, spread, floor=floor) for errors in drawn for floor in (True, False)]
    low, high = numpy.percentile(gains, [2.5, 97.5])
    both = [gain(sizes, errors_SN.mean(axis=1), spread, floor=floor) for floor in (True, False)]
    value = sum(both) / 2
    return Doubling(100 * value, 100 * min(float(low), value), 100 * max(float(high), value))


def gain(sizes: Sequence[int], errors: Any, spread: Any, *, floor: bool) -> float:
    """How much less error the fitted law has at twice the largest size: 0 to all that is wrong there."""
    import numpy
    from scipy.optimize import least_squares

    share_S = numpy.asarray(sizes, dtype=float) / max(sizes)

    def off(law: Any) -> Any:
        return (law[2] + law[0] * share_S ** -law[1] - errors) / spread

    start = max(float(errors[-1]), 1e-3)
    ceiling = 1.0 if floor else 1e-9
    found = least_squares(off, [start, 0.3, 0.0], bounds=([0.0, 0.0, -1e-9], [1.0, STEEPEST, ceiling]))
    scale, exponent, _ = found.x
    return min(float(scale * (1 - 2.0**-exponent)), float(errors[int(share_S.argmax())]))


def sentence(found: Doubling | None, rows: int, sizes: Sequence[int]) -> str:
    """ "doubling the data would give about +1.8 ± 0.9 points", or why nobody can say."""
    if found is None:
        few = f"{len(sizes)} size" + ("s" if len(sizes) != 1 else "")
        return f"cannot tell what more data would give from {few} of training set"
    if found.high < HARDLY:
        return f"doubling the data would hardly help: +{found.points:.1f} points, at most +{found.high:.1f}"
    half = max(found.high - found.points, found.points - found.low)
    if half >= found.points:
        return (
            f"cannot tell with {rows} valid rows: doubling the data would give between"
            f" +{found.low:.1f} and +{found.high:.1f} points"
        )
    return f"doubling the data would give about +{found.points:.1f} ± {half:.1f} points"


def nested(answers: Sequence[str], sizes: Sequence[int], seed: int) -> Mapping[int, list[int]]:
    """Size -> indices into `answers`, in order; each contained in the next, each answer in its due share.

    Rows of an answer are shuffled and dealt evenly over the whole, so that every prefix has them in
    proportion, off by less than one row an answer.
    """
    import random

    rng, by_answer = random.Random(seed), dict[str, list[int]]()
    for index, answer in enumerate(answers):
        by_answer.setdefault(answer, []).append(index)
    dealt = []
    for name in sorted(by_answer):
        rows = by_answer[name]
        rng.shuffle(rows)
        dealt += [((place + 0.5) / len(rows), rng.random(), row) for place, row in enumerate(rows)]
    order = [row for _, _, row in sorted(dealt)]
    return {size: sorted(order[:size]) for size in sizes}
