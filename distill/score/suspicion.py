"""Which answers are likely wrong, from what held-out models make of them. Pure: numbers in, places out.

Refuses to call a label wrong for being unlikely alone: another has to be as likely as its own rows find it.
"""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

FAR = 3.0
"""Robust standard deviations above the median from which an answer's loss is suspect."""
MAD_TO_SD = (
    1.4826  # the median absolute deviation of a normal distribution, turned into its standard deviation
)


class Flag(NamedTuple):
    """A row, the label a held-out model prefers (None: none is known), and how sure it is of either.

    `given` is the probability of the answer it has: with losses, e to minus the mean loss of a token.
    `strength` is what rows are ranked by, the most suspect first.
    """

    place: int
    given: float
    strength: float
    suggested: int | None = None
    preferred: float = 0.0


def confident(probabilities: Sequence[Sequence[float]], given: Sequence[int]) -> list[Flag]:
    """Rows whose label is likely wrong, the likeliest first (confident learning, Northcutt et al. 2021).

    `probabilities` (N, K) are out of fold. A class's threshold is the mean probability of it over the rows
    that have it; a row is a suspect where its own label is below its threshold while another is at its own
    or above. Ranked by the own label's probability, the paper's self-confidence.
    """
    sums, counts = [0.0] * len(probabilities[0]), [0] * len(probabilities[0])
    for row, label in zip(probabilities, given, strict=True):
        sums[label] += row[label]
        counts[label] += 1
    bars = [total / count if count else math.inf for total, count in zip(sums, counts, strict=True)]
    flags = []
    for place, (row, label) in enumerate(zip(probabilities, given, strict=True)):
        others = [name for name in range(len(row)) if name != label and row[name] >= bars[name]]
        if others and row[label] < bars[label]:
            best = max(others, key=row.__getitem__)
            flags.append(Flag(place, row[label], -math.log(max(row[label], 1e-12)), best, row[best]))
    return sorted(flags, key=lambda flag: -flag.strength)


def far_out(losses: Sequence[float], far: float = FAR) -> list[Flag]:
    """Rows whose loss (nats a token, out of fold) is `far` above the median, the farthest first.

    In robust standard deviations: the median absolute deviation, which outliers do not move. No row where all
    losses are equal.
    """
    middle = statistics.median(losses)
    spread = MAD_TO_SD * statistics.median(abs(loss - middle) for loss in losses)
    if not spread:
        return []
    scores = [(loss - middle) / spread for loss in losses]
    flags = [
        Flag(place, math.exp(-loss), score)
        for place, (loss, score) in enumerate(zip(losses, scores, strict=True))
        if score >= far
    ]
    return sorted(flags, key=lambda flag: -flag.strength)
