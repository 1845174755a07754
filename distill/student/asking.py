"""A trained student asked about rows that are held out: those it has room for, in batches that memory holds.

Refuses to judge what it says, and to cut a row so that it fits.
"""

from collections.abc import Callable, Sequence
from typing import Any

from distill.errors import DeviceError
from distill.student.protocol import Answer
from distill.types import Pair

TOGETHER = (32, 8, 1)
"""Rows answered at once; fewer where memory runs out."""


def with_room(student: Any, pairs: Sequence[Pair], room: int) -> list[Pair]:
    """The pairs that leave the student `room` tokens to answer in."""
    return [pair for pair in pairs if student.has_room(pair.messages, room)]


def answers(
    student: Any, pairs: Sequence[Pair], room: int, tick: Callable[[], None] = lambda: None
) -> list[Answer]:
    """A greedy answer to each pair, of `room` tokens at most; `tick` is called as each one ends.

    Raises DeviceError where memory does not hold even one, DataError where a row leaves no room.
    """
    found: dict[int, Answer] = {}
    for together in TOGETHER:
        left = [place for place in range(len(pairs)) if place not in found]
        if not left:
            break
        asked = [pairs[place].messages for place in left]
        try:
            for index, answer in student.answer(asked, max_new_tokens=room, batch_size=together):
                found[left[index]] = answer
                tick()
        except DeviceError:
            if together == TOGETHER[-1]:
                raise
    return [found[place] for place in range(len(pairs))]
