"""The rows compare asks about: the frozen test split and the user's gold, each row once, none trained on.

Refuses rows that the student was trained on, that are empty, or whose answers the task does not have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from distill.ask import default_prompt, examples_shown, student_messages
from distill.config import CompareConfig, GenerateConfig
from distill.errors import DataError, UsageError
from distill.menu import find_prompt
from distill.score.stats import FEW
from distill.score.text import normalised
from distill.store import jsonl
from distill.store.answers import Row
from distill.store.records import records
from distill.store.repeats import contradicted, near_copies, trained_inputs
from distill.store.repeats import unique as unique
from distill.store.run import Run, Step, digest
from distill.store.shapes import INPUT_KEYS, OUTPUT_KEYS, read_gold
from distill.types import Example, Pair, Split, Task, content_id

LISTED, FEW_LISTED = 10, 3
"""Rows named in an error, and in a note; the rest are counted."""
MOST_VALUES = 20
"""A column of the gold file with more values than this is no slice."""
TURN = "turn"


class HeldOut(NamedTuple):
    """The rows to answer, by split; what was left out; `clusters` of rows that are not independent, by id.

    `told` is what a reader of the report must know of these rows.
    """

    splits: dict[str, list[Pair]]
    clusters: dict[str, str]
    gold_left_out: int = 0
    gold_duplicates: int = 0
    test_duplicates: int = 0
    told: tuple[str, ...] = ()


def gather_rows(run: Run, config: CompareConfig, task: Task) -> HeldOut:
    """The rows to answer, none of which the student was trained on. Raises DataError, UsageError."""
    trained_on = read_split(run, "train") + read_split(run, "valid")
    check_student(run, task, trained_on)
    test, test_duplicates, told = test_rows(run, task, trained_on)
    splits, left_out, duplicates = {"test": test}, 0, 0
    if config.gold is not None:
        rows = gold_rows(config, task)
        gold = unique(rows)
        splits["gold"], more = unseen(run, config.gold, task, gold, trained_on)
        told += more
        left_out, duplicates = len(gold) - len(splits["gold"]), len(rows) - len(gold)
    used = {name: rows[: config.max_rows] for name, rows in splits.items() if rows}
    if not used:
        raise UsageError(
            "there are no rows to compare on",
            where=str(run.splits["test"]),
            hint="generate with --test-share above 0, or pass --gold FILE",
        )
    for name, rows in used.items():
        if twice := contradicted(rows):
            told.append(
                f"{len(twice)} {name} inputs stand there with different answers, so that nobody can be right"
                f" on all rows: {shortly(twice, FEW_LISTED)}."
            )
    return HeldOut(used, clustered(used), left_out, duplicates, test_duplicates, tuple(told))


def unseen(
    run: Run, gold: Path, task: Task, rows: Sequence[Pair], trained_on: Sequence[Pair]
) -> tuple[list[Pair], list[str]]:
    """(The gold rows that nobody has seen, what to tell of them). Raises DataError where that is none.

    A near copy of a training row stays: real traffic is repetitive. How many there are is told.
    """
    trained = trained_inputs(task, trained_on)
    seen = trained | shown_to_the_teacher(task, gold_shots(run))
    kept = [pair for pair in rows if normalised(pair.input) not in seen]
    made = {**run.settings().get("import", {}), **run.settings().get("generate", {})}
    alike = made.get("near_duplicate", GenerateConfig.near_duplicate)
    near = near_copies([pair.input for pair in kept], trained, alike)
    if not kept:
        raise DataError(
            "every gold row was trained on, or shown to the teacher as an example",
            where=str(gold),
            hint="give rows that nobody has seen",
        )
    told = []
    if near:
        copies = sum(pair.input in near for pair in kept)
        told.append(
            f"{copies} of {len(kept)} gold rows are near copies of training rows ({alike:.0%} alike or more),"
            f" which the student may know by heart: {shortly(sorted(near), FEW_LISTED)}."
        )
    if task.prompt is not None and chose_the_prompt(run, gold):
        told.append(
            "The gold rows are those that the teacher's prompt was chosen with (explore --gold, generate"
            " --seeds): its score on them is flattered."
        )
    return kept, told


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


def test_rows(run: Run, task: Task, trained_on: Sequence[Pair]) -> tuple[list[Pair], int, list[str]]:
    """(The test rows, a row an answer, each once; how many repeated another; what to tell of them).

    Turns that a training conversation has too are left out. Raises DataError where a row is empty, was
    trained on as a whole, or has an answer that is no label.
    """
    where = str(run.splits["test"])
    pairs = read_split(run, "test")
    if empty := [pair.id for pair in pairs if not pair.input.strip() or not pair.answer.strip()]:
        raise DataError(
            f"{len(empty)} test rows are empty: {shortly(empty)}", where=where, hint="drop these rows"
        )
    whole = {normalised(pair.input) for pair in trained_on}
    if leaked := [pair.id for pair in pairs if normalised(pair.input) in whole]:
        raise DataError(
            f"{len(leaked)} test rows stand in the training rows too: {shortly(leaked)}",
            where=where,
            hint="a score on them would mean nothing; take them out of train.jsonl and finetune again",
        )
    rows = [turn for pair in pairs for turn in in_turns(task, pair)]
    if unknown := unknown_labels(task, rows):
        raise DataError(
            f"test rows have answers that the task does not: {shortly(unknown)}",
            where=where,
            hint=f"labels: {', '.join(task.label_names)}",
        )
    trained = trained_inputs(task, trained_on)
    fresh = [turn for turn in rows if normalised(turn.input) not in trained]
    once, told = unique(fresh), []
    if count := len(rows) - len(fresh):
        told.append(
            f"{count} answers of test conversations were left out: up to there a training conversation has"
            " the same words."
        )
    return once, len(fresh) - len(once), told


def valid_rows(run: Run, config: CompareConfig, task: Task) -> HeldOut | None:
    """The validation rows, a row an answer: they chose a checkpoint and trained nothing. None without any."""
    rows = [turn for pair in read_split(run, "valid") for turn in in_turns(task, pair)]
    used = {"valid": unique(rows)[: config.max_rows]}
    return HeldOut(used, clustered(used)) if rows else None


def in_turns(task: Task, pair: Pair) -> list[Pair]:
    """A row for each answer of `pair`; earlier turns of a conversation that ends in a label are no labels."""
    return turns(pair) if task.kind in ("text", "chat") else [pair]


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


def shown_to_the_teacher(task: Task, shots: Sequence[Example]) -> set[str]:
    """The inputs that stand in prompts as examples, normalised; `shots` are gold ones that come first."""
    examples = [example.input for example in task.examples]
    examples += [text for label in task.labels for text in label.examples]
    if task.prompt is not None and task.prompt.shots:
        examples += [example.input for example in task.prompt.shots]
    else:
        spec = find_prompt(default_prompt(task))
        examples += [example.input for example in examples_shown(task, spec.shots, shots)]
    return {normalised(text) for text in examples}


def gold_shots(run: Run) -> tuple[Example, ...]:
    """The seeds that generate showed the teacher, the first of each answer."""
    return msgspec.convert((run.summary("generate") or {}).get("shots", ()), tuple[Example, ...])


def chose_the_prompt(run: Run, gold: Path) -> bool:
    """Whether the rows of explore's --gold or generate's --seeds are those of this file."""
    chosen_by: dict[Step, str] = {"explore": "gold", "generate": "seeds"}
    for step, flag in chosen_by.items():
        path = run.settings().get(step, {}).get(flag)
        then = (run.summary(step) or {}).get("made_from", {}).get(f"{flag} file")
        if (then is not None and then == digest(gold)) or (path and Path(path).resolve() == gold.resolve()):
            return True
    return False


def unknown_labels(task: Task, pairs: Sequence[Pair]) -> list[str]:
    """The answers of `pairs` that are none of the task's labels; none for other kinds of task."""
    if task.kind != "label":
        return []
    return list(dict.fromkeys(pair.answer for pair in pairs if pair.answer not in task.label_names))


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


def shortly(names: Sequence[str], most: int = LISTED) -> str:
    """The first few of `names`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{' '.join(name.split()):.60}" for name in names[:most]) + more


def read_split(run: Run, name: Split) -> list[Pair]:
    """The pairs of a split; none where the file is absent."""
    path = run.splits[name]
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []
