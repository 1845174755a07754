"""The rows compare asks about: the frozen test split and the user's gold, each row once, none trained on.

Refuses rows that the student was trained on, that are empty, or whose answers the task does not have.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from distill.ask import student_messages
from distill.config import CompareConfig
from distill.errors import DataError, UsageError
from distill.score.stats import FEW
from distill.score.text import normalised
from distill.store import jsonl
from distill.store.answers import Row
from distill.store.records import records
from distill.store.run import Run, digest
from distill.store.shapes import INPUT_KEYS, OUTPUT_KEYS, read_gold
from distill.types import Pair, Split, Task, content_id

LISTED = 10
"""Rows named in an error; the rest are counted."""
MOST_VALUES = 20
"""A column of the gold file with more values than this is no slice."""
TURN = "turn"


class HeldOut(NamedTuple):
    """The rows to answer, by split; what was left out; `clusters` of rows that are not independent, by id."""

    splits: dict[str, list[Pair]]
    clusters: dict[str, str]
    gold_left_out: int = 0
    gold_duplicates: int = 0
    test_duplicates: int = 0


def gather_rows(run: Run, config: CompareConfig, task: Task) -> HeldOut:
    """The rows to answer, none of which the student was trained on. Raises DataError, UsageError."""
    trained_on = read_split(run, "train") + read_split(run, "valid")
    check_student(run, task, trained_on)
    seen = {normalised(pair.input) for pair in trained_on}
    test, test_duplicates = test_rows(run, task, seen)
    splits, left_out, duplicates = {"test": test}, 0, 0
    if config.gold is not None:
        rows = gold_rows(config, task)
        gold = unique(rows)
        seen |= shown_to_the_teacher(task)
        splits["gold"] = [pair for pair in gold if normalised(pair.input) not in seen]
        left_out, duplicates = len(gold) - len(splits["gold"]), len(rows) - len(gold)
        if not splits["gold"]:
            raise DataError(
                "every gold row was trained on or shown to the teacher as an example",
                where=str(config.gold),
                hint="give rows that nobody has seen",
            )
    used = {name: rows[: config.max_rows] for name, rows in splits.items() if rows}
    if not used:
        raise UsageError(
            "there are no rows to compare on",
            where=str(run.splits["test"]),
            hint="generate with --test-share above 0, or pass --gold FILE",
        )
    return HeldOut(used, clustered(used), left_out, duplicates, test_duplicates)


def answered(held_out: HeldOut, rows: Sequence[Row]) -> tuple[HeldOut, dict[str, int]]:
    """(Only what is among `rows`, how many are not, by split); a split that lost all is gone."""
    keys = {(row.split, row.pair.id) for row in rows}
    kept = {
        split: [pair for pair in pairs if (split, pair.id) in keys]
        for split, pairs in held_out.splits.items()
    }
    left = {split: len(pairs) - len(kept[split]) for split, pairs in held_out.splits.items()}
    splits = {split: pairs for split, pairs in kept.items() if pairs}
    return held_out._replace(splits=splits), {split: count for split, count in left.items() if count}


def all_imported(pairs: Sequence[Pair]) -> bool:
    """Whether the answers of all of these came with an imported file, and from no teacher of ours."""
    return bool(pairs) and all(pair.origin == "imported" for pair in pairs)


def check_student(run: Run, task: Task, trained_on: Sequence[Pair]) -> None:
    """Raises UsageError or DataError where the student was trained on other pairs, or for another task."""
    made_from = (run.summary("finetune") or {}).get("made_from", {})
    if "train.jsonl" in made_from and made_from["train.jsonl"] != digest(run.splits["train"]):
        raise UsageError(
            "the student was trained on other pairs than this run's",
            where=str(run.adapter),
            hint="run: distill finetune",
        )
    unknown = unknown_labels(task, trained_on)
    if unknown:
        raise DataError(
            f"the student was trained for another task: to answer {shortly(unknown)}",
            where=str(run.splits["train"]),
            hint=f"task.toml has the labels {', '.join(task.label_names)}: generate and finetune again",
        )


def test_rows(run: Run, task: Task, seen: set[str]) -> tuple[list[Pair], int]:
    """(The test rows, a row an answer, each once; how many repeated another).

    Raises DataError where one is empty, was trained on, or has an answer that is no label.
    """
    where = str(run.splits["test"])
    pairs = read_split(run, "test")
    if empty := [pair.id for pair in pairs if not pair.input.strip() or not pair.answer.strip()]:
        raise DataError(
            f"{len(empty)} test rows are empty: {shortly(empty)}", where=where, hint="drop these rows"
        )
    # Earlier turns of a conversation that ends in a label are no labels.
    rows = [turn for pair in pairs for turn in turns(pair)] if task.kind in ("text", "chat") else pairs
    if leaked := [pair.id for pair in rows if normalised(pair.input) in seen]:
        raise DataError(
            f"{len(leaked)} test rows stand in the training rows too: {shortly(leaked)}",
            where=where,
            hint="a score on them would mean nothing; take them out of train.jsonl and finetune again",
        )
    if unknown := unknown_labels(task, rows):
        raise DataError(
            f"test rows have answers that the task does not: {shortly(unknown)}",
            where=where,
            hint=f"labels: {', '.join(task.label_names)}",
        )
    once = unique(rows)
    return once, len(rows) - len(once)


def valid_rows(run: Run, config: CompareConfig, task: Task) -> HeldOut | None:
    """The validation rows, a row an answer: they chose a checkpoint and trained nothing. None without any."""
    pairs = read_split(run, "valid")
    rows = [turn for pair in pairs for turn in turns(pair)] if task.kind in ("text", "chat") else pairs
    used = {"valid": unique(rows)[: config.max_rows]}
    return HeldOut(used, clustered(used)) if rows else None


def turns(pair: Pair) -> list[Pair]:
    """A row for each answer of a conversation, with all that was said before it; a plain pair as it is."""
    places = [place for place, message in enumerate(pair.messages) if message.role == "assistant"]
    if not places:
        return [pair]
    earlier = [
        Pair.make(pair.messages[:place], pair.messages[place].content, pair.origin, pair.attributes)
        for place in places
    ]
    return [
        msgspec.structs.replace(turn, attributes={**turn.attributes, TURN: str(number)})
        for number, turn in enumerate([*earlier, pair], 1)
    ]


def gold_rows(config: CompareConfig, task: Task) -> list[Pair]:
    """The user's rows, their other columns of few values as attributes. Raises as `read_gold`."""
    assert config.gold is not None
    examples = read_gold(config.gold, task)
    columns = user_columns([value for _, value in records(config.gold)])
    return [
        Pair.make(student_messages(task, example.input), example.output, "gold", attributes)
        for example, attributes in zip(examples, columns, strict=True)
    ]


