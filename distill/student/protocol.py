"""What a student is, as steps see it: it answers conversations in batches."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from distill.types import Message


class Answer(msgspec.Struct, frozen=True):
    """What a student said. `latency_s` is the time of its batch; `finish_reason` is "stop" or "length".

    `confidence` is the probability it gives its answer, where it has one: the geometric mean over its tokens,
    its end among them, so that of the whole answer is `confidence ** tokens`.
    """

    text: str
    finish_reason: str
    latency_s: float
    tokens: int
    confidence: float | None = None


class Student(Protocol):
    """A small model that answers conversations."""

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        ...

    def limited_to(self, answers: Sequence[str]) -> "Student":
        """The same student, which can say nothing but one of `answers`."""
        ...

    def answer(
        self, conversations: Sequence[Sequence[Message]], *, max_new_tokens: int, batch_size: int
    ) -> Iterator[tuple[int, Answer]]:
        """(index, answer) for each conversation, greedily, in any order, as they come."""
        ...
