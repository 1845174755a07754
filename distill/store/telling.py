"""What a file of rows says beside them: whether they are a run's pairs, their splits, their task.

Refuses to write anything.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from distill.errors import DataError
from distill.store.conversations import Conversation, Unfit, conversation, task_of
from distill.store.pairs import frozen
from distill.store.records import Row
from distill.store.run import Run
from distill.types import Label, Pair, Split, Task


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """The rows as pairs, where they are those of a run (id, messages, answer); none where they are not."""
    try:
        return [msgspec.convert(row.value, Pair) for row in rows]
    except msgspec.ValidationError:
        return []


def kept_splits(path: Path, pairs: Sequence[Pair]) -> dict[str, Split]:
    """Which split each pair is in by the files beside a run's pairs.jsonl; empty for any other file."""
    beside = Run(path.resolve().parent.parent)
    if path.resolve() != beside.pairs:
        return {}
    ids = {pair.id for pair in pairs}
    return {name: split for name, split in frozen(beside).items() if name in ids}


def told(rows: Sequence[Row], path: Path, *, closed: bool) -> Task:
    """A task for rows that came without one. Raises DataError where a row has no known shape."""
    talks = []
    for row in rows:
        try:
            talks.append(conversation(row.value, row.where))
        except Unfit:
            continue  # import counts it, with the reason
    if not talks:
        raise DataError("no row can be trained on", where=str(path))
    return told_by(talks, closed=closed)


def told_by(talks: Sequence[Conversation], *, closed: bool) -> Task:
    """The task of `talks`; `closed`: every answer there is is a label."""
    task = task_of(talks, "student")
    if closed and task.kind != "label":
        labels = tuple(Label(name) for name in sorted({talk.answer for talk in talks}))
        return msgspec.structs.replace(task, kind="label", labels=labels)
    return task


def talk_of(pair: Pair) -> Conversation:
    """A pair as the conversation it was made from."""
    return Conversation(pair.messages, pair.answer, "chat")
