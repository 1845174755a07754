"""Drops candidates whose answer is none: outside the labels, without the fields, or empty."""

from distill.filters.rule import Rule, excerpt
from distill.parse import parse_answer
from distill.types import Candidate, Task


def label_set(task: Task) -> Rule:
    """Drop a candidate whose answer cannot be read as an answer of `task`."""
    labels = frozenset(task.label_names)

    def why(candidate: Candidate) -> str:
        # A label that is spelt right needs no parsing, and is what nearly all of them are.
        if candidate.answer in labels or parse_answer(task, candidate.answer) is not None:
            return ""
        return f"not an answer of this task: {excerpt(candidate.answer)!r}"

    return Rule("label_set", why)
