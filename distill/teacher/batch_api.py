"""The Batch endpoints of an OpenAI-compatible API: upload, create, look up, download.

Refuses to create a batch twice: a creation that was not confirmed is looked for before it is tried again.
Source: developers.openai.com/api/docs/guides/batch.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from distill.errors import BudgetReached, DistillError, TeacherError, UsageError
from distill.teacher.batch_wire import URL, Batch, Line, read_lines, refusal_of
from distill.teacher.endpoint import is_loopback, public_url
from distill.teacher.faults import OF_REQUEST, Refusal, Scrub, status_fault
from distill.teacher.protocol import TryAgain

T = TypeVar("T")
ABSENT = (404, 405, 501)
TRIES_ABSENT = 3
LONGEST_NAP_S = 30.0
CLOCKS_APART_S = 86400.0
NOT_CONNECTED = ("ConnectError", "ConnectTimeout")


class _File(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[Batch]
    has_more: bool = False


class BatchApi:
    """The endpoints at `base_url`. What a retry may mend is retried for `max_wait_s` seconds.

    Every method raises TeacherError when that is over, and CredentialsError, BudgetReached, UsageError.
    `settle_s` is how long a request that was cut off may take to show in the endpoint's list of batches.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float = 600.0,
        max_wait_s: float = 3600.0,
        settle_s: float = 30.0,
    ) -> None:
        import openai

        self.model = model
        self.endpoint = public_url(base_url)
        self.scrub = Scrub(api_key)
        self._max_wait_s = max_wait_s
        self._settle_s = settle_s
        self._answered = False
        # A proxy cannot reach this machine's own loopback, whatever the environment says.
        http = openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(base_url))
        # No retry of the client's own: it would create a batch again after a dropped answer.
        self._client = openai.AsyncOpenAI(
            api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0, http_client=http
        )
        self._files = self._client.files.with_raw_response
        self._batches = self._client.batches.with_raw_response

    async def upload(self, content: bytes) -> str:
        """The id of a file of request lines."""
        call = lambda: self._files.create(file=("batch.jsonl", content), purpose="batch")  # noqa: E731
        return decoded(await self._patiently(call, self._no_batches()), _File).id

    async def create(self, file: str, sent_at: float, about: dict[str, str], *, perhaps: bool) -> str:
        """The id of the one batch made of `file`, uploaded at Unix time `sent_at`; `about` is its metadata.

        `perhaps`: an earlier process may have made it.
        """
        started, tries = time.time(), 0
        while True:
            if perhaps:
                await asyncio.sleep(self._settle_s)
                if found := await self._find(file, sent_at):
                    return found
            try:
                made = await self._attempt(self._creating(file, about), self._no_batches())
                return decoded(made, Batch).id
            except TryAgain as fault:
                tries += 1
                perhaps = perhaps or not (fault.unreachable or fault.rate_limited)
                await self._nap(fault, tries, started)

    async def batch(self, name: str) -> Batch:
        """How far batch `name` is."""
        answer = await self._patiently(lambda: self._batches.retrieve(name), self._unknown(f"batch {name}"))
        batch = decoded(answer, Batch)
        batch.status = batch.status.lower()
        return batch

    async def lines(self, batch: Batch) -> list[Line]:
        """What a batch that is over has answered, refused or left: in no order, and not all of it."""
        found: list[Line] = []
        for name in (batch.output_file_id, batch.error_file_id):
            if name:
                found += read_lines(await self._download(name))
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _download(self, name: str) -> bytes:
        return await self._patiently(lambda: self._files.content(name), self._unknown(f"file {name}"))

    def _creating(self, file: str, about: dict[str, str]) -> Callable[[], Awaitable[Any]]:
        return lambda: self._batches.create(
            input_file_id=file, endpoint=URL, completion_window="24h", metadata=about
        )

    async def _find(self, file: str, sent_at: float) -> str | None:
        """The batch made of `file`. The list has the newest first."""
        after: dict[str, Any] = {}
        while True:
            listing = lambda: self._batches.list(limit=100, **after)  # noqa: B023, E731
            page = decoded(await self._patiently(listing, self._no_batches()), _Page)
            for batch in page.data:
                if batch.input_file_id == file:
                    return batch.id
            oldest = page.data[-1] if page.data else None
            if oldest is None or not page.has_more:
                return None
            if oldest.created_at and oldest.created_at < sent_at - CLOCKS_APART_S:
                return None
            after = {"after": oldest.id}

    async def _patiently(self, call: Callable[[], Awaitable[Any]], absent: DistillError) -> bytes:
        """For what may be asked twice without harm."""
        started, tries = time.time(), 0
        while True:
            try:
                return await self._attempt(call, absent)
            except TryAgain as fault:
                tries += 1
                await self._nap(fault, tries, started)

    async def _nap(self, fault: TryAgain, tries: int, since: float) -> None:
        """Wait before the next try. Raises TeacherError where there is none."""
        absent = fault.unreachable and not self._answered and tries >= TRIES_ABSENT
        if absent or time.time() - since > self._max_wait_s:
            hint = "run the same command again: it resumes"
            raise TeacherError(
                f"{fault.reason} (tried {tries} times)",
                where=f"model {self.model}",
                hint="is it running, and is --base-url right?" if absent else hint,
            ) from None
        longest_s = min(LONGEST_NAP_S, 0.25 * 2.0**tries)
        await asyncio.sleep(max(fault.after_s, random.uniform(longest_s / 2, longest_s)))

    async def _attempt(self, call: Callable[[], Awaitable[Any]], absent: DistillError) -> bytes:
        import openai

        try:
            response = await call()
        except openai.APIStatusError as error:
            refusal = Refusal(error.status_code, error.response.headers, error.response.content)
            raise self._fault(refusal, absent) from None
        except openai.APIConnectionError as error:
            unreachable = any(type(cause).__name__ in NOT_CONNECTED for cause in causes(error))
            what = "cannot connect to" if unreachable else "no whole answer from"
            raise TryAgain(f"{what} {self.endpoint}", unreachable=unreachable) from None
        self._answered = True
        content: bytes = response.content
        return content

    def _fault(self, refusal: Refusal, absent: DistillError) -> Exception:
        if refusal.status in ABSENT:
            return absent
        fault = status_fault(refusal, self.model, self.endpoint, self.scrub)
        if refusal.status in OF_REQUEST and not isinstance(fault, BudgetReached):
            return refusal_of(self.endpoint, self.scrub.error(refusal))
        return fault

    def _no_batches(self) -> UsageError:
        return UsageError(
            f"{self.endpoint} has no Batch API", where="--batch", hint="leave --batch out to ask live"
        )

    def _unknown(self, what: str) -> UsageError:
        return UsageError(
            f"{self.endpoint} does not know {what}",
            where="--batch",
            hint="is OPENAI_API_KEY of the account that sent it? Else move the step's batches.jsonl away: "
            "what it holds is then bought again",
        )


def decoded(content: bytes, kind: type[T]) -> T:
    """An endpoint's JSON answer. Raises TeacherError where it is another."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TeacherError(
            f"the endpoint answers with no {kind.__name__.strip('_').lower()}: {error}",
            where="--batch",
            hint="is --base-url right? Leave --batch out to ask live",
        ) from None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__
