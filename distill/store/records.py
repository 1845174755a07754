"""Rows of users' files as JSON values: JSON lines or an array, CSV, TSV, Parquet, a `datasets` folder.

Refuses to guess: a broken line stops the reading with its place. One row is held at a time (a JSON array is
decoded row by row), and no line over `jsonl.MAX_LINE_BYTES`.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.types import Split

DELIMITERS = {".csv": ",", ".tsv": "\t"}
READABLE = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
BATCH_ROWS = 1000


class Row(NamedTuple):
    """One row: where it stands (file:line), its JSON value, the split its file or folder puts it in."""

    where: str
    value: Any
    split: Split | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file or of a `datasets` folder (saved to disk, or laid out as the Hub has it).

    Splits are told by the folder's names: train, valid(ation), val, dev, test. Raises UsageError where there
    is nothing to read, DataError with file:line where a row is broken.
    """
    if not path.is_dir():
        yield from (Row(where, value) for where, value in records(path))
    elif any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        yield from _saved(path)
    else:
        files = [file for file in sorted(path.rglob("*")) if _is_data(file, path)]
        if not files:
            raise UsageError(
                "no data in this folder",
                where=str(path),
                hint=f"files that can be read: {' '.join(READABLE)}",
            )
        for file in files:
            yield from (Row(where, value, split_of(file.stem)) for where, value in records(file))


def split_of(name: str) -> Split | None:
    """The split a file or folder is named after: "validation-00000-of-00001" is valid."""
    word = name.casefold().replace("_", "-").replace(".", "-").split("-")[0]
    return SPLIT_NAMES.get(word)


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """(file:line, JSON value) for each row of one file; an array or a table counts its rows from 1.

    Raises UsageError where the file cannot be read, DataError with its place where a row is broken.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        return _table(path, DELIMITERS[suffix])
    if suffix == ".parquet":
        return _parquet(path)
    return _array(path) if _starts_array(path) else _json_lines(path)


def decoded(line: bytes, path: Path, number: int) -> str:
    """The text of a line. Raises DataError where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 text: byte {line[error.start]:#04x} at place {error.start + 1}",
            where=f"{path}:{number}",
            hint=f"convert it: iconv -f latin1 -t utf-8 {path.name}",
        ) from None


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in jsonl.lines(path):
        try:
            yield f"{path}:{number}", msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"not a line of JSON: {error}",
                where=f"{path}:{number}",
                hint="one JSON object a line, UTF-8; or name the file .csv or .txt",
            ) from None


def _starts_array(path: Path) -> bool:
    """Whether the first thing in the file is a '['; a file that cannot be read is told of by who reads it."""
    try:
        with path.open("rb") as file:
            return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    except OSError:
        return False


def _array(path: Path) -> Iterator[tuple[str, Any]]:
    """The items of a JSON array, which the usual alpaca and sharegpt files are."""
    try:
        items = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=list[msgspec.Raw])
        for number, item in enumerate(items, 1):
            yield f"{path}, item {number}", msgspec.json.decode(item)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not a JSON array: {error}", where=str(path), hint="or one object a line") from None


def _table(path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    lines = (decoded(line, path, number) for number, line in jsonl.raw_lines(path))
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        for record in reader:
            where = f"{path}:{reader.line_num}"
            if None in record:
                raise DataError("more cells than the header has columns", where=where, hint="quote the text")
            yield where, {name.strip(): cell for name, cell in record.items()}
    except csv.Error as error:
        raise DataError(
            f"not {path.suffix[1:].upper()}: {error}", where=f"{path}:{reader.reader.line_num}"
        ) from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    from datasets import Features
    from pyarrow import parquet

    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = class_names(Features.from_arrow_schema(file.schema_arrow))
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", with_names(record, names)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"not Parquet: {error}", where=f"{path}:{number + 1}") from None


def _saved(path: Path) -> Iterator[Row]:
    """What `save_to_disk` wrote: memory-mapped, so that flat memory comes by itself."""
    from datasets import DatasetDict, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"not a datasets folder: {error}", where=str(path)) from None
    parts = loaded.items() if isinstance(loaded, DatasetDict) else [("", loaded)]
    for name, dataset in parts:
        names = class_names(dataset.features)
        for number, record in enumerate(dataset, 1):
            where = f"{path / name if name else path}:{number}"
            yield Row(where, with_names(record, names), split_of(name))


def class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names behind the numbers of each column that holds classes."""
    return {name: list(kind.names) for name, kind in features.items() if getattr(kind, "names", None)}


def with_names(record: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """`record` with class numbers as their names; -1 is `datasets`' word for none."""
    for column, known in names.items():
        number = record.get(column)
        if isinstance(number, int):
            record[column] = known[number] if 0 <= number < len(known) else None
    return record


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and not hidden and file.suffix.lower() in READABLE and not _is_note(file)


def _is_note(file: Path) -> bool:
    """What the Hub keeps beside data: not rows."""
    return file.name in ("dataset_infos.json", "dataset_info.json")
