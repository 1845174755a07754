"""What users bring: inputs and gold rows in files of many kinds, with an error that names the line.

Refuses to guess: an empty file, a missing key, a label the task does not have or a line that is not UTF-8
stops the command before any money is spent, and no line over `jsonl.MAX_LINE_BYTES` is held in memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from distill.errors import DataError, UsageError
from distill.parse import parse_answer
from distill.store import jsonl
from distill.store.records import decoded, records
from distill.types import Example, Task

INPUT_KEYS = ("input", "text", "question", "prompt")
OUTPUT_KEYS = ("output", "label", "answer", "completion")
T = TypeVar("T")


def read_inputs(path: Path) -> list[str]:
    """The inputs in `path`, stripped, in its order, exact duplicates dropped.

    `.txt`: one a line. `.csv`, `.tsv`, `.parquet`: the column named as in INPUT_KEYS. Else JSON lines or a
    JSON array: strings, or objects with one of INPUT_KEYS. Raises UsageError where the file is absent,
    DataError with file:line where it is wrong.
    """
    if path.suffix.lower() == ".txt":
        texts = [decoded(line, path, number) for number, line in jsonl.lines(path)]
    else:
        texts = [
            _input(record, where) if isinstance(record, Mapping) else _text(record, "input", where)
            for where, record in records(path)
        ]
    return list(dict.fromkeys(_filled(texts, path)))


def read_gold(path: Path, task: Task | None) -> list[Example]:
    """The labelled rows in `path`, in its order, duplicates kept; outputs in the task's canonical form.

    An output may be a string, a number or a JSON object. Raises as `read_inputs`, and DataError where an
    output is no answer of `task` (None: not checked).
    """
    if path.suffix.lower() == ".txt":
        raise UsageError(
            "a text file has no answers", where=str(path), hint="JSONL or CSV with 'input' and 'output'"
        )
    rows = []
    for where, record in records(path):
        if not isinstance(record, Mapping):
            raise DataError("not an object with an input and an output", where=where)
        given = _input(record, where)
        output = _canonical(_found(record, OUTPUT_KEYS, "output", where), task, where)
        rows.append(Example(given, output))
    return _filled(rows, path)


def _input(record: Mapping[str, Any], where: str) -> str:
    return _text(_found(record, INPUT_KEYS, "input", where), "input", where)


def _found(record: Mapping[str, Any], names: tuple[str, ...], what: str, where: str) -> Any:
    for name in names:
        if record.get(name) is not None:
            return record[name]
    raise DataError(
        f"no {what}: the keys here are {', '.join(repr(name) for name in record) or 'none'}",
        where=where,
        hint=f"call it one of: {', '.join(names)}",
    )


def _text(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        problem = (
            f"the {what} is empty" if isinstance(value, str) else f"the {what} is not text: {value!r:.80}"
        )
        raise DataError(problem, where=where)
    return value.strip()


def _canonical(value: Any, task: Task | None, where: str) -> str:
    text = (
        value.strip()
        if isinstance(value, str)
        else msgspec.json.encode(value, order="deterministic").decode()
    )
    if not text:
        raise DataError("the output is empty", where=where)
    if task is None or task.kind == "text":
        return text
    if task.kind == "label":
        # Exact or by case only: parse_answer reads labels out of prose, and gold that is prose is a mistake.
        for name in task.label_names:
            if text.casefold() == name.casefold():
                return name
        known = ", ".join(task.label_names)
        raise DataError(
            f"{text!r:.80} is no label of task '{task.name}'", where=where, hint=f"labels: {known}"
        )
    answer = parse_answer(task, text)
    if answer is None:
        fields = ", ".join(f"{field.name} ({field.type})" for field in task.fields)
        raise DataError(
            f"{text!r:.80} does not fit task '{task.name}'", where=where, hint=f"fields: {fields}"
        )
    return answer


def _filled(rows: list[T], path: Path) -> list[T]:
    if not rows:
        raise DataError("no rows: the file is empty", where=str(path))
    return rows
