"""Pairs as a `datasets` folder, laid out as the Hub has it, so that `load_dataset(folder)` reads it as it is.

Refuses to write over a folder that something else made.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from distill.errors import UsageError
from distill.store import jsonl
from distill.types import Pair, Split

Format = Literal["datasets", "jsonl"]
CARD = "README.md"
MADE_BY = "<!-- made by distill export-data -->"
HUB_NAMES: dict[Split, str] = {"train": "train", "valid": "validation", "test": "test"}


def file_name(split: Split, form: Format) -> str:
    """Where the rows of a split lie in the folder."""
    name = HUB_NAMES[split]
    return f"data/{name}-00000-of-00001.parquet" if form == "datasets" else f"data/{name}.jsonl"


def check_ours(folder: Path) -> None:
    """Raises UsageError where `folder` holds what no export of ours wrote."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("a file, not a folder", where=str(folder), hint="name another folder with --out")
    if folder.is_dir() and any(folder.iterdir()):
        card = folder / CARD
        if not card.is_file() or MADE_BY not in card.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(
                "the folder holds other things, which an export would replace",
                where=str(folder),
                hint="name a new or empty folder with --out",
            )


def write_dataset(
    folder: Path, splits: Mapping[Split, Sequence[Pair]], labels: Sequence[str], card: str, form: Format
) -> None:
    """Write the rows of each split and the card into `folder`, whole or not at all.

    A row: `id`, `messages` (role and content; the last is the assistant's answer), `answer`, `label` (a
    class, where `labels` are given), `origin`, and `attributes` and `rationale` where any pair has them.
    Raises StorageError where it cannot be written.
    """
    beside = folder.with_name(f".{folder.name}.part")
    has_rationale = any(pair.rationale for pairs in splits.values() for pair in pairs)
    names = sorted({name for pairs in splits.values() for pair in pairs for name in pair.attributes})
    try:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "data").mkdir(parents=True)
        for split, pairs in splits.items():
            rows = (_row(pair, labels, names, has_rationale=has_rationale) for pair in pairs)
            path = beside / file_name(split, form)
            if form == "jsonl":
                jsonl.replace(path, rows)
            else:
                _write_parquet(path, rows, labels, names, has_rationale=has_rationale)
        jsonl.replace_bytes(beside / CARD, [card.encode()])
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise jsonl.full_disk(folder, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _row(pair: Pair, labels: Sequence[str], names: Sequence[str], *, has_rationale: bool) -> dict[str, Any]:
    turns = [msgspec.structs.asdict(message) for message in pair.messages]
    row: dict[str, Any] = {
        "id": pair.id,
        "messages": [*turns, {"role": "assistant", "content": pair.answer}],
        "answer": pair.answer,
    }
    if labels:
        row["label"] = pair.answer
    row["origin"] = pair.origin
    if names:
        row["attributes"] = {name: pair.attributes.get(name) for name in names}
    return row | ({"rationale": pair.rationale} if has_rationale else {})


def _write_parquet(
    path: Path,
    rows: Iterator[dict[str, Any]],
    labels: Sequence[str],
    names: Sequence[str],
    *,
    has_rationale: bool,
) -> None:
    """The rows as Parquet, with the schema in the terms of `datasets` beside the Arrow one."""
    from datasets import ClassLabel, Features, Value
    from pyarrow import Table, parquet

    text = Value("string")
    columns: dict[str, Any] = {"id": text, "messages": [{"role": text, "content": text}], "answer": text}
    if labels:
        columns["label"] = ClassLabel(names=list(labels))
    columns["origin"] = text
    if names:
        columns["attributes"] = dict.fromkeys(names, text)
    if has_rationale:
        columns["rationale"] = text
    features = Features(columns)
    numbers = {name: number for number, name in enumerate(labels)}
    # -1 is `datasets`' word for an answer outside the classes.
    coded = [row | {"label": numbers.get(row["label"], -1)} if labels else row for row in rows]
    parquet.write_table(Table.from_pylist(coded, schema=features.arrow_schema), path)
