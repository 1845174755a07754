"""Pairs to token ids and which of them are trained: answers and their end-of-turn tokens, nothing else.

Refuses, over all rows and naming them: a row without a target, a prompt that does not begin the
conversation, a target that does not read as the answer, a second BOS, a row too long (no answer is ever cut).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from distill.errors import DataError
from distill.student.chat import Chat
from distill.student.trimming import trimmed
from distill.types import Message, Pair

TrainOn = Literal["answers", "last-answer", "all"]
OnLong = Literal["refuse", "drop", "trim-prompt"]

IGNORED = -100  # the label torch's cross-entropy skips
NAMED = 5  # ids an error names, of all it counts


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation's ids. Each span (start, end) is one target: an answer with its end-of-turn token.

    `stop`: with efficient EOS the end of a turn is no id of the row but the label right after each span.
    `starts`: where the rows begin that were joined to this one, which must not see each other.
    `answer_tokens`: the length of each answer with its end of turn, trained or not.
    """

    id: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    stop: int | None = None
    starts: tuple[int, ...] = (0,)
    answer_tokens: tuple[int, ...] = ()

    @property
    def labels(self) -> list[int]:
        """The id to be learned at each trained position, IGNORED elsewhere; as long as `ids`."""
        labels = [IGNORED] * len(self.ids)
        for start, end in self.spans:
            labels[start:end] = self.ids[start:end]
            if self.stop is not None:
                labels[end] = self.stop
        return labels

    @property
    def target_tokens(self) -> int:
        """How many positions are trained."""
        stops = 0 if self.stop is None else len(self.spans)
        return stops + sum(end - start for start, end in self.spans)


