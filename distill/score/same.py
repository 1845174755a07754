"""When two answers to one input say the same: what votes, prompts and lift are counted by. Pure."""

from distill.score.metrics import token_f1
from distill.score.verify import verified
from distill.types import Task

SAME_TEXT = 0.5
"""Token F1 from which two free answers count as the same."""


def same(task: Task, one: str, other: str | None) -> bool:
    """Whether two answers to one input say the same.

    By the task's verifier where it names one, alike (token F1) for free text, else equal.
    """
    if other is None:
        return False
    if task.verify:
        return verified(task, one, other)
    if task.kind in ("text", "chat"):
        return token_f1(other, one) >= SAME_TEXT
    return one == other
