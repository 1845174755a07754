"""Drops what the token limit cut: half a sentence teaches a student to stop in the middle."""

from distill.filters.rule import Rule
from distill.types import Candidate


def truncated() -> Rule:
    """Drop a candidate whose text ended because the token limit did."""
    return Rule("truncated", _why)


def _why(candidate: Candidate) -> str:
    return "cut by the token limit" if candidate.finish_reason == "length" else ""
