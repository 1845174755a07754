"""Metrics of answers against gold, by task kind, one value a row so that systems can be compared in pairs.

Refuses to skip a row: an answer that could not be parsed (None) is 0 in every quality metric, and counted in
a rate of its own.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from distill.parse import find_json, parse_answer
from distill.results import Chance
from distill.score.overlap import chrf, rouge_l
from distill.score.text import normalised, tokens
from distill.score.verify import verified
from distill.types import Pair, Prediction, Task

Row = tuple[str | None, str]
"""(answer or None, gold)."""


def primary(task: Task) -> str:
    """The metric a verdict rests on."""
    if task.kind == "label":
        return "accuracy"
    if task.kind == "json" or task.verify == "exact":
        return "exact"
    return "same_number" if task.verify == "number" else "token_f1"


def row_values(task: Task, rows: Sequence[Prediction]) -> dict[str, list[float]]:
    """Metric name -> one value in [0, 1] a row, the primary metric first.

    label: accuracy, off_label_rate (lower is better). json: exact, parse_rate (some JSON object), schema_rate
    (the task's fields), field_accuracy (mean over the fields of gold). text and chat: token_f1, exact, chrf,
    rouge_l, empty_rate (lower is better), and same_number where the task is verified by number.
    """
    if task.kind == "label":
        values = {
            "accuracy": [float(row.answer == row.gold) for row in rows],
            "off_label_rate": [float(row.answer is None) for row in rows],
        }
    elif task.kind == "json":
        shares = [field_shares(row.answer, row.gold) for row in rows]
        values = {
            "exact": [exact for exact, _ in shares],
            "parse_rate": [float(isinstance(find_json(row.text), dict)) for row in rows],
            "schema_rate": [float(row.answer is not None) for row in rows],
            "field_accuracy": [fields for _, fields in shares],
        }
    else:
        values = text_values(task, rows)
    return {primary(task): values[primary(task)], **values}


def scores(task: Task, pairs: Sequence[Pair], texts: Sequence[str]) -> list[float]:
    """The primary metric of what a student said to each pair, one value a pair."""
    rows = [
        Prediction(
            row=pair.id,
            who="student",
            split="valid",
            text=text,
            answer=parse_answer(task, text),
            gold=pair.answer,
        )
        for pair, text in zip(pairs, texts, strict=True)
    ]
    return row_values(task, rows)[primary(task)]


def text_values(task: Task, rows: Sequence[Prediction]) -> dict[str, list[float]]:
    """As `row_values`, of free text."""
    values = {
        "token_f1": [token_f1(row.answer, row.gold) for row in rows],
        "exact": [
            float(row.answer is not None and normalised(row.answer) == normalised(row.gold)) for row in rows
        ],
        "chrf": [chrf(row.answer, row.gold) for row in rows],
        "rouge_l": [rouge_l(row.answer, row.gold) for row in rows],
        "empty_rate": [float(row.answer is None) for row in rows],
    }
    if task.verify == "number":
        values["same_number"] = [
            float(row.answer is not None and verified(task, row.answer, row.gold)) for row in rows
        ]
    return values


def field_values(rows: Sequence[Prediction], name: str) -> list[float]:
    """1 a row where that field of the answer is gold's; rows whose gold lacks the field are left out."""
    pairs = [(_object(row.answer), _object(row.gold)) for row in rows]
    return [
        float(got is not None and name in got and _same(got[name], wanted[name]))
        for got, wanted in pairs
        if wanted is not None and name in wanted
    ]


def chance(task: Task, rows: Sequence[Prediction]) -> Chance:
    """How well the commonest gold answer would do for every row. Raises ValueError where there are none."""
    if not rows:
        raise ValueError("chance of no rows")
    answer = Counter(row.gold for row in rows).most_common(1)[0][0]
    constant = [msgspec.structs.replace(row, text=answer, answer=answer) for row in rows]
    values = row_values(task, constant)[primary(task)]
    return Chance(answer=answer, value=sum(values) / len(values), split=rows[0].split)


def confusion(labels: Sequence[str], rows: Sequence[Prediction]) -> list[list[int]]:
    """Counts: a line for each gold label, a column for each answer, the last one for no label at all."""
    counts = Counter((row.gold, row.answer) for row in rows)
    return [[counts[gold, answer] for answer in (*labels, None)] for gold in labels]


def per_class(labels: Sequence[str], rows: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label (0 of nothing), and its rows in gold."""
    wanted, got = Counter(row.gold for row in rows), Counter(row.answer for row in rows)
    right = Counter(row.gold for row in rows if row.answer == row.gold)
    return [
        {
            "label": label,
            "n": wanted[label],
            "precision": right[label] / got[label] if got[label] else 0.0,
            "recall": right[label] / wanted[label] if wanted[label] else 0.0,
            "f1": 2 * right[label] / max(1, wanted[label] + got[label]),
        }
        for label in labels
    ]


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
