"""Drops what ended before its end: half a sentence teaches a student to stop in the middle.

Refuses to guess: a reason it does not know ("eos", "end_turn", none at all) ended by itself.
"""

from distill.filters.rule import Rule
from distill.types import Candidate


def truncated() -> Rule:
    """Drop a candidate whose text the token limit, the provider's content filter or a tool call ended."""
    return Rule("truncated", _why)


def _why(candidate: Candidate) -> str:
    match candidate.finish_reason:
        case "length":
            return "cut by the token limit"
        case "context_length":
            return "does not fit the teacher's context window"
        case "content_filter":
            return "withheld by the provider's content filter"
        case "tool_calls" | "function_call":
            return "a call of a tool instead of an answer"
    return ""
