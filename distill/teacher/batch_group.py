"""Requests on their way into one batch, and who waits for their answers.

Refuses to put two requests of one key into a batch, and more into it than the endpoint takes.
"""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import msgspec

from distill.teacher.batch_wire import MOST_BYTES, request_line
from distill.types import Completion, Request


class Asked(msgspec.Struct, frozen=True, tag_field="kind", tag="asked"):
    """One request of a group; `key` is its ledger key, and its custom_id at the endpoint."""

    group: str
    key: str
    sample: int
    request: Request


class Call:
    """A request and who waits for it; None as its answer says: ask it live."""

    def __init__(self, key: str, request: Request, sample: int) -> None:
        self.key, self.request, self.sample = key, request, sample
        self.answer: asyncio.Future[Completion | None] = asyncio.get_running_loop().create_future()
        self.waiters = 0
        self.times_sent = 0

    def settle(self, answer: Completion | Exception | None) -> None:
        """Wake who waits, once."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()  # marks it as seen: with no one left waiting, it is no one's error
        else:
            self.answer.set_result(answer)


class Group:
    """Requests that go into one batch. `waiting` has who waits for the answer to a key."""

    def __init__(self, name: str, asked: list[Asked]) -> None:
        self.name = name
        self.asked = {one.key: one for one in asked}
        self.waiting: dict[str, Call] = {}
        self.file = ""
        self.batch = ""
        self.at = 0.0
        self.done = 0
        self.over = False
        self.hold: int | None = None
        self.held_usd = 0.0

    def has(self, key: str, max_tokens: int) -> bool:
        """Is the answer to `key`, with room for `max_tokens`, on its way here?"""
        one = self.asked.get(key)
        return one is not None and one.request.max_tokens >= max_tokens


def packed(
    calls: list[Call], model: str, left_out: set[str], worst_usd: Callable[[Request], float], room_usd: float
) -> tuple[Group, bytes]:
    """As many of `calls` as fit a batch and, at worst, `room_usd`; the first at any rate. And the file."""
    sent: dict[str, Call] = {}
    content = bytearray()
    for call in calls:
        line = request_line(call.key, model, call.request, call.sample, left_out)
        room_usd -= worst_usd(call.request)
        full = room_usd < 0 or len(content) + len(line) > MOST_BYTES
        if call.key in sent or (sent and full):
            break
        content += line
        sent[call.key] = call
        call.times_sent += 1
    name = uuid4().hex[:16]
    group = Group(name, [Asked(name, key, call.sample, call.request) for key, call in sent.items()])
    group.waiting.update(sent)
    return group, bytes(content)
