"""What users bring: inputs and gold rows as JSONL, CSV, TSV or text, with an error that names the line.

Refuses to guess: an empty file, a missing key, a label the task does not have or a line that is not UTF-8
stops the command before any money is spent, and no line over `jsonl.MAX_LINE_BYTES` is held in memory.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from distill.errors import DataError, UsageError
from distill.parse import parse_answer
from distill.store import jsonl
from distill.types import Example, Task

INPUT_KEYS = ("input", "text", "question", "prompt")
OUTPUT_KEYS = ("output", "label", "answer", "completion")
T = TypeVar("T")
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_inputs(path: Path) -> list[str]:
    """The inputs in `path`, stripped, in its order, exact duplicates dropped.

    `.txt`: one a line. `.csv`, `.tsv`: the column named as in INPUT_KEYS. Else JSON lines: strings, or
    objects with one of INPUT_KEYS. Raises UsageError where the file is absent, DataError with file:line
    where it is wrong.
    """
    if path.suffix.lower() == ".txt":
        texts = [_decoded(line, path, number) for number, line in jsonl.lines(path)]
    else:
        texts = [
            _input(record, path, number)
            if isinstance(record, Mapping)
            else _text(record, "input", path, number)
            for number, record in _records(path)
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
    for number, record in _records(path):
        if not isinstance(record, Mapping):
            raise DataError("not an object with an input and an output", where=f"{path}:{number}")
        given = _input(record, path, number)
        output = _canonical(_found(record, OUTPUT_KEYS, "output", path, number), task, f"{path}:{number}")
        rows.append(Example(given, output))
    return _filled(rows, path)


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter:
        return _table(path, delimiter)
    return _json_records(path)


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in jsonl.lines(path):
        if number == 1 and line.startswith(b"["):
            raise DataError(
                "a JSON array, not JSON lines",
                where=f"{path}:1",
                hint=f"one object a line: jq -c '.[]' {path.name} > {path.stem}.jsonl",
            )
        try:
            yield number, msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"not a line of JSON: {error}",
                where=f"{path}:{number}",
                hint="one JSON object a line, UTF-8; or name the file .csv or .txt",
            ) from None


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(_whole_lines(path), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            where = f"{path}:{reader.line_num}"
            if None in record:
                raise DataError("more cells than the header has columns", where=where, hint="quote the text")
            yield reader.line_num, {name.strip(): cell for name, cell in record.items()}
    except csv.Error as error:
        raise DataError(
            f"not {path.suffix[1:].upper()}: {error}", where=f"{path}:{reader.reader.line_num}"
        ) from None


def _whole_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, which a quoted cell may run over."""
    return (_decoded(line, path, number) for number, line in jsonl.raw_lines(path))


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 text: byte {line[error.start]:#04x} at place {error.start + 1}",
            where=f"{path}:{number}",
            hint=f"convert it: iconv -f latin1 -t utf-8 {path.name}",
        ) from None


def _input(record: Mapping[str, Any], path: Path, number: int) -> str:
    return _text(_found(record, INPUT_KEYS, "input", path, number), "input", path, number)


def _found(record: Mapping[str, Any], names: tuple[str, ...], what: str, path: Path, number: int) -> Any:
    for name in names:
        if record.get(name) is not None:
            return record[name]
    raise DataError(
        f"no {what}: the keys here are {', '.join(repr(name) for name in record) or 'none'}",
        where=f"{path}:{number}",
        hint=f"call it one of: {', '.join(names)}",
    )


def _text(value: Any, what: str, path: Path, number: int) -> str:
    if not isinstance(value, str) or not value.strip():
        problem = (
            f"the {what} is empty" if isinstance(value, str) else f"the {what} is not text: {value!r:.80}"
        )
        raise DataError(problem, where=f"{path}:{number}")
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
