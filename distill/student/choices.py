"""The only answers a student may give, as paths of token ids: which id may come next, and what is settled.

Refuses an answer that the student's template or tokenizer cannot write as it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distill.errors import DataError
from distill.student.chat import Chat
from distill.student.encode import IGNORED, turn_row
from distill.types import Message

Ids = tuple[int, ...]
ASKED = Message("user", "x")
"""Any question will do: an answer's ids are the same behind every one."""


@dataclass(frozen=True)
class Choices:
    """`answers`: the ids of each answer, the stop id last, and how it reads. None begins another."""

    answers: Mapping[Ids, str]

    @property
    def longest(self) -> int:
        """Ids in the longest answer."""
        return max(map(len, self.answers))

    @cached_property
    def _after(self) -> dict[Ids, list[int]]:
        after: dict[Ids, dict[int, None]] = {}
        for path in self.answers:
            for at, token in enumerate(path):
                after.setdefault(path[:at], {})[token] = None
        return {begun: list(tokens) for begun, tokens in after.items()}

    def only(self, logits_BV: Tensor, begun: Sequence[Sequence[int]]) -> Tensor:
        """logits_BV of the ids that may follow what each row has begun; minus infinity for all others."""
        allowed = [(row, token) for row, ids in enumerate(begun) for token in self._after[tuple(ids)]]
        rows, tokens = torch.tensor(allowed, device=logits_BV.device).unbind(1)
        only_BV = torch.full_like(logits_BV, -torch.inf)
        only_BV[rows, tokens] = logits_BV[rows, tokens]
        return only_BV

    def settled(self, begun: Sequence[int]) -> Ids:
        """The ids left of the one answer that begins so: no pass is needed for them. () while more do."""
        whole = tuple(begun)
        while len(after := self._after.get(whole, [])) == 1:
            whole = (*whole, *after)
        return () if after else whole[len(begun) :]


def choices_of(chat: Chat, answers: Sequence[str]) -> Choices:
    """`answers` as the student was taught to write them. Raises DataError where it cannot."""
    found: dict[Ids, str] = {}
    for answer in answers:
        labels = turn_row(chat, (ASKED, Message("assistant", answer)), answer).labels
        path = tuple(label for label in labels if label != IGNORED)
        if path in found:
            raise DataError(
                f"the student writes {answer!r} and {found[path]!r} with the same tokens",
                where="--answers labels",
                hint="--answers free, or rename one",
            )
        found[path] = answer
    return Choices(found)
