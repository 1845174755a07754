"""Pairs as a classifier reads them: one text or two, as ids, and the place of the answer among the labels.

Refuses to cut an input unless it was asked to, and an answer that is none of the labels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from distill.errors import DataError, UsageError
from distill.types import Message, Pair, Task

if TYPE_CHECKING:
    import torch

MOST_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """One input as ids, with its token types (empty: the encoder has none) and its label's place."""

    id: str
    ids: list[int]
    kinds: list[int]
    label: int

    @property
    def target_tokens(self) -> int:
        """One: what engines divide a loss by."""
        return 1

    @property
    def starts(self) -> tuple[int, ...]:
        """Nothing is joined to a row."""
        return (0,)


@dataclass(frozen=True)
class Reader:
    """How texts become ids: the encoder's tokenizer, the longest input in tokens, whether to trim to it.

    `last_only`: the last message alone is read, not what was said before it.
    """

    tokenizer: Any
    limit: int
    trims: bool = False
    last_only: bool = False

    def ids(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """(ids, token types) of a conversation's input, with the encoder's own marks around and between.

        Too long, and `trims`: one text loses its end, a conversation of several turns its beginning, of two
        texts the longer one is cut. Else the ids are as long as they are.
        """
        messages = messages[-1:] if self.last_only else messages
        texts = texts_of(messages)
        made = self.tokenizer(*texts, add_special_tokens=True, verbose=False)
        if self.trims and len(made["input_ids"]) > self.limit:
            self.tokenizer.truncation_side = "left" if len(spoken(messages)) > 1 else "right"
            made = self.tokenizer(*texts, truncation="longest_first", max_length=self.limit, verbose=False)
        return list(made["input_ids"]), list(made.get("token_type_ids", ()))


@dataclass(frozen=True)
class Encoded:
    """The rows that can be used, and the ids of those that were longer than the limit."""

    rows: list[Row]
    long: list[str] = field(default_factory=list)


def spoken(messages: Sequence[Message]) -> list[str]:
    """What is said, without the system's instruction: the head is what knows the task."""
    return [message.content for message in messages if message.role != "system"]


def texts_of(messages: Sequence[Message]) -> list[str]:
    """The text a classifier reads, or the two.

    A message that is a JSON object of exactly two texts ({"premise": …, "hypothesis": …}) is two, in its
    order: the encoder reads them as its pre-training did, with a separator between. Several turns are one
    text, a paragraph a turn.
    """
    said = spoken(messages)
    if len(said) == 1 and said[0].lstrip().startswith("{"):
        try:
            two = msgspec.json.decode(said[0], type=dict[str, str])
        except (msgspec.DecodeError, UnicodeError):
            return said
        if len(two) == 2:
            return list(two.values())
    return ["\n\n".join(said)]


def labels_of(task: Task | None, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The closed set of answers: the task's labels, else (no task at all) the answers there are, sorted.

    Raises UsageError where the task has no labels, or the pairs give nothing to tell apart.
    """
    if task is not None and task.kind != "label":
        raise UsageError(
            f"a classifier answers with one of a task's labels, and this is a '{task.kind}' task",
            where="--student-kind classifier",
            hint="use --student-kind causal",
        )
    counts = Counter(pair.answer for pair in pairs)
    labels = task.label_names if task is not None else tuple(sorted(counts))
    if len(counts) < 2:
        raise UsageError(
            f"all {len(pairs)} pairs have one answer, {next(iter(counts), '')!r:.60}: nothing to tell apart",
            where="--student-kind classifier",
            hint="run: distill generate, for more pairs",
        )
    if task is None and len(labels) > len(pairs) // 2:
        raise UsageError(
            f"{len(pairs)} pairs have {len(labels)} different answers: these are no labels",
            where="--student-kind classifier",
            hint="use --student-kind causal",
        )
    return labels


def label_texts(task: Task | None, labels: Sequence[str]) -> tuple[str, ...]:
    """What each label says in words, for an untrained encoder to compare an input with."""
    meaning = {label.name: label.description for label in task.labels} if task is not None else {}
    plain = [name.replace("_", " ").replace("-", " ") for name in labels]
    return tuple(
        f"{text}: {meaning[name]}" if meaning.get(name) else text
        for name, text in zip(labels, plain, strict=True)
    )


def places_of(labels: Sequence[str], pairs: Sequence[Pair]) -> dict[str, int]:
    """Label -> its place. Raises DataError naming the rows whose answer is no label."""
    place = {name: index for index, name in enumerate(labels)}
    if strange := [pair.id for pair in pairs if pair.answer not in place]:
        raise DataError(
            f"the answers of {len(strange)} rows are no labels of the task",
            where=f"rows {', '.join(strange[:MOST_SHOWN])}",
            hint="correct or drop these rows, or add the label to task.toml",
        )
    return place


def encode(reader: Reader, labels: Sequence[str], pairs: Sequence[Pair], on_long: str) -> Encoded:
    """Each pair as a row. `on_long`: what becomes of one over the limit: refuse, drop, trim-prompt.

    Raises DataError naming the rows that are too long (refuse) or whose answer is no label.
    """
    place = places_of(labels, pairs)
    rows, long = [], []
    plain = Reader(reader.tokenizer, reader.limit)
    for pair in pairs:
        ids, kinds = plain.ids(pair.messages)
        if len(ids) > reader.limit:
            long.append(pair.id)
            if on_long != "trim-prompt":
                continue
            ids, kinds = Reader(reader.tokenizer, reader.limit, trims=True).ids(pair.messages)
        rows.append(Row(pair.id, ids, kinds, place[pair.answer]))
    if long and on_long == "refuse":
        raise DataError(
            f"{len(long)} inputs are longer than the {reader.limit} tokens the encoder takes",
            where=f"rows {', '.join(long[:MOST_SHOWN])}",
            hint="--on-long trim-prompt cuts inputs (no answer stands in them), drop leaves rows out",
        )
    return Encoded(rows, long)


def padded(
    inputs: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, device: str
) -> dict[str, "torch.Tensor"]:
    """(ids, token types) of a batch as what an encoder's `forward` takes, each (B, T), padded at the end."""
    import torch

    width = max(len(ids) for ids, _ in inputs)
    made = {
        "input_ids": [[*ids, *[pad] * (width - len(ids))] for ids, _ in inputs],
        "attention_mask": [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in inputs],
    }
    if inputs[0][1]:
        made["token_type_ids"] = [[*kinds, *[0] * (width - len(kinds))] for _, kinds in inputs]
    return {name: torch.tensor(rows, device=device) for name, rows in made.items()}
