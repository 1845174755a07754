"""The knobs of what follows a comparison: reviewing answers, looking at failures. Reads nothing."""

from dataclasses import dataclass
from typing import Literal

from distill.config.knobs import knob


@dataclass(frozen=True)
class ReviewConfig:
    """Say of blind pairs of answers which one is better."""

    n: int = knob(20, "Pairs to decide, in all.", at_least=1)
    against: Literal["teacher", "base"] = knob("teacher", "Whose answers stand beside the student's.")
    seed: int = knob(0, "Which rows, in what order, and who is A.", at_least=0)


@dataclass(frozen=True)
class FailuresConfig:
    """Cluster and name what the student gets wrong."""

    on: Literal["valid", "train"] = knob(
        "valid", "Rows whose misses may be refilled; train: the student answers its training rows too."
    )
    name: bool = knob(False, "Have the teacher name the clusters; else their most telling words do.")
    answer_batch: int = knob(32, "Rows the student answers at once.", at_least=1)
