"""`task.toml`: read with errors a person can act on, written so that a person can edit it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from distill.errors import UsageError
from distill.parse import label_key
from distill.store import jsonl
from distill.types import Task

REQUIRED = ("name", "kind", "instruction")
HINT = "README.md, 'Write a task yourself', shows a whole file; examples/ has more"


def read_task(path: Path) -> Task:
    """The task in `path`. Raises UsageError (file, what is wrong, what to do)."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            "no such task file", where=str(path), hint="distill pick N, or write one: " + HINT
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), hint="save it as UTF-8 text") from None
    try:
        task = msgspec.convert(tomlkit.parse(text).unwrap(), Task)
    except tomlkit.exceptions.ParseError as error:
        raise UsageError(f"not TOML: {error}", where=str(path), hint=HINT) from None
    except msgspec.ValidationError as error:
        raise UsageError(f"not a task: {error}", where=str(path), hint=HINT) from None
    return check_task(task, where=str(path))


def check_task(task: Task, *, where: str) -> Task:
    """`task`, if its parts fit its kind. Raises UsageError."""
    names = [label.name for label in task.labels]
    tables = [task.attributes, *(label.attributes for label in task.labels)]
    problem = ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", task.name):
        problem = f"name {task.name!r} may hold letters, digits, '.', '_' and '-' only"
    elif not task.instruction.strip():
        problem = "the instruction is empty"
    elif task.kind == "label" and len(set(names)) < 2:
        problem = f"a 'label' task needs two labels or more, this has {len(set(names))}"
    elif len(set(names)) != len(names) or any(not name.strip() for name in names):
        problem = "label names must be distinct and not empty"
    elif alike := same_key(names):
        problem = f"labels {alike[0]!r} and {alike[1]!r} are told apart by case or signs alone"
    elif task.kind != "label" and task.labels:
        problem = f"a '{task.kind}' task has no labels; kind = \"label\" has"
    elif task.kind == "json" and not task.fields:
        problem = "a 'json' task needs [[fields]], one for each key of the answer"
    elif task.kind == "chat" and not 1 <= task.turns <= 20:
        problem = f"turns = {task.turns}: a conversation has 1 to 20"
    elif any(not values for table in tables for values in table.values()):
        problem = "an attribute has no values"
    if problem:
        raise UsageError(problem, where=where, hint=HINT)
    return task


def same_key(names: Sequence[str]) -> tuple[str, str] | None:
    """Two labels that an answer cannot be told to name the one or the other of, or None."""
    first: dict[str, str] = {}
    for name in names:
        if (known := first.setdefault(label_key(name), name)) != name:
            return known, name
    return None


def write_task(path: Path, task: Task) -> None:
    """Write `task` as TOML, what is empty left out."""
    document = tomlkit.document()
    plain = msgspec.to_builtins(Task(task.name, task.kind, task.instruction))
    for name, value in msgspec.to_builtins(task).items():
        if name in REQUIRED or value != plain[name]:
            document.append(name, _item(value))
    jsonl.replace_bytes(path, [tomlkit.dumps(document).encode()])


def update_prompt(path: Path, task: Task) -> None:
    """Write `task.prompt` into an existing `path`, leaving everything else as its author wrote it."""
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["prompt"] = _item(_without_none(msgspec.to_builtins(task.prompt)))
    jsonl.replace_bytes(path, [tomlkit.dumps(document).encode()])


def update_attributes(path: Path, attributes: Mapping[str, Sequence[str]]) -> None:
    """Write `attributes` into an existing `path`, leaving everything else as its author wrote it."""
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["attributes"] = tomlkit.item({name: list(values) for name, values in attributes.items()})
    jsonl.replace_bytes(path, [tomlkit.dumps(document).encode()])


def _item(value: Any) -> Any:
    """A TOML item: lists of tables become [[tables]], the rest is what tomlkit makes of it."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        tables = tomlkit.aot()
        for entry in value:
            tables.append(tomlkit.item(_without_none(entry)))
        return tables
    return tomlkit.item(_without_none(value) if isinstance(value, dict) else value)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value not in (None, "", (), [], {})}
