"""Metrics of answers against gold, by task kind, one value a row so that systems can be compared in pairs.

Refuses to skip a row: an answer that could not be parsed (None) is 0 in every quality metric, and counted in
a rate of its own.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from distill.score.text import normalised, tokens
from distill.types import Kind

Row = tuple[str | None, str]
"""(answer or None, gold)."""

PRIMARY: dict[Kind, str] = {"label": "accuracy", "json": "exact", "text": "token_f1"}
"""The metric a verdict rests on."""


def row_values(kind: Kind, rows: Sequence[Row]) -> dict[str, list[float]]:
    """Metric name -> one value in [0, 1] a row, the primary metric first.

    label: accuracy, off_label_rate (lower is better). json: exact, parse_rate, field_accuracy (mean over the
    fields of gold). text: token_f1, exact, empty_rate (lower is better).
    """
    if kind == "label":
        return {
            "accuracy": [float(answer == gold) for answer, gold in rows],
            "off_label_rate": [float(answer is None) for answer, _ in rows],
        }
    if kind == "json":
        shares = [field_shares(answer, gold) for answer, gold in rows]
        return {
            "exact": [exact for exact, _ in shares],
            "parse_rate": [float(answer is not None) for answer, _ in rows],
            "field_accuracy": [fields for _, fields in shares],
        }
    return {
        "token_f1": [token_f1(answer, gold) for answer, gold in rows],
        "exact": [
            float(answer is not None and normalised(answer) == normalised(gold)) for answer, gold in rows
        ],
        "empty_rate": [float(answer is None) for answer, _ in rows],
    }


def token_f1(answer: str | None, gold: str) -> float:
    """Harmonic mean of token precision and recall (SQuAD, Rajpurkar 2016); characters in unspaced scripts."""
    if answer is None:
        return 0.0
    got, wanted = tokens(answer), tokens(gold)
    if not got or not wanted:
        return float(normalised(answer) == normalised(gold))
    shared = sum((Counter(got) & Counter(wanted)).values())
    return 2 * shared / (len(got) + len(wanted))


def field_shares(answer: str | None, gold: str) -> tuple[float, float]:
    """(1 if the two JSON objects are the same, share of gold's fields that are right), normalised."""
    wanted, got = _object(gold), _object(answer)
    if wanted is None:
        same = float(answer is not None and normalised(answer) == normalised(gold))
        return same, same
    if got is None:
        return 0.0, 0.0
    right = sum(name in got and _same(got[name], value) for name, value in wanted.items())
    share = right / len(wanted) if wanted else 1.0
    return float(share == 1.0 and len(got) == len(wanted)), share


def macro_f1(rows: Sequence[Row]) -> float:
    """Mean F1 over the labels that occur in gold; an answer outside them is a miss of its gold label.

    Raises ValueError where there are no rows.
    """
    if not rows:
        raise ValueError("macro F1 of no rows")
    wanted = Counter(gold for _, gold in rows)
    got = Counter(answer for answer, _ in rows)
    right = Counter(gold for answer, gold in rows if answer == gold)
    return sum(2 * right[label] / (wanted[label] + got[label]) for label in wanted) / len(wanted)


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text) if text is not None else None
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return normalised(left) == normalised(right)
    # True == 1 in Python; in an answer they are different things.
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right)
