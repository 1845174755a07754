"""Drops inputs that are too short or too long, in characters, so that it means the same in every script."""

from distill.filters.rule import Rule
from distill.types import Candidate


def length(min_chars: int, max_chars: int) -> Rule:
    """Drop an input of fewer than `min_chars` or more than `max_chars` characters, outer spaces aside."""

    def why(candidate: Candidate) -> str:
        chars = len(candidate.input.strip())
        if chars < min_chars:
            return f"{chars} characters, {min_chars} at least"
        return f"{chars} characters, {max_chars} at most" if chars > max_chars else ""

    return Rule("length", why)
