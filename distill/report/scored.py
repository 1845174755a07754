"""Answers with their metrics, split by split and system by system: what every part of a report is made from.

Refuses to put rows of two splits together.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distill.results import ASIDE
from distill.score.metrics import row_values
from distill.types import Prediction, Task

Predictions = Mapping[str, Sequence[Prediction]]


class Scored(NamedTuple):
    """One system's answers to one split, and every metric of them, a value a row."""

    rows: Sequence[Prediction]
    values: Mapping[str, Sequence[float]]

    @property
    def main(self) -> Sequence[float]:
        """The primary metric, a value a row."""
        return next(iter(self.values.values()))

    @property
    def clusters(self) -> list[str]:
        """What rows belong together, by row; each its own where nothing was said."""
        return [row.cluster or row.row for row in self.rows]


Split = Mapping[str, Scored]
"""The systems' answers to one split."""


def split_up(task: Task, predictions: Predictions) -> dict[str, dict[str, Scored]]:
    """Split -> system -> its answers with their metrics, in the order of the rows."""
    found: dict[str, dict[str, Scored]] = {}
    for split in dict.fromkeys(row.split for row in predictions["teacher"]):
        found[split] = {}
        for who, rows in predictions.items():
            if who not in ASIDE:
                mine = [row for row in rows if row.split == split]
                found[split][who] = Scored(mine, row_values(task, mine))
    return found
