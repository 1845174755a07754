"""From the run's files to the rows that are trained, as the flags want them; `inspect-data` shows these.

Refuses pairs that teach nothing: none, one, empty ones, all with one answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from distill.config import FinetuneConfig
from distill.errors import DataError, UsageError
from distill.parse import reasoned
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.student.chat import Chat, open_chat, pad_id
from distill.student.documents import encode_documents, end_of_text, held_out, read_documents
from distill.student.encode import Examined, Row, examine
from distill.student.marking import Marks, compare
from distill.types import Pair

PACK_TOKENS = 1024  # of a row of `--stage pt`, unless --max-length-tokens says else


@dataclass(frozen=True)
class Data:
    """Rows to train and to validate on, examined. `chat` pads them and ends their turns.

    `marks`: how the template's own word on what is trained compares; None where there are no turns.
    """

    chat: Chat
    train: Examined
    valid: Examined
    marks: Marks | None = None

    def held_out(self) -> list[Row]:
        """The rows to validate on; none where all of them were too long and dropped. Raises DataError."""
        if self.valid.dropped and not self.valid.rows and not self.valid.faults:
            return []
        return self.valid.passed()

    @property
    def said(self) -> list[str]:
        """What was dropped, trimmed or split, and what the template's marks say."""
        changed = [*self.train.sentences(), *(f"validation: {text}" for text in self.valid.sentences())]
        return [*changed, *([self.marks.sentence()] if self.marks else [])]

    def tell(self, say: Callable[[str], None]) -> None:
        """Say it."""
        for text in self.said:
            say(text)


def prepare(
    config: FinetuneConfig, tokenizer: Any, model: Any, train: Sequence[Pair], valid: Sequence[Pair]
) -> Data:
    """Everything encoded and checked, nothing refused yet: `passed()` of each part does.

    `model` is the student's config: it says the longest row and how many embeddings there are. Of
    `--stage pt` the rows are those of --texts, and no pairs are looked at. Raises UsageError or DataError
    where there is nothing to encode.
    """
    context = int(getattr(model, "max_position_embeddings", None) or 1 << 20)
    if config.stage == "pt":
        return texts(config, tokenizer, context, model.vocab_size)
    chat = open_chat(
        tokenizer,
        drops_system=config.system_prompt == "drop",
        efficient_eos=config.efficient_eos,
        vocabulary=model.vocab_size,
    )

    def part(pairs: Sequence[Pair]) -> Examined:
        return examine(
            chat,
            pairs,
            min(config.max_length_tokens or context, context),
            train_on=config.train_on,
            on_long=config.on_long,
            vocabulary=model.vocab_size,
        )

    examined = part(train)
    return Data(chat, examined, part(valid), compare(chat, train, examined, config.train_on))


def texts(config: FinetuneConfig, tokenizer: Any, context: int, vocabulary: int) -> Data:
    """The same of raw texts. Raises UsageError where they hold too little to learn from."""
    if config.texts is None:
        raise UsageError(
            "there is nothing to pre-train on", where="--stage pt", hint="--texts FILE or FOLDER"
        )
    end, limit = end_of_text(tokenizer), min(config.max_length_tokens or PACK_TOKENS, context)
    train, valid = (
        Examined(limit, rows=rows, lengths=[len(row.ids) for row in rows])
        for rows in (
            encode_documents(tokenizer, documents, limit)
            for documents in held_out(read_documents(config.texts))
        )
    )
    for part in (train, valid):
        part.check_vocabulary(vocabulary)
    return Data(Chat(tokenizer, (), end, pad_id(tokenizer, end, vocabulary)), train, valid)


def counts(rows: Sequence[Row], valid: Sequence[Row]) -> dict[str, Any]:
    """How much there was to train on, and how long answers are: what `compare` gives the student room for."""
    lengths = sorted(length for row in [*rows, *valid] for length in row.answer_tokens) or [0]
    return {
        "rows": {"train": len(rows), "valid": len(valid)},
        "target_tokens": sum(row.target_tokens for row in rows),
        "longest_row_tokens": max(len(row.ids) for row in [*rows, *valid]),
        "answer_tokens_p99": lengths[min(len(lengths) - 1, int(0.99 * len(lengths)))],
        "answer_tokens_max": lengths[-1],
    }


def training_pairs(run: Run) -> tuple[list[Pair], list[Pair]]:
    """(train, valid) of the run.

    Raises UsageError on fewer than two pairs or a single answer to all, DataError on an empty one.
    """
    train, valid = read_pairs(run.splits["train"]), []
    if run.splits["valid"].exists():
        valid = read_pairs(run.splits["valid"], may_be_empty=True)
    check_answers(train, run.splits["train"])
    return train, valid


def with_reasons(run: Run, pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs`, with the teacher's reasons ahead of the answers where the student is to say both."""
    return [with_reason(pair) for pair in pairs] if trains_reasons(run) else list(pairs)


def read_pairs(path: Path, *, may_be_empty: bool = False) -> list[Pair]:
    """The pairs in `path`. Raises UsageError where there are fewer than two, DataError on an empty answer."""
    pairs = []
    for number, pair in jsonl.read(path, Pair, hint="run: distill generate"):
        if not pair.messages or not pair.answer.strip():
            what = "answer is empty" if pair.messages else "conversation is empty"
            raise DataError(f"the {what}", where=f"{path}:{number}", hint="drop this row")
        pairs.append(pair)
    if len(pairs) < 2 and not may_be_empty:
        count = "one pair" if pairs else "no pairs"
        raise UsageError(f"{count} to train on", where=str(path), hint="run: distill generate --n 1000")
    return pairs


def check_answers(pairs: Sequence[Pair], path: Path) -> None:
    """Raise UsageError where all pairs have one answer: a student could learn nothing but to say it."""
    answers = {pair.answer.strip() for pair in pairs}
    if len(answers) == 1:
        raise UsageError(
            f"all {len(pairs)} pairs have the same answer, {answers.pop()[:60]!r}",
            where=str(path),
            hint="add pairs with other answers: distill generate, or distill import",
        )


def trains_reasons(run: Run) -> bool:
    """Whether the task wants a student that gives the teacher's reason before its answer."""
    return run.task.exists() and read_task(run.task).rationale


def with_reason(pair: Pair) -> Pair:
    """`pair` with the teacher's reason ahead of its answer, as the student is to say both."""
    return msgspec.structs.replace(pair, answer=reasoned(pair.rationale, pair.answer))
