"""The knobs of looking for pairs whose answer is likely wrong. Reads nothing."""

from dataclasses import dataclass
from typing import Literal

from distill.config.knobs import knob


@dataclass(frozen=True)
class SuspectsConfig:
    """Find training pairs whose answer is likely wrong, and have the teacher vote on them."""

    n: int | None = knob(None, "Rows to list at most; default all that are suspect.", at_least=1)
    share: float | None = knob(None, "Share of the training rows to list at most.", at_least=0.001, at_most=1)
    student: str = knob(
        "auto", "Who looks: Hub id, folder or 'local'; auto: both installed models (head), else the run's."
    )
    kind: Literal["auto", "head", "classifier", "causal"] = knob(
        "auto",
        "A linear head on a frozen model, or students trained on the other folds; auto: head for labels,"
        " else causal.",
    )
    folds: int = knob(
        5, "Parts the rows are cut into; each is looked at by what the others trained.", at_least=2
    )
    reask: bool = knob(
        False,
        "Ask the teacher again about each row listed: several prompts vote to keep, relabel or drop it.",
    )
    votes: int = knob(5, "Answers that vote on a row that is asked about again.", at_least=1, at_most=25)
    min_votes: float = knob(
        0.6,
        "Share of the votes that an answer needs; a row where none has it is dropped.",
        at_least=0,
        at_most=1,
    )
    apply: bool = knob(
        False, "Hold the pairs to the outcome; without --reask the rows listed are dropped. Test rows stay."
    )
    seed: int = knob(0, "Seed of the folds.", at_least=0)
