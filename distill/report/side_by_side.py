"""The rows of the page's answer browser: every system's answer to one input, and who did better. Pure.

Refuses to hand on more of a text than a page can carry, and says what it left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill.report.plain import visible
from distill.score.metrics import field_shares, token_f1
from distill.score.text import normalised
from distill.score.verify import verified
from distill.types import Task

LONGEST = 4_000
"""Characters of a text that the page shows."""
MOST_ROWS = 10_000
ORDER = {"lost": 0, "won": 1, "tie": 2}
ALIKE = 0.005
"""Scores nearer than this look the same on the page and are a tie."""


def side_by_side(
    answers: Iterable[Mapping[str, Any]],
    systems: Sequence[str],
    metric: str,
    judged: Mapping[str, Mapping[str, Any]],
    *,
    most: int = MOST_ROWS,
    longest: int = LONGEST,
) -> dict[str, Any]:
    """What script.js draws: `systems`, `metric`, `total` and `rows`, the student's losses first.

    A row: {split, input, gold, outcome "lost|won|tie", format (the student's answer could not be read),
    flipped (the judge changed its mind with the order), said: [{text, answer (as it was read, where that is
    another text, else null), score, cut} | null, one a system]}.
    `judged` is {row id: {"outcome": …, "flipped": …}}; where it says nothing, `metric` decides.
    """
    grouped: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for record in answers:
        if record["who"] in systems:
            grouped.setdefault((record["split"], record["row"]), {})[record["who"]] = record
    rows = [
        _row(split, said, systems, metric, judged.get(row, {}), longest)
        for (split, row), said in grouped.items()
        if "student" in said
    ]
    rows.sort(key=lambda row: ORDER[row["outcome"]])
    return {"systems": list(systems), "metric": metric, "total": len(rows), "rows": rows[:most]}


def _row(
    split: str,
    said: Mapping[str, Mapping[str, Any]],
    systems: Sequence[str],
    metric: str,
    judged: Mapping[str, Any],
    longest: int,
) -> dict[str, Any]:
    student = said["student"]
    scores = {who: row_score(metric, record["answer"], record["gold"]) for who, record in said.items()}
    gap = scores["student"] - scores.get("teacher", scores["student"])
    outcome = "lost" if gap <= -ALIKE else "won" if gap >= ALIKE else "tie"
    return {
        "split": split,
        "input": shortened(student.get("input", ""), longest),
        "gold": shortened(student["gold"], longest),
        "outcome": judged.get("outcome", outcome),
        "format": student["answer"] is None,
        "flipped": bool(judged.get("flipped")),
        "said": [
            {
                "text": shortened(said[who]["text"], longest),
                "answer": read_as(said[who], longest),
                "score": None if said[who]["answer"] is None else round(scores[who], 3),
                "cut": said[who].get("finish_reason") == "length",
            }
            if who in said
            else None
            for who in systems
        ],
    }


def row_score(metric: str, answer: str | None, gold: str) -> float:
    """The primary metric of one answer, 0 to 1."""
    if answer is None:
        return 0.0
    if metric == "accuracy":
        return float(answer == gold)
    if metric == "exact":
        return field_shares(answer, gold)[0] if gold.lstrip().startswith("{") else _equal(answer, gold)
    if metric == "same_number":
        return float(verified(Task(name="", kind="text", instruction="", verify="number"), answer, gold))
    return token_f1(answer, gold)


def _equal(answer: str, gold: str) -> float:
    return float(normalised(answer) == normalised(gold))


def read_as(record: Mapping[str, Any], longest: int) -> str | None:
    """The answer that was read in a text, where the two are not the same."""
    answer = record["answer"]
    if answer is None or normalised(answer) == normalised(record["text"]):
        return None
    return shortened(answer, longest)


def shortened(text: str, longest: int = LONGEST) -> str:
    """`text` with what cannot be shown spelt out, and what is too long told."""
    more = len(text) - longest
    return visible(text[:longest], keep_lines=True) + (f" […{more:,} more characters]" if more > 0 else "")
