"""What is written into a batch's file, and what is read of a batch and of its answers.

Pure: refuses to open a connection, and to take a line that has no answer for one that has.
"""

from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from distill.errors import BudgetReached, Interrupted, TeacherError
from distill.teacher import wire
from distill.teacher.faults import Refusal, Scrub, status_fault, too_long, unsupported, withheld
from distill.teacher.pool import RESUMES
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

URL: Final = "/v1/chat/completions"
MOST_REQUESTS = 50_000
MOST_BYTES = 200 * 10**6
OVER = ("completed", "failed", "expired", "cancelled")
TOO_MANY_TOKENS = "token_limit_exceeded"


class Enqueued(TryAgain):
    """The endpoint holds as many of the account's tokens as it takes at a time."""


class Counts(msgspec.Struct):
    """How far a batch is."""

    completed: int = 0
    failed: int = 0
    total: int = 0


class BatchError(msgspec.Struct):
    """Why a batch, or a line of it, has no answer."""

    code: str | None = None
    message: str | None = None


class _Errors(msgspec.Struct):
    data: list[BatchError] | None = None


class Batch(msgspec.Struct):
    """What is read of a batch; times are Unix."""

    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: Counts | None = None
    errors: _Errors | None = None
    created_at: float | None = None
    completed_at: float | None = None
    expired_at: float | None = None

    @property
    def over(self) -> bool:
        """Will nothing more come?"""
        return self.status in OVER

    @property
    def took_s(self) -> float:
        """Seconds from creation to end; 0 where the endpoint does not say."""
        ended = self.completed_at or self.expired_at
        return max(0.0, ended - self.created_at) if ended and self.created_at else 0.0

    @property
    def trouble(self) -> BatchError:
        """The first error of a failed batch."""
        return ((self.errors and self.errors.data) or [BatchError(message="no reason given")])[0]


class _Answer(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class Line(msgspec.Struct):
    """One line of an output or error file."""

    custom_id: str
    response: _Answer | None = None
    error: BatchError | None = None


class Reader:
    """What became of each request: its answer, TryAgain where another batch may have it, or an error.

    `prices` are a batch's, in USD per million tokens. `left_out` grows by what the endpoint does not take.
    """

    def __init__(
        self,
        model: str,
        endpoint: str,
        *,
        prices: tuple[float | None, float | None],
        scrub: Scrub,
        left_out: set[str],
    ) -> None:
        self._model, self._endpoint = model, endpoint
        self._prices, self._scrub = prices, scrub
        self._left_out = left_out

    def outcome(
        self, line: Line | None, request: Request, batch: Batch, latency_s: float
    ) -> Completion | Exception:
        """The answer, TryAgain or DistillError for one request of `batch`, which is over."""
        if line is None or line.response is None:
            return self._unanswered(line.error if line else None, batch)
        content = bytes(line.response.body)
        if line.response.status_code >= 300:
            return self._refused(Refusal(line.response.status_code, {}, content), request, latency_s)
        try:
            return wire.completion(
                content, model=self._model, prices=self._prices, latency_s=latency_s, scrub=self._scrub
            )
        except TryAgain as fault:
            return fault

    def _unanswered(self, error: BatchError | None, batch: Batch) -> Exception:
        if batch.status == "cancelled":
            return Interrupted(f"batch {batch.id} was cancelled at the endpoint", hint=RESUMES)
        if batch.status == "failed":
            return self._failed(batch.trouble)
        why = (error and (error.message or error.code)) or "it has no answer for it"
        return TryAgain(f"batch {batch.id} {batch.status}: {self._scrub(why)}")

    def _failed(self, trouble: BatchError) -> Exception:
        why = self._scrub(trouble.message or trouble.code or "no reason given")
        if trouble.code == TOO_MANY_TOKENS:
            return Enqueued(why)
        content = msgspec.json.encode({"error": {"code": trouble.code, "message": trouble.message}})
        fault = status_fault(Refusal(400, {}, content), self._model, self._endpoint, self._scrub)
        return fault if isinstance(fault, BudgetReached) else refusal_of(self._endpoint, why)

    def _refused(self, refusal: Refusal, request: Request, latency_s: float) -> Completion | Exception:
        reason = "content_filter" if withheld(refusal) else "context_length" if too_long(refusal) else None
        if reason:
            return wire.refused(
                refusal.content, reason, model=self._model, prices=self._prices, latency_s=latency_s
            )
        # Against all that could be sent: an earlier line of this batch may have said it already.
        choices = wire.body(self._model, request, 0, ()).keys() - {"model", "messages"}
        name = unsupported(refusal, choices) if refusal.status in (400, 422) else None
        if name is not None:
            self._left_out.add(name)
            return TryAgain(f"{self._endpoint} does not take {name}")
        return status_fault(refusal, self._model, self._endpoint, self._scrub)


def refusal_of(endpoint: str, why: str) -> TeacherError:
    """The error of a batch the endpoint does not take."""
    return TeacherError(
        f"{endpoint} refuses the batch: {why}",
        where="--batch",
        hint="leave --batch out to ask live; what is answered already is kept",
    )


def request_line(key: str, model: str, request: Request, sample: int, left_out: Collection[str]) -> bytes:
    """The line of a batch's file that asks `request`; its custom_id is the ledger's `key`."""
    body = wire.body(model, request, sample, left_out)
    return msgspec.json.encode({"custom_id": key, "method": "POST", "url": URL, "body": body}) + b"\n"


def read_lines(content: bytes) -> Iterator[Line]:
    """The lines that are whole; a request whose line is not is one without an answer."""
    decoder = msgspec.json.Decoder(Line)
    for line in content.splitlines():
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