def user_columns(rows: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    """Row by row, the columns to slice by: neither input nor answer, and of 2 to MOST_VALUES values."""
    names = dict.fromkeys(name for row in rows for name in row if name not in (*INPUT_KEYS, *OUTPUT_KEYS))
    values = {name: {str(row[name]) for row in rows if row.get(name) is not None} for name in names}
    kept = [name for name in names if 2 <= len(values[name]) <= MOST_VALUES]
    return [{name: str(row[name]) for name in kept if row.get(name) is not None} for row in rows]


def shown_to_the_teacher(task: Task) -> set[str]:
    """The inputs that stand in prompts as examples, normalised."""
    examples = [example.input for example in task.examples]
    examples += [text for label in task.labels for text in label.examples]
    return {normalised(text) for text in examples}


def unknown_labels(task: Task, pairs: Sequence[Pair]) -> list[str]:
    """The answers of `pairs` that are none of the task's labels; none for other kinds of task."""
    if task.kind != "label":
        return []
    return list(dict.fromkeys(pair.answer for pair in pairs if pair.answer not in task.label_names))


def unique(pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs`, each input and answer once."""
    return list({pair.id: pair for pair in reversed(pairs)}.values())[::-1]


def clustered(splits: Mapping[str, Sequence[Pair]]) -> dict[str, str]:
    """Pair id -> what it belongs to: its conversation's opening, or its topic where topics are many.

    A topic is all that was asked of a generated row. A handful of topics are the plan, no sample of it.
    """
    found = {}
    for name, pairs in splits.items():
        topics = {content_id(topic(pair)) for pair in pairs if topic(pair)} if name == "test" else set()
        for pair in pairs:
            by_topic = len(topics) >= FEW and topic(pair)
            found[pair.id] = content_id(topic(pair)) if by_topic else opening(pair)
    return found


def topic(pair: Pair) -> dict[str, str]:
    """All that was asked of a generated row, but its place in a conversation."""
    return {name: value for name, value in pair.attributes.items() if name != TURN}


def opening(pair: Pair) -> str:
    """A digest of a conversation's first words: the same for all of its turns."""
    first = next(place for place, message in enumerate(pair.messages) if message.role == "user")
    return content_id(pair.messages[: first + 1])


def shortly(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"{name:.60}" for name in names[:LISTED]) + more


def read_split(run: Run, name: Split) -> list[Pair]:
    """The pairs of a split; none where the file is absent."""
    path = run.splits[name]
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []
