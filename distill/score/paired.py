"""The difference of two systems on the same rows: interval, what n can see, rows that would settle it.

Refuses unpaired comparison, and false certainty: two systems that agree on every row still differ by "up to".
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from distill.score.stats import FEW, Interval, Z, bootstrap_mean

POWER_Z = 0.8416212335729143
"""The normal quantile of 80% power."""
MOST_ROWS = 100_000
"""Asking for more rows than this is no advice."""


class Gate(NamedTuple):
    """Is the loss within the margin, and about how many more rows would say so where it is unclear."""

    answer: Literal["yes", "no", "unclear"]
    more_rows: int | None = None


def paired_difference(a_values: Sequence[float], b_values: Sequence[float], seed: int) -> Interval:
    """Mean of a - b over the same rows, each value in [0, 1], with its 95% interval.

    Right/wrong values: Tango's score interval, which stays honest where few rows differ: with none of n it is
    0 +- 3.84 / (n + 3.84), a Wilson interval on the discordant share. Graded values: BCa bootstrap of the row
    differences; Tango's on summed gains and losses (wider) where fewer than FEW rows differ from the rest.
    Raises ValueError where the lengths differ.
    """
    differences = [a - b for a, b in zip(a_values, b_values, strict=True)]
    n, commonest = len(differences), max(Counter(differences).values(), default=0)
    gains = math.fsum(difference for difference in differences if difference > 0)
    losses = math.fsum(-difference for difference in differences if difference < 0)
    if n - commonest < FEW or all(difference in (-1.0, 0.0, 1.0) for difference in differences):
        return score_interval(gains, losses, n)
    low, high = bootstrap_mean(differences, seed)
    return Interval(math.fsum(differences) / n, low, high, n)


def score_interval(gains: float, losses: float, n: int) -> Interval:
    """(gains - losses) / n with Tango's interval; n = 0 says nothing: -1 to 1.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998). Gains and losses need not be whole: as |d| >= d*d
    graded ones make it wider.
    """
    if n == 0:
        return Interval(0.0, -1.0, 1.0, 0)
    low = _lower_bound(gains, losses, n)
    return Interval((gains - losses) / n, low, -_lower_bound(losses, gains, n), n)


def _lower_bound(gains: float, losses: float, n: int) -> float:
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
    """The smallest true difference (a share) that n paired rows tell from 0 with 80% power at 95%.

    `discordant_share`: share of the rows on which the two systems do not score alike. Solves
    delta = (z + z_power) * sqrt((share - delta^2) / n), the normal form of McNemar's power (Connor 1987).
    """
    if n <= 0:
        return 1.0
    k = Z + POWER_Z
    return min(1.0, k * math.sqrt(discordant_share / (n + k * k)))