class Unfit(DataError):
    """A row that cannot be trained; `check` is the one of CHECKS that it fails."""

    def __init__(self, check: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.check = check


@dataclass(frozen=True)
class Examined:
    """All rows encoded, and what is wrong with which. `faults` are (row id, error).

    `lengths` are those of all rows before any was dropped or trimmed; `split` is how many pairs became a
    row of each answer, because the template rewrites earlier turns.
    """

    limit: int
    rows: list[Row] = field(default_factory=list)
    faults: list[tuple[str, Unfit]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    trimmed: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)

    def passed(self) -> list[Row]:
        """The rows. Raises DataError, with the count and ids of the rows at fault."""
        if not self.faults:
            if self.dropped and not self.rows:
                raise DataError(f"every row is longer than {self.limit} tokens", where="--on-long drop")
            return self.rows
        name, first = next(((n, e) for n, e in self.faults if e.check != "length"), self.faults[0])
        same = [name for name, error in self.faults if error.check == first.check]
        if first.check == "length":
            message = f"{len(same)} of {len(self.lengths)} rows are longer than {self.limit} tokens"
            message += f" (longest {max(self.lengths)}), {first.message}: {named(same)}"
            raise DataError(message, where="--max-length-tokens", hint=first.hint)
        more = f" (and {len(same) - 1} more rows: {named(same[1:])})" if same[1:] else ""
        raise DataError(f"{first.message}{more}", where=f"row {name}", hint=first.hint)

    def check_vocabulary(self, vocabulary: int | None) -> None:
        """Add a fault for each row with a token that has no embedding."""
        for row in self.rows:
            try:
                check_vocabulary([row], vocabulary)
            except Unfit as error:
                self.faults.append((row.id, error))

    def sentences(self) -> list[str]:
        """What was done to rows, to be said: nothing is dropped or trimmed in silence."""
        total = len(self.lengths)
        told = (
            (self.dropped, f"rows are longer than {self.limit} tokens and were dropped"),
            (self.trimmed, f"rows were longer than {self.limit} tokens: their prompts were trimmed"),
            (self.split, "conversations became a row of each answer: the template rewrites earlier turns"),
        )
        return [f"{len(ids)} of {total} {what} ({named(ids)})" for ids, what in told if ids]


def encode(
    chat: Chat,
    pairs: Sequence[Pair],
    max_length_tokens: int,
    *,
    train_on: TrainOn = "answers",
    on_long: OnLong = "refuse",
) -> list[Row]:
    """Checked rows of `pairs`, in order. Raises DataError naming the rows at fault."""
    return examine(chat, pairs, max_length_tokens, train_on=train_on, on_long=on_long).passed()


def examine(
    chat: Chat,
    pairs: Sequence[Pair],
    limit: int,
    *,
    train_on: TrainOn = "answers",
    on_long: OnLong = "refuse",
    vocabulary: int | None = None,
) -> Examined:
    """Every pair encoded and checked. `vocabulary`: how many embeddings the model has."""
    found = Examined(limit)
    for pair in pairs:
        try:
            rows = encode_pair(chat, pair, train_on)
            check_vocabulary(rows, vocabulary)
            found.lengths.append(longest := max(len(row.ids) for row in rows))
            if longest > limit:
                rows = shortened(chat, pair, train_on, on_long, found)
        except Unfit as error:
            found.faults.append((pair.id, error))
            continue
        if len(rows) > 1:
            found.split.append(pair.id)
        found.rows.extend(rows)
    return found


def shortened(chat: Chat, pair: Pair, train_on: TrainOn, on_long: OnLong, found: Examined) -> list[Row]:
    """The rows of a pair that is too long, by `on_long`. Raises Unfit where it is to be refused."""
    if on_long == "drop":
        found.dropped.append(pair.id)
        return []
    if on_long == "refuse":
        hint = "raise the limit (up to what the student can take), or: --on-long drop, or trim-prompt"
        raise Unfit("length", "and none is cut unasked", hint=hint)

    def fits(shorter: Pair) -> bool:
        return all(len(row.ids) <= found.limit for row in encode_pair(chat, shorter, train_on))

    shorter = trimmed(pair, fits)
    if shorter is None:
        hint = "raise the limit, or: --on-long drop"
        raise Unfit(
            "length", "with an answer that leaves no room for a prompt, and answers are never cut", hint=hint
        )
    found.trimmed.append(pair.id)
    return encode_pair(chat, shorter, train_on)


def encode_pair(chat: Chat, pair: Pair, train_on: TrainOn = "answers") -> list[Row]:
    """`pair` as one row, every assistant turn of it a target; a row of each where turns change later on.

    They do where the template takes the thoughts out of earlier turns: then every answer is trained behind
    the very prompt it will be asked with. Raises Unfit.
    """
    turns = (*pair.messages, Message("assistant", pair.answer))
    parts = [
        turn_row(chat, turns[: at + 1], pair.id) for at, turn in enumerate(turns) if turn.role == "assistant"
    ]
    whole = parts[-1]
    lengths = tuple(length for row in parts for length in row.answer_tokens)
    if train_on == "all":
        ends = [row.spans[0][1] for row in parts if row is whole or (chat.rides and begins(whole, row))]
        starts = [1, *(end + 1 for end in ends[:-1])]  # a stop takes the place of what follows an answer
        spans = tuple(zip(starts, ends, strict=True))
        return [replace(whole, spans=spans, answer_tokens=lengths)]
    if train_on == "last-answer":
        return [replace(whole, answer_tokens=lengths)]
    if not all(begins(whole, row) for row in parts):
        return [replace(row, id=f"{pair.id}.{number}") for number, row in enumerate(parts[:-1], 1)] + [whole]
    return [replace(whole, spans=tuple(row.spans[0] for row in parts), answer_tokens=lengths)]


def begins(whole: Row, row: Row) -> bool:
    """Whether `whole` begins as `row` stands, up to the end of its answer."""
    end = row.spans[0][1]
    return whole.ids[:end] == row.ids[:end]


def turn_row(chat: Chat, turns: Sequence[Message], name: str) -> Row:
    """A conversation that ends with the assistant's turn, that answer the one target. Raises Unfit."""
    try:
        prompt, ids = chat.prompt(turns[:-1]), chat.whole(turns)
    except DataError as error:
        raise Unfit("template", error.message, hint=error.hint) from None
    if ids[: len(prompt)] != prompt or not prompt:
        raise Unfit(
            "prompt",
            "the prompt's tokens do not begin the conversation's: the chat template writes the turn"
            " differently when it is asked for than when it is given",
            hint="take thinking blocks and leading blanks out of answers, or choose another student",
        )
    bos = chat.tokenizer.bos_token_id
    if bos is not None and tuple(ids[:2]) == (bos, bos):
        raise Unfit("bos", "starts with two BOS tokens", hint="the chat template adds one too many")
    end, start, last = chat.answer_end(ids), len(prompt), turns[-1].content
    if chat.rides:
        check_target(chat, ids[start:end], last)
        return Row(
            name, (*ids[:end], chat.stop), ((start, end),), chat.stop, answer_tokens=(end + 1 - start,)
        )
    if tuple(ids[end - 1 :]) != chat.closing:
        raise Unfit("stop", "the answer's turn does not end with the end-of-turn token")
    check_target(chat, ids[start : end - 1], last)
    return Row(name, tuple(ids), ((start, end),), answer_tokens=(end - start,))


def check_target(chat: Chat, target: Sequence[int], answer: str) -> None:
    """Raise Unfit unless `target`, without its end of turn, is `answer`, whole."""
    if not target or not answer.strip():
        raise Unfit("target", "the answer is empty: nothing to train", hint="drop this row")
    if chat.stop in target:
        raise Unfit("stop", "the answer itself holds the end-of-turn token", hint="drop or rewrite this row")
    read = chat.text(target)
    if plainly(read) != plainly(answer):
        raise Unfit(
            "answer",
            f"the tokens to train read {read[:80]!r}, not the answer {answer[:80]!r}",
            hint="the chat template or tokenizer rewrites answers; choose another student",
        )


def plainly(text: str) -> str:
    """`text` without what tokenizers may rightly normalise: Unicode compatibility forms and blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def check_vocabulary(rows: Sequence[Row], vocabulary: int | None) -> None:
    """Raise Unfit where a token has no embedding: tokenizer and model do not belong together."""
    highest = max(max(row.ids) for row in rows)
    if vocabulary is not None and highest >= vocabulary:
        raise Unfit(
            "vocabulary",
            f"the tokenizer gives token {highest}, and the model has embeddings for {vocabulary} only",
            hint="tokenizer and model do not belong together: choose another --student",
        )


def named(ids: Sequence[str]) -> str:
    """The first few of `ids`."""
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")


CHECKS = {
    "template": "the chat template takes every conversation",
    "prompt": "every prompt begins its conversation, thinking blocks included",
    "target": "every row has an answer to train",
    "answer": "what is trained reads as the answer, whole",
    "stop": "every target ends with the end-of-turn token, once",
    "bos": "no row starts with two BOS tokens",
    "vocabulary": "every token has an embedding",
    "length": "no row is longer than the limit",
}
"""What is checked on every row: name -> what holds where it passes."""
