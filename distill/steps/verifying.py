"""`distill compare --verify`: every number of report.json once more, from answers.jsonl. Nobody is asked.

Refuses to trust the stored parse of an answer: each is parsed anew from its text.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from distill.config import CompareConfig
from distill.errors import DataError, UsageError
from distill.parse import parse_answer
from distill.report.build import build
from distill.results import Measured
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import Prediction

SHOWN = 5
CLOSE = 1e-9


def verify(run: Run) -> dict[str, Any]:
    """The stored report, once all of it that `build` makes follows from the answers.

    Raises UsageError where there is no report, or one too old to be checked, DataError where one of its
    values is another than the answers give.
    """
    stored, path = run.summary("compare"), run.summary_path("compare")
    if stored is None:
        raise UsageError("there is no report to verify", where=str(path), hint="run: distill compare")
    if "measured" not in stored:
        raise UsageError(
            "this report is too old to be verified", where=str(path), hint="run: distill compare"
        )
    again = rebuilt(run, stored)
    if wrong := list(differences({name: stored.get(name) for name in again}, again, "")):
        shown = "; ".join(wrong[:SHOWN])
        raise DataError(
            f"{len(wrong)} values of the report do not follow from the answers: {shown}",
            where=str(path),
            hint="one of report.json, answers.jsonl and task.toml was changed: run distill compare again",
        )
    return stored


def rebuilt(run: Run, stored: dict[str, Any]) -> dict[str, Any]:
    """The report that these answers give, as JSON has it."""
    task = read_task(run.task)
    predictions: dict[str, list[Prediction]] = {}
    for _, row in jsonl.read(run.answers, Prediction):
        anew = msgspec.structs.replace(row, answer=parse_answer(task, row.text))
        predictions.setdefault(row.who, []).append(anew)
    knobs = {field.name for field in dataclasses.fields(CompareConfig)} & stored["made_from"].keys()
    config = CompareConfig(**{name: stored["made_from"][name] for name in knobs})
    measured = msgspec.convert(stored["measured"], Measured)
    report = build(task, config, predictions, measured)
    return msgspec.json.decode(msgspec.json.encode(report), type=dict[str, Any])


def differences(stored: Any, again: Any, where: str) -> Iterator[str]:
    """ "scores[0].value: 0.9, not 0.8" for each value that is not the same, numbers to nine digits."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in {**stored, **again}:
            yield from differences(stored.get(name), again.get(name), f"{where}.{name}".lstrip("."))
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for place, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif not _equal(stored, again):
        yield f"{where} is {stored!r:.60}, not {again!r:.60}"


def _equal(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers) and bool not in (type(one), type(other)):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(one == other)


def numbers_in(value: Any) -> int:
    """How many numbers stand in a JSON value."""
    if isinstance(value, dict):
        return sum(map(numbers_in, value.values()))
    if isinstance(value, list):
        return sum(map(numbers_in, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)
