"""What to do about a verdict: ship or not, and the next command. Pure.

Refuses to say "ship it" of a student whose rows the teacher answered, or by a teacher that guesses.
"""

from collections.abc import Mapping
from typing import Any

from distill.report import words

Record = Mapping[str, Any]


def ship(given: Record, split: str) -> tuple[str, str]:
    """(Ship it or not, what to do) for one who reads nothing but this of a verdict on that split."""
    if given["answer"] == "yes" and guesses(given):
        if given.get("student_beats_chance", False):
            return "Ship it if its own score is enough.", "This teacher is no yardstick: try a better prompt."
        return "Do not ship it.", "First give the teacher a better prompt, or take a better teacher."
    if given["answer"] == "yes" and split == "test":
        return "Check before you ship it.", "Label some rows yourself and compare on them."
    if given["answer"] == "yes":
        return "Ship it.", ""
    if given["answer"] == "no":
        return "Do not ship it.", "Make more or better examples where it is weak, then train again."
    if rows := given.get("more_rows"):
        return "Do not ship it yet.", f"Label about {words.count(rows)} more rows, then compare again."
    return "Do not ship it yet.", "More rows alone will hardly settle it: make the student better."


def guesses(given: Record) -> bool:
    """Whether the teacher is not shown to beat one constant answer."""
    return given.get("teacher_beats_chance", True) is False


def following(report: Record, adapter: str) -> str:
    """What to type after that report; `adapter` is where the student lies."""
    given, split = report["verdict"], report["split"]
    if split == "test":
        return "distill compare --gold FILE (JSONL or CSV: rows whose right answers you know)"
    if given["answer"] == "yes" and guesses(given):
        return "distill explore --task FILE --gold FILE (a better prompt for the teacher), then all again"
    if given["answer"] == "yes":
        return f"put the student to work: {adapter}"
    if given["answer"] == "unclear" and given.get("more_rows"):
        return f"distill compare --gold FILE with about {words.count(given['more_rows'])} rows more"
    return "distill failures, then distill generate --from-failures"
