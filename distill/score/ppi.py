"""Few human verdicts and many of a judge made into one estimate, and how far the two agree. Pure.

Refuses to let a judge narrow an interval that it does not earn: where it tells nothing of what people say,
its weight is 0 and the estimate is the human one.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from distill.score.stats import Interval, Z, wilson

FEWEST = 3
"""Below this many human verdicts there is no spread to estimate."""
CONTRADICTING = 5
"""Fewer rows than this that differ from the rest, or from the judge, show no spread to rely on."""


class Corrected(NamedTuple):
    """A prediction-powered estimate with its 95% interval; `weight` is how much the judge counts."""

    value: float
    low: float
    high: float
    weight: float


def prediction_powered(
    human: Sequence[float], judge: Sequence[float], judge_rest: Sequence[float]
) -> Corrected | None:
    """The mean of what people would say, in [0, 1], from rows they saw and rows only the judge saw.

    PPI++ (Angelopoulos, Duchi, Zrnic 2023, arXiv 2311.01453): mean(human) + weight * (mean(judge_rest) -
    mean(judge)), the weight (their lambda) that makes the variance least, held to [0, 1]. `human` and `judge`
    are of the same rows, a random part of all; None where there are fewer than FEWEST of them.

    Small samples: Student's t, with a degree of freedom for the mean and one for the weight. Where fewer than
    CONTRADICTING rows contradict the rest or the judge, two more that do are put to them (human 1, judge 0,
    and the other way round; Bonett and Price 2012 for paired shares), so that twenty rows of one opinion do
    not read as certainty: wider than need be, not too narrow. Raises ValueError where the lengths differ.
    """
    rows = list(zip(human, judge, strict=True))
    n, rest = len(rows), len(judge_rest)
    if n < FEWEST:
        return None
    from scipy.stats import t

    weight = tuned(rows, judge_rest)
    value = _mean(human) + (weight * (_mean(judge_rest) - _mean(judge)) if weight else 0.0)
    value = min(1.0, max(0.0, value))
    against = min(sum(said != guessed for said, guessed in rows), n - Counter(human).most_common(1)[0][1])
    more = [(1.0, 0.0), (0.0, 1.0)] if against < CONTRADICTING else []
    residuals = [said - weight * guessed for said, guessed in (*rows, *more)]
    spent = 1 + (weight > 0)  # degrees of freedom
    variance = _variance(residuals, spent) / len(residuals)
    if weight:
        variance += weight**2 * _variance(judge_rest) / rest
    half = float(t.ppf(0.975, n - spent)) * math.sqrt(variance)
    return Corrected(value, max(0.0, value - half), min(1.0, value + half), weight)


def tuned(rows: Sequence[tuple[float, float]], judge_rest: Sequence[float]) -> float:
    """The weight of the judge that makes the estimate's variance least, in [0, 1] (PPI++, section 6).

    Cov(human, judge) / ((1 + n / N) Var(judge)), with N rows that only the judge saw; 0 where there is none,
    or where the judge says the same of every row.
    """
    n, rest = len(rows), len(judge_rest)
    spread = _variance([*(guessed for _, guessed in rows), *judge_rest])
    if not rest or spread <= 0 or n < 2:
        return 0.0
    said_mean, guessed_mean = _mean([said for said, _ in rows]), _mean([guessed for _, guessed in rows])
    shared = math.fsum((said - said_mean) * (guessed - guessed_mean) for said, guessed in rows) / (n - 1)
    return min(1.0, max(0.0, shared / ((1 + n / rest) * spread)))


def with_ties(found: Interval | Corrected, ties: int, rows: int) -> Interval:
    """`found`, of rows that differ, as a win rate over all `rows`, of which `ties` are half a win unasked.

    Rows are a sample, so how many of them are such ties varies too: that is added to the interval.
    """
    if not rows:
        return Interval(found.value, found.low, found.high, 0)
    differ = 1 - ties / rows
    value = 0.5 + differ * (found.value - 0.5)
    varied = Z**2 * (found.value - 0.5) ** 2 * differ * (1 - differ) / rows
    low = value - math.sqrt((differ * (found.value - found.low)) ** 2 + varied)
    high = value + math.sqrt((differ * (found.high - found.value)) ** 2 + varied)
    return Interval(value, max(0.0, low), min(1.0, high), rows)


def agreement(human: Sequence[str], judge: Sequence[str]) -> dict[str, Any]:
    """How often two name the same outcome (Wilson), and Cohen's kappa; null where nothing can be said.

    {share, low, high, kappa, kappa_low, kappa_high, n}; kappa's interval by its large-sample standard error
    (Fleiss, Cohen and Everitt 1969), null where fewer than CONTRADICTING pairs agree, or disagree, or have
    another than one side's commonest verdict: that error is then 0 or near it, and no measure of how sure
    kappa is.
    """
    n, same = len(human), sum(one == other for one, other in zip(human, judge, strict=True))
    share = wilson(same, n)
    kappa = cohens_kappa(human, judge)
    others = min((n - max(Counter(side).values(), default=0) for side in (human, judge)), default=0)
    bounds = kappa if kappa and min(same, n - same, others) >= CONTRADICTING else None
    return {
        "share": share.value if n else None,
        "low": share.low,
        "high": share.high,
        "kappa": kappa.value if kappa else None,
        "kappa_low": bounds.low if bounds else None,
        "kappa_high": bounds.high if bounds else None,
        "n": n,
    }


def cohens_kappa(human: Sequence[str], judge: Sequence[str]) -> Interval | None:
    """Agreement beyond chance with its large-sample 95% interval; None where both always name one thing."""
    n = len(human)
    seen = Counter(zip(human, judge, strict=True))
    rows, columns = Counter(human), Counter(judge)
    names = rows.keys() | columns.keys()
    by_chance = sum(rows[name] * columns[name] for name in names) / n**2 if n else 1.0
    if by_chance >= 1:
        return None
    observed = sum(seen[name, name] for name in names) / n
    kappa = (observed - by_chance) / (1 - by_chance)
    on = math.fsum(
        seen[name, name] / n * ((1 - by_chance) - (rows[name] + columns[name]) / n * (1 - observed)) ** 2
        for name in names
    )
    off = (1 - observed) ** 2 * math.fsum(
        count / n * ((columns[one] + rows[other]) / n) ** 2
        for (one, other), count in seen.items()
        if one != other
    )
    spread = on + off - (observed * by_chance - 2 * by_chance + observed) ** 2
    half = Z * math.sqrt(max(0.0, spread) / n) / (1 - by_chance) ** 2
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float], spent: int = 1) -> float:
    """The sample variance with so many degrees of freedom spent; 0 where none is left."""
    if len(values) <= spent:
        return 0.0
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - spent)
