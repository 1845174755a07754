"""Round by round: what each refilling of the training rows did to the student, on held-out rows.

Refuses to compare what was not measured alike: rounds of another task are dropped, and those of other rows
than the newest are counted and not told.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.score.metrics import primary, row_values
from distill.score.paired import paired_difference
from distill.score.stats import FEW, mean_interval
from distill.store import jsonl
from distill.store.refills import of_task, read_refills
from distill.store.run import Run
from distill.types import Prediction, Task


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round's student on held-out rows; `values` are its primary metric by row, `task` a digest."""

    round: int
    task: str
    n_train: int
    split: str = ""
    metric: str = ""
    value: float = 0.0
    low: float = 0.0
    high: float = 1.0
    n: int = 0
    teacher: float = 0.0
    values: dict[str, float] = {}


def keep_round(
    run: Run, task: Task, split: str, predictions: Mapping[str, Sequence[Prediction]], seed: int
) -> dict[str, Any]:
    """Write this comparison into rounds.jsonl; the section "rounds" of report.json, from two rounds on."""
    blank = Round(
        round=len(read_refills(run, task)),
        task=of_task(task),
        n_train=sum(1 for _ in jsonl.lines(run.splits["train"])) if run.splits["train"].exists() else 0,
    )
    now = of_now(blank, task, split, predictions, seed)
    before = [each for _, each in jsonl.read(run.rounds, Round)] if run.rounds.exists() else []
    kept = [each for each in before if each.task == now.task and each.round < now.round]
    jsonl.replace(run.rounds, [*kept, now])
    return {"rounds": told([*kept, now], seed)} if kept else {}


def of_now(
    known: Round, task: Task, split: str, predictions: Mapping[str, Sequence[Prediction]], seed: int
) -> Round:
    """`known` (which round it is, of how many rows) with what these answers to `split` say of it."""
    student, teacher = (
        [row for row in predictions[who] if row.split == split] for who in ("student", "teacher")
    )
    metric = primary(task)
    mine, theirs = row_values(task, student)[metric], row_values(task, teacher)[metric]
    return Round(
        round=known.round,
        task=known.task,
        n_train=known.n_train,
        split=split,
        metric=metric,
        **mean_interval(mine, seed)._asdict(),
        teacher=sum(theirs) / len(theirs),
        values={row.row: value for row, value in zip(student, mine, strict=True)},
    )


def told(rounds: Sequence[Round], seed: int) -> list[dict[str, Any]]:
    """The rounds as the report has them, those of the newest one's rows alone: value and interval, from what
    each row got, and the difference to the one before. The newest says how many are left out.
    """
    shown = [each for each in rounds if alike(each, rounds[-1])]
    found = []
    for place, each in enumerate(shown):
        record = {name: value for name, value in msgspec.to_builtins(each).items() if name != "values"}
        del record["task"]
        record |= mean_interval(list(each.values.values()), seed)._asdict()
        against = difference(shown[place - 1], each, seed) if place else None
        found.append({**record, "against_previous": against})
    found[-1]["left_out"] = len(rounds) - len(shown)
    return found


def alike(one: Round, other: Round) -> bool:
    """Whether two rounds were measured on the same rows by the same metric."""
    same = (one.split, one.metric) == (other.split, other.metric)
    return same and one.values.keys() == other.values.keys()


def difference(before: Round, after: Round, seed: int) -> dict[str, Any] | None:
    """After minus before, of the same rows, with its 95% interval; None where those are too few to say."""
    if len(after.values) < FEW:
        return None
    found = paired_difference(list(after.values.values()), [before.values[row] for row in after.values], seed)
    return {"diff": found.value, "low": found.low, "high": found.high, "n": found.n}
