"""Drops candidates that a judge objected to, by the task's rubric.

Refuses to ask a judge: its objection is already in the candidate, and an answer is dropped, never rewritten.
"""

from distill.filters.rule import Rule, excerpt
from distill.types import Candidate


def judge() -> Rule:
    """Drop a candidate that carries a judge's objection; no objection, or no verdict, keeps it."""
    return Rule("judge", _why)


def _why(candidate: Candidate) -> str:
    return excerpt(candidate.judge, 200)
