"""Pairs to token ids and which of them are trained: answers and their end-of-turn tokens, nothing else.

Refuses, over all rows and naming them: a row without a target, a prompt that does not begin the
conversation, a target that does not read as the answer, a second BOS, a row too long (nothing is ever cut).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.errors import DataError
from distill.student.chat import Chat
from distill.types import Message, Pair

IGNORED = -100  # the label torch's cross-entropy skips
# Controls but line breaks and tabs (ANSI escapes among them), then what reverses the reading direction.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation's ids. Each span (start, end) is one target: an answer with its end-of-turn token."""

    id: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def labels(self) -> list[int]:
        """The id at each trained position, IGNORED elsewhere; as long as `ids`."""
        labels = [IGNORED] * len(self.ids)
        for start, end in self.spans:
            labels[start:end] = self.ids[start:end]
        return labels

    @property
    def target_tokens(self) -> int:
        """How many positions are trained."""
        return sum(end - start for start, end in self.spans)


def encode(chat: Chat, pairs: Sequence[Pair], max_length_tokens: int) -> list[Row]:
    """One checked row per pair, in order. Raises DataError naming the row at fault."""
    rows = []
    for pair in pairs:
        try:
            rows.append(encode_pair(chat, pair))
        except DataError as error:
            raise DataError(error.message, where=f"row {pair.id}", hint=error.hint) from None
    check_lengths(rows, max_length_tokens)
    return rows


def encode_pair(chat: Chat, pair: Pair) -> Row:
    """`pair` as ids, every assistant turn of it a target. Raises DataError."""
    conversation = (*pair.messages, Message("assistant", pair.answer))
    ids = tuple(chat.whole(conversation))
    spans = []
    for index, message in enumerate(conversation):
        if message.role == "assistant":
            start, turn = turn_ids(chat, conversation[: index + 1])
            if ids[: len(turn)] != turn:
                raise DataError(
                    "the chat template changes earlier turns once later ones follow",
                    hint="make one row of each answer",
                )
            check_target(chat, turn[start:], message.content)
            spans.append((start, len(turn)))
    bos = chat.tokenizer.bos_token_id
    if bos is not None and ids[:2] == (bos, bos):
        raise DataError("starts with two BOS tokens", hint="the chat template adds one too many")
    return Row(pair.id, ids, tuple(spans))


def turn_ids(chat: Chat, conversation: Sequence[Message]) -> tuple[int, tuple[int, ...]]:
    """Where the last turn's answer starts, and `conversation`'s ids up to its end-of-turn token."""
    prompt, whole = chat.prompt(conversation[:-1]), chat.whole(conversation)
    if whole[: len(prompt)] != prompt:
        raise DataError(
            "the prompt's tokens do not begin the conversation's: the chat template writes the turn"
            " differently when it is asked for than when it is given",
            hint="choose a student whose template does not, or an answer that starts with no blank",
        )
    if tuple(whole[-len(chat.closing) :]) != chat.closing:
        raise DataError("the answer's turn does not end with the end-of-turn token")
    return len(prompt), tuple(whole[: len(whole) - len(chat.closing) + 1])


def check_target(chat: Chat, target: Sequence[int], answer: str) -> None:
    """Raise DataError unless `target` is `answer`, whole, and one end-of-turn token."""
    if len(target) < 2 or not answer.strip():
        raise DataError("the answer is empty: nothing to train", hint="drop this row")
    if target.count(chat.stop) != 1 or target[-1] != chat.stop:
        raise DataError("the answer itself holds the end-of-turn token", hint="drop or rewrite this row")
    read = chat.text(target[:-1])
    if plainly(read) != plainly(answer):
        raise DataError(
            f"the tokens to train read {read[:80]!r}, not the answer {answer[:80]!r}",
            hint="the chat template or tokenizer rewrites answers; choose another student",
        )


def plainly(text: str) -> str:
    """`text` without what tokenizers may rightly normalise: Unicode compatibility forms and blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def check_lengths(rows: Sequence[Row], max_length_tokens: int) -> None:
    """Raise DataError with the count and ids of rows longer than `max_length_tokens`."""
    long = [row for row in rows if len(row.ids) > max_length_tokens]
    if long:
        longest = max(len(row.ids) for row in long)
        names = ", ".join(row.id for row in long[:5]) + (", …" if len(long) > 5 else "")
        raise DataError(
            f"{len(long)} of {len(rows)} rows are longer than {max_length_tokens} tokens"
            f" (longest {longest}): {names}",
            where="--max-length-tokens",
            hint="rows are never cut: raise the limit (up to what the student can take) or drop these rows",
        )


def mask_text(chat: Chat, rows: Sequence[Row]) -> Iterator[str]:
    """One paragraph per row, what is trained between ⟦ and ⟧; model text is escaped, never interpreted."""
    for row in rows:
        head = f"# row {row.id}: {row.target_tokens} of {len(row.ids)} tokens are trained"
        yield f"{head}\n{marked(chat, row).rstrip()}\n"


def marked(chat: Chat, row: Row) -> str:
    """The row's text with each trained answer and end-of-turn token in brackets."""
    parts, done = [], 0
    for start, end in row.spans:
        parts += [
            escape(chat.text(row.ids[done:start])),
            f"⟦{escape(chat.text(row.ids[start : end - 1]))}⟧⟦{escape(chat.text(row.ids[end - 1 : end]))}⟧",
        ]
        done = end
    return "".join([*parts, escape(chat.text(row.ids[done:]))])


def escape(text: str) -> str:
    """`text` with controls, direction marks and our own brackets written as backslash escapes."""
    shown = UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return shown.replace("⟦", "\\u27e6").replace("⟧", "\\u27e7")
