"""The one owner of concurrency and retries: calls in flight are bounded, and the bound follows the endpoint.

Refuses to count "slow down" (429) as a failure, and to go on sending once told to stop.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from distill.errors import BudgetReached, Interrupted, TeacherError, TeacherGone
from distill.teacher.limit import Limit
from distill.teacher.protocol import Teacher, TryAgain
from distill.types import Completion, Request

START = 32
# Who allows 512 knows an endpoint that bears 64: three doublings, not four, to what was allowed.
START_SHARE = 8
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
TRIES_ABSENT = 3
LIMITED_S = 600.0
RESUMES = "run the same command again: it resumes"


class Pool:
    """A teacher that calls another, at most `limit` calls at once, and asks again where that may help.

    `limit` starts at `start` (default 32, or an eighth of `max_concurrency`, if that is more) and follows the
    endpoint (see `Limit`), never over `most`.
    A call that fails (5xx, timeout, dropped or damaged answer) is retried with full jitter until its
    failures took `max_wait_s`. A 429 makes every caller wait and costs no retry; but nothing else for
    `max_limited_s` (default ten minutes, or twice `max_wait_s` if that is longer) means the quota is spent.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        max_concurrency: int = 16,
        max_wait_s: float = 300.0,
        max_limited_s: float | None = None,
        start: int | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._teacher = teacher
        self._on_stop = on_stop
        self.most = max_concurrency
        self._max_wait_s = max_wait_s
        self._max_limited_s = max(LIMITED_S, 2 * max_wait_s) if max_limited_s is None else max_limited_s
        self._limited_since: float | None = None
        self._jitter = random.Random()
        self._limit = Limit(start or max(START, max_concurrency // START_SHARE), most=max_concurrency)
        self._held = 0
        self._sending: set[asyncio.Task[Any] | None] = set()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._stopping = asyncio.Event()
        self._answered = False
        self._bursts = 0
        self._cut_at = float("-inf")
        self._resume_at = float("-inf")

    @property
    def model(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.model

    @property
    def identity(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.identity

    @property
    def in_flight(self) -> int:
        """Calls sent and not yet answered."""
        return len(self._sending)

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return self._limit.calls

    def is_sending(self, task: "asyncio.Task[Any]") -> bool:
        """Does `task` wait for an answer just now? To cancel it would lose what is paid for."""
        return task in self._sending

    def stop(self) -> None:
        """Send nothing more: whoever waits to send gets Interrupted at once. Calls already sent go on."""
        self._stopping.set()
        self._on_stop()
        self._wake()

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The teacher's answer, however often it must be asked. In a task of its own: see `is_sending`.

        Raises Interrupted after `stop`, TeacherError when retries are used up, BudgetReached when only 429s
        came for too long, and what the wrapped teacher raises.
        """
        tries, spent_s, again = 0, 0.0, False
        while True:
            await self._enter(again=again)
            started, again = monotonic(), True
            try:
                return await self._send(request, sample)
            except TryAgain as fault:
                if fault.rate_limited:
                    self._slow_down(started, fault.after_s)
                    continue
                if fault.overdue:
                    self._cut(started)
                tries += 1
                spent_s += monotonic() - started
                wait_s = self._backoff(fault, tries, spent_s)
            finally:
                self._leave()
            await self._nap(wait_s)
            spent_s += wait_s

    async def close(self) -> None:
        """Stop, and close the wrapped teacher."""
        self.stop()
        await self._teacher.close()

    async def _send(self, request: Request, sample: int) -> Completion:
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            completion = await self._teacher.complete(request, sample)
        except TryAgain as fault:
            self._answered |= not fault.unreachable
            if not fault.rate_limited:
                self._limited_since = None
            raise
        finally:
            self._sending.discard(task)
        self._answered = True
        self._limited_since = None
        self._bursts = 0
        self._limit.rise(self._held)
        return completion

    def _slow_down(self, sent_at: float, after_s: float) -> None:
        """Cut the limit once for all calls that were already under way, and hold everyone back.

        Raises BudgetReached where nothing but "slow down" has been heard for too long.
        """
        now = monotonic()
        if self._limited_since is None:
            self._limited_since = now
        limited_s = now - self._limited_since
        if limited_s >= self._max_limited_s:
            raise BudgetReached(
                f"rate limited for {limited_s:.0f} s without one answer",
                where=f"model {self.model}",
                hint=f"{RESUMES}; lower --max-concurrency, or wait for the quota",
            ) from None
        if self._cut(sent_at):
            self._bursts += 1
        wait_s = after_s or self._jitter.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, 2.0 ** (self._bursts - 1))
        self._resume_at = max(self._resume_at, now + wait_s)

    def _cut(self, sent_at: float) -> bool:
        """Cut the limit, unless a call sent before the last cut says so; was it cut?"""
        if sent_at < self._cut_at:
            return False
        self._cut_at = monotonic()
        self._limit.cut(self._held)
        return True

    def _backoff(self, fault: TryAgain, tries: int, spent_s: float) -> float:
        """Seconds to wait before asking again. Raises TeacherError where that is no use any more."""
        absent = fault.unreachable and not self._answered
        if (absent and tries >= TRIES_ABSENT) or spent_s >= self._max_wait_s:
            times = "once" if tries == 1 else f"{tries} times in {spent_s:.0f} s"
            hint = "is it running, and is --base-url right?" if absent else RESUMES
            raise (TeacherGone if absent else TeacherError)(
                f"{fault.reason} (tried {times})", where=f"model {self.model}", hint=hint
            ) from None
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**tries)
        wait_s = 1.0 if absent else max(fault.after_s, self._jitter.uniform(0, longest_s))
        return min(wait_s, self._max_wait_s - spent_s)

    async def _enter(self, *, again: bool) -> None:
        """Take a slot, then wait out a pause the endpoint asked for. Raises Interrupted once stopped."""
        if self._held < self.limit and not self._queue:
            self._held += 1
        else:
            await self._turn(again=again)
        try:
            while (wait_s := self._resume_at - monotonic()) > 0 or self._stopping.is_set():
                await self._nap(wait_s)
        except BaseException:
            self._leave()
            raise

    async def _turn(self, *, again: bool) -> None:
        """Queue for a slot, ahead of everyone where the call was sent once: results are wanted in order."""
        turn = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if again else self._queue.append)(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # a slot was given to us already: hand it on
            raise

    def _leave(self) -> None:
        self._held -= 1
        self._wake()

    def _wake(self) -> None:
        """Give free slots to those who have waited longest; everyone, once stopping."""
        while self._queue and (self._held < self.limit or self._stopping.is_set()):
            turn = self._queue.popleft()
            if not turn.done():
                self._held += 1
                turn.set_result(None)

    async def _nap(self, wait_s: float) -> None:
        """Sleep, unless stopped. Raises Interrupted."""
        if wait_s > 0 and not self._stopping.is_set():
            try:
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            except TimeoutError:
                return
        if self._stopping.is_set():
            raise Interrupted("stopped before everything was asked", hint=RESUMES)
