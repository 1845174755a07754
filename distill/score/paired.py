"""The difference of two systems on the same rows: interval, what n can see, rows that would settle it.

Refuses unpaired comparison, and false certainty: two systems that agree on every row still differ by "up to".
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from distill.score.stats import FEW, RESAMPLES, Interval, Z, bootstrap_mean

POWER_Z = 0.8416212335729143
"""The normal quantile of 80% power."""
FAR = 1e6
"""A share of the gap closed that no system has."""
LEAST = 6
"""Of fewer rows even all, differing one way, are no sign: 2 / 2^5 is more than 5%."""
MOST_ROWS = 100_000
"""Asking for more rows than this is no advice."""


class Share(NamedTuple):
    """A share of n rows with its 95% interval; low and high are None where there is none to be had."""

    value: float
    low: float | None
    high: float | None
    n: int


class Gate(NamedTuple):
    """Is the loss within the margin, and about how many more rows would say so where it is unclear."""

    answer: Literal["yes", "no", "unclear"]
    more_rows: int | None = None


def paired_difference(
    a_values: Sequence[float], b_values: Sequence[float], seed: int, clusters: Sequence[str] = ()
) -> Interval:
    """Mean of a - b over the same rows, each value in [0, 1], with its 95% interval.

    `clusters` names, row by row, what rows belong together (turns of a conversation): the interval is then
    the widest of that over rows, that over clusters and, of right/wrong values, Tango's of so many fewer rows
    as vary like the clusters do (rare losses are skewed). None, or each of its own: rows are independent.

    Right/wrong values: Tango's score interval, which stays honest where few rows differ: with none of n it is
    0 +- 3.84 / (n + 3.84), a Wilson interval on the discordant share. Graded values: BCa bootstrap of the row
    differences; Tango's on summed gains and losses (wider) where fewer than FEW rows differ from the rest.
    Where all rows differ by the same, clusters show no spread: each then counts as a single row.
    Raises ValueError where the lengths differ.
    """
    differences = [a - b for a, b in zip(a_values, b_values, strict=True)]
    by_row = _over_rows(differences, seed)
    groups = len(set(clusters))
    if groups in (0, len(clusters)):
        return by_row
    value = by_row.value
    if groups > 1 and len(set(differences)) == 1:
        alone = score_interval(groups * max(0.0, value), groups * max(0.0, -value), groups)
        return Interval(value, alone.low, alone.high, by_row.n)
    half = clustered_half_width(differences, clusters)
    fewer = _of_fewer_rows(differences, half, groups) or by_row
    low, high = min(by_row.low, fewer.low, value - half), max(by_row.high, fewer.high, value + half)
    return Interval(value, max(-1.0, low), min(1.0, high), by_row.n)


def _of_fewer_rows(differences: Sequence[float], half: float, groups: int) -> Interval | None:
    """Tango's interval of so many rows as would vary like these clusters do; None of graded values."""
    from scipy.stats import t

    n, value = len(differences), math.fsum(differences) / len(differences)
    spread = math.fsum((difference - value) ** 2 for difference in differences) / n**2
    if groups < 2 or not spread or not all(difference in (-1.0, 0.0, 1.0) for difference in differences):
        return None
    gains, losses = (sum(difference == way for difference in differences) for way in (1.0, -1.0))
    times = max(1.0, (half / float(t.ppf(0.975, groups - 1))) ** 2 / spread)
    return score_interval(gains / times, losses / times, n / times)


def clustered_half_width(differences: Sequence[float], clusters: Sequence[str]) -> float:
    """Half the 95% interval of the mean where rows of one cluster go together; 1 where all are in one.

    The cluster-robust variance with its G / (G - 1) and Student's t of G - 1 degrees (Liang and Zeger 1986;
    Cameron and Miller 2015): at few clusters it covers what a bootstrap over them does not.
    """
    from scipy.stats import t

    mean, sums = math.fsum(differences) / len(differences), dict.fromkeys(clusters, 0.0)
    for difference, cluster in zip(differences, clusters, strict=True):
        sums[cluster] += difference - mean
    groups = len(sums)
    if groups < 2:
        return 1.0
    variance = groups / (groups - 1) * math.fsum(value**2 for value in sums.values()) / len(differences) ** 2
    return float(t.ppf(0.975, groups - 1)) * math.sqrt(variance)


def _over_rows(differences: Sequence[float], seed: int) -> Interval:
    n, commonest = len(differences), max(Counter(differences).values(), default=0)
    gains = math.fsum(difference for difference in differences if difference > 0)
    losses = math.fsum(-difference for difference in differences if difference < 0)
    if n - commonest < FEW or all(difference in (-1.0, 0.0, 1.0) for difference in differences):
        return score_interval(gains, losses, n)
    low, high = bootstrap_mean(differences, seed)
    return Interval(math.fsum(differences) / n, low, high, n)


