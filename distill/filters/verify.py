"""Drops answers that a verifier cannot read: no number where one is asked for, or nothing at all."""

from distill.filters.rule import Rule, excerpt
from distill.score.verify import unverifiable
from distill.types import Candidate, Task


def verify(task: Task) -> Rule:
    """Drop a candidate whose answer cannot be one under `task.verify`."""

    def why(candidate: Candidate) -> str:
        problem = unverifiable(task, candidate.answer)
        return f"{problem}: {excerpt(candidate.answer)!r}" if problem else ""

    return Rule("verify", why)
