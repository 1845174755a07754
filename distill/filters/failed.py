"""The user's own rules (--check) held against what systems answered, and counted.

Refuses to drop an answer: a rule that would drop it only counts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.filters.checks import checks
from distill.types import Candidate, Prediction


def failed_checks(
    check: Path, timeout_s: float, predictions: Mapping[str, Sequence[Prediction]]
) -> dict[str, dict[str, int]]:
    """System -> split -> answers that one of the user's own rules drops. Raises UsageError as they do."""
    rules = checks(check, timeout_s, "answer")
    failed = {who: dict.fromkeys((row.split for row in rows), 0) for who, rows in predictions.items()}
    try:
        for who, rows in predictions.items():
            for row in rows if rules else ():
                said = Candidate(index=0, input=row.input, answer=row.answer or row.text, origin=who)
                failed[who][row.split] += any(rule.why(said) for rule in rules)
    finally:
        for rule in rules:
            rule.close()
    return failed if rules else {}
