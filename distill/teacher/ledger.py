"""The append-only truth about what was bought: every answer with its request, price and time.

Refuses to hold an answer that is not on disk, and to buy one that is.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from distill.errors import DataError
from distill.store import jsonl
from distill.teacher.prices import UNKNOWN, Prices
from distill.teacher.wire import cost_usd
from distill.types import Completion, Request, content_id

HINT = "a ledger line is never edited by hand: restore the file, or move it away"

NO_LOGPROBS = msgspec.Raw()


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call; None where the endpoint gives none."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was answered."""

    text: str
    finish_reason: str
    logprobs: msgspec.Raw = NO_LOGPROBS


class _Bought(msgspec.Struct, frozen=True):
    max_tokens: int


class _Stored(msgspec.Struct, frozen=True):
    """What is read back of a line: all but the messages, which the key stands for."""

    key: str
    request: _Bought
    response: Response
    usage: Usage
    cost_usd: float | None
    latency_s: float
    model: str

    def held(self) -> "_Held":
        completion = Completion(
            text=self.response.text,
            finish_reason=self.response.finish_reason,
            model=self.model,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            cost_usd=self.cost_usd,
            latency_s=self.latency_s,
        )
        return _Held(self.request.max_tokens, completion, self.response.logprobs.copy())


class _Held(NamedTuple):
    """An answer in memory. Its logprobs stay JSON: decoded they take eight times the room."""

    max_tokens: int
    completion: Completion
    logprobs: msgspec.Raw


class _Price(msgspec.Struct, frozen=True):
    """All that is read of a line to add up what was paid."""

    cost_usd: float | None
    usage: Usage = Usage()
    teacher: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One line of calls.jsonl. `teacher` was asked, `model` says it answered; `at` is Unix time."""

    key: str
    sample: int
    teacher: str
    request: Request
    response: Response
    usage: Usage
    cost_usd: float | None
    latency_s: float
    model: str
    at: float


class Ledger:
    """The calls in `path`, which is appended to, and in `also_read`.

    `calls` and `cost_usd` (None once a price was unknown) are of `path` alone, over all its sessions.
    Raises DataError (file:line) where the middle of a file is damaged; a torn last line is cut off.
    """

    def __init__(self, path: Path, also_read: Iterable[Path] = ()) -> None:
        self.path = path
        self.calls = 0
        self.cost_usd: float | None = 0.0
        self._known: dict[str, _Held] = {}
        self._file = jsonl.Appender(path)
        try:
            for other in also_read:
                if other.exists() and other.resolve() != path.resolve():
                    jsonl.repair(other)
                    self._load(other)
            for cost_usd in self._load(path):
                self._count(cost_usd)
        except BaseException:
            self._file.close()
            raise

    def get(self, key: str, max_tokens: int = 0) -> Completion | None:
        """The stored answer, unless it was cut at fewer than `max_tokens` and may now be longer.

        Nor is "it does not fit the context" an answer to who asks for fewer tokens than were asked for then.
        """
        held = self._known.get(key)
        if held is None:
            return None
        reason, completion = held.completion.finish_reason, held.completion
        if (reason == "length" and held.max_tokens < max_tokens) or (
            reason == "context_length" and held.max_tokens > max_tokens
        ):
            return None
        if not held.logprobs:
            return completion
        return msgspec.structs.replace(completion, logprobs=msgspec.json.decode(held.logprobs))

    def put(self, key: str, sample: int, teacher: str, request: Request, completion: Completion) -> None:
        """Write the answer to the disk, then hold it. Raises StorageError where it cannot be written."""
        logprobs = NO_LOGPROBS
        if completion.logprobs is not None:
            logprobs = msgspec.Raw(msgspec.json.encode(completion.logprobs))
            completion = msgspec.structs.replace(completion, logprobs=None)
        call = Call(
            key=key,
            sample=sample,
            teacher=teacher,
            request=request,
            response=Response(completion.text, completion.finish_reason, logprobs),
            usage=Usage(completion.prompt_tokens, completion.completion_tokens),
            cost_usd=completion.cost_usd,
            latency_s=completion.latency_s,
            model=completion.model,
            at=time.time(),
        )
        self._file.append(call)
        self._known[key] = _Held(request.max_tokens, completion, logprobs)
        self._count(completion.cost_usd)

    def close(self) -> None:
        """Sync to the disk and close."""
        self._file.close()

    def _load(self, path: Path) -> list[float | None]:
        costs = []
        for _, call in jsonl.read(path, _Stored, hint=HINT):
            self._known[call.key] = call.held()
            costs.append(call.cost_usd)
        return costs

    def _count(self, cost_usd: float | None) -> None:
        self.calls += 1
        self.cost_usd = add_cost(self.cost_usd, cost_usd)


def spent(path: Path, prices: Prices = UNKNOWN, teacher: str = "") -> tuple[int, float | None]:
    """Calls in a ledger and their USD (None: some price is unknown), leaving the file as it is.

    Calls to `teacher` whose price nobody knew when they were made are counted at `prices`.
    A damaged last line is passed over: its process was killed, or is just writing it. Raises DataError
    (file:line) where one before it is damaged. No file is no call.
    """
    calls = 0
    cost_usd: float | None = 0.0
    damaged: DataError | None = None
    for number, line in jsonl.lines(path) if path.exists() else ():
        if damaged:
            raise damaged
        try:
            call = msgspec.json.decode(line, type=_Price)
            paid = priced(call.cost_usd, call.usage, prices) if call.teacher == teacher else call.cost_usd
            cost_usd = add_cost(cost_usd, paid)
            calls += 1
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            damaged = DataError(f"not a call: {error}", where=f"{path}:{number}", hint=HINT)
    return calls, cost_usd


def priced(paid_usd: float | None, used: Usage | Completion, prices: Prices) -> float | None:
    """What was paid for a call; where that is unknown, what its tokens cost at `prices`."""
    if paid_usd is not None:
        return paid_usd
    return cost_usd(used.prompt_tokens, used.completion_tokens, prices.input, prices.output)


def add_cost(total_usd: float | None, cost_usd: float | None) -> float | None:
    """The sum; None as soon as one of them is unknown."""
    return None if total_usd is None or cost_usd is None else total_usd + cost_usd


def call_key(identity: str, request: Request, sample: int) -> str:
    """What a call is known by: all that decides its answer but the room it was given."""
    parts = msgspec.structs.asdict(request)
    del parts["max_tokens"]
    if request.top_logprobs is None:
        del parts["top_logprobs"]  # as the keys written before there was such a field
    return content_id(identity, parts, sample)