def sign_test(a_values: Sequence[float], b_values: Sequence[float]) -> tuple[int, int, float]:
    """(rows where a is better, rows where b is, two-sided exact p that both are as likely).

    For right and wrong rows that is McNemar's exact test (1947).
    """
    from scipy.stats import binomtest

    gains = sum(a > b for a, b in zip(a_values, b_values, strict=True))
    losses = sum(a < b for a, b in zip(a_values, b_values, strict=True))
    return gains, losses, float(binomtest(gains, gains + losses).pvalue) if gains + losses else 1.0


def gap_closed(
    student: Sequence[float],
    base: Sequence[float],
    teacher: Sequence[float],
    seed: int,
    clusters: Sequence[str] = (),
) -> Share | None:
    """(student - base) / (teacher - base) with a 95% percentile bootstrap over rows, or over `clusters`.

    None where the teacher is not shown to be ahead of the base, or only just (in one of forty resamples it is
    not): a share of such a gap may be anything.
    Without an interval where all resamples are the same, as where student and base never differ.
    """
    if not teacher or paired_difference(teacher, base, seed, clusters).low <= 0:
        return None
    import numpy
    from scipy import stats

    names = clusters or [str(place) for place in range(len(base))]
    place_of = {name: place for place, name in enumerate(dict.fromkeys(names))}
    places_N = numpy.array([place_of[name] for name in names])
    closed_G, gap_G = (
        numpy.bincount(places_N, weights=numpy.subtract(values, base)) for values in (student, teacher)
    )

    def share(closed: Any, gap: Any, axis: int) -> Any:
        # A resample in which the teacher is not ahead has no gap to close: it is far off on either side.
        closed, gap = closed.sum(axis=axis), gap.sum(axis=axis)
        return numpy.where(gap > 0, closed / numpy.where(gap > 0, gap, 1), numpy.copysign(FAR, closed))

    found = stats.bootstrap(
        (closed_G, gap_G),
        share,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(gap_G)),
        rng=numpy.random.default_rng(seed),
    ).confidence_interval
    bounds = float(found.low), float(found.high)
    if max(map(abs, bounds)) >= FAR:
        return None
    value = float(closed_G.sum() / gap_G.sum())
    if math.isclose(*bounds, abs_tol=1e-9):
        return Share(value, None, None, len(base))
    return Share(value, *bounds, len(base))


def score_interval(gains: float, losses: float, n: float) -> Interval:
    """(gains - losses) / n with Tango's interval; n = 0 says nothing: -1 to 1.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998). None need be whole: as |d| >= d*d, graded gains
    and losses make it wider.
    """
    if n == 0:
        return Interval(0.0, -1.0, 1.0, 0)
    low = _lower_bound(gains, losses, n)
    return Interval((gains - losses) / n, low, -_lower_bound(losses, gains, n), round(n))


def _lower_bound(gains: float, losses: float, n: float) -> float:
    from scipy.optimize import brentq

    def excess(delta: float) -> float:
        """Above 0 where `delta` is rejected."""
        b = (2 * n - gains + losses) * delta - gains - losses
        root = math.sqrt(max(0.0, b * b + 8 * n * losses * delta * (1 - delta)))
        lost_share = (root - b) / (4 * n)
        variance = n * (2 * lost_share + delta * (1 - delta))
        return float((gains - losses - n * delta) ** 2 - Z * Z * max(0.0, variance))

    observed = (gains - losses) / n
    # At the observed difference the statistic is 0, a root of its own where no row differs: stop short of it.
    top = observed - 1e-9
    if top <= -1 or excess(top) >= 0:
        return -1.0 if top <= -1 else observed
    return float(brentq(excess, -1.0, top, xtol=1e-10))


def gate(difference: Interval, max_drop_points: float) -> Gate:
    """Non-inferiority: yes if the whole interval is above -`max_drop_points`, no if below, else unclear.

    `more_rows` is about how many more rows would bring the low end above the margin if the difference stays
    what it is; None where it is past the margin already, or where over MOST_ROWS would be needed.
    """
    margin = max_drop_points / 100
    if difference.low > -margin:
        return Gate("yes")
    if difference.high < -margin:
        return Gate("no")
    return Gate("unclear", _more_rows(difference, difference.value + margin))


def _more_rows(difference: Interval, room: float) -> int | None:
    if room <= 0 or difference.n == 0:
        return None
    half = max(difference.value - difference.low, (difference.high - difference.low) / 2)
    needed = math.ceil(difference.n * (half / room) ** 2)
    more = max(1, needed - difference.n)
    step = 10 ** max(0, len(str(more)) - 2)  # "about" is two digits
    rounded = -(-more // step) * step
    return rounded if rounded <= MOST_ROWS else None


def detectable_difference(n: int, discordant_share: float = 0.16) -> float:
    """The smallest true difference (a share) that n paired rows tell from 0 with 80% power at 95%; 1: none.

    `discordant_share`: share of the rows on which the two systems do not score alike. Solves
    delta = (z + z_power) * sqrt((share - delta^2) / n), the normal form of McNemar's power (Connor 1987).
    No difference is more than the share: at few rows it is of systems that differ one way alone.
    """
    if n < LEAST:
        return 1.0
    k = Z + POWER_Z
    delta = k * math.sqrt(discordant_share / (n + k * k))
    return delta if delta <= discordant_share else k * k / (n + k * k)
