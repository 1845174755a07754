"""A teacher that asks through the Batch API: requests are parked, sent together, and answered within a day.

Refuses to buy again what a batch of an earlier process holds, to hand out an answer before it is in the
ledger, and to send a first batch before one live call has shown what the endpoint takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from distill.errors import BudgetReached, DistillError, Interrupted, TeacherError
from distill.teacher.batch_api import BatchApi
from distill.teacher.batch_carry import Carrier, Outcomes, Purse
from distill.teacher.batch_group import Call, Group, packed
from distill.teacher.batch_log import BatchLog
from distill.teacher.batch_wire import MOST_REQUESTS, Enqueued, Reader
from distill.teacher.budget import Budget
from distill.teacher.endpoint import identity
from distill.teacher.ledger import Ledger, call_key
from distill.teacher.pool import RESUMES, Pool
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

HALF = 0.5
TIMES_SENT = 3
AT_ONCE = 1000


class BatchTeacher:
    """`api`'s model, asked in batches of up to `most`; under `live_below` requests at a time go to `live`.

    `prices` are the live ones in USD per million tokens, of which a batch costs `share`; a batch holds no
    more than `budget` can bear at worst. Answers are written to `ledger` as a batch is collected, also those
    nobody waits for any more; `path` is where batches are remembered across processes. A batch is closed
    when no request came for `quiet_s`, and polled after `poll_s`, then ever more seldom. `left_out` is shared
    with the live client: what the endpoint does not take. `say` is told where batches are. Raises DataError
    where `path` is damaged.
    """

    def __init__(
        self,
        api: BatchApi,
        ledger: Ledger,
        path: Path,
        *,
        prices: tuple[float | None, float | None] = (None, None),
        share: float = HALF,
        budget: Budget | None = None,
        live: Pool | None = None,
        live_below: int = 10,
        left_out: set[str] | None = None,
        most: int = AT_ONCE,
        quiet_s: float = 1.0,
        poll_s: float = 5.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.most = live.most if live and live_below > MOST_REQUESTS else min(most, MOST_REQUESTS)
        self.say = say
        self._api, self._live, self._live_below, self._quiet_s = api, live, live_below, quiet_s
        self._left_out = set() if left_out is None else left_out
        price_in, price_out = (None if price is None else price * share for price in prices)
        reader = Reader(
            api.model, api.endpoint, prices=(price_in, price_out), scrub=api.scrub, left_out=self._left_out
        )
        self._log = BatchLog(path, self.identity)
        self._purse = Purse(budget, share)
        self._carrier = Carrier(api, self._log, ledger, reader, self._purse, poll_s=poll_s, say=self._say)
        self._calls: dict[str, Call] = {}
        self._parked: list[Call] = []
        self._gathering: asyncio.Task[None] | None = None
        self._carrying: dict[asyncio.Task[None], Group] = {}
        self._heard_live = False
        self._one_by_one = False
        self._stopped = False
        self._over: DistillError | None = None

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        return self._api.model

    @property
    def identity(self) -> str:
        """Model and endpoint: a batch's answers are those of live calls, under the same keys."""
        return identity(self._api.model, self._api.endpoint)

    @property
    def owed(self) -> list[tuple[Request, int]]:
        """Requests and samples of batches sent and not collected: what they cost is not in the ledger yet."""
        return [(one.request, one.sample) for group in self._log.open for one in group.asked.values()]

    @property
    def in_flight(self) -> int:
        """Calls sent, in a batch or live, and not yet answered."""
        return sum(len(group.asked) for group in self._log.open) + (self._live.in_flight if self._live else 0)

    @property
    def limit(self) -> int:
        """Calls that one batch takes now."""
        return self.most

    def is_sending(self, task: "asyncio.Task[Any]") -> bool:
        """Does `task` wait for a live answer? One of a batch is not lost with the task that waits."""
        return self._live is not None and self._live.is_sending(task)

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The answer, once its batch has it. In a task of its own: see `is_sending`.

        Raises Interrupted after `stop`, or where someone cancelled the batch; TeacherError, CredentialsError,
        BudgetReached, and UsageError where there is no Batch API.
        """
        if self._over:
            raise self._over
        self._resume()
        key = call_key(self.identity, request, sample)
        call = self._calls.get(key)
        if call is None or call.answer.done() or call.request.max_tokens < request.max_tokens:
            call = self._calls[key] = Call(key, request, sample)
            call.answer.add_done_callback(lambda _: self._forget(call))
            self._place(call)
        call.waiters += 1
        try:
            answer = await asyncio.shield(call.answer)
        finally:
            call.waiters -= 1
        if answer is None:
            assert self._live is not None  # nothing is sent to it otherwise
            answer = await self._live.complete(request, sample)
            self._heard_live = True
        return answer

    async def harvest(self) -> int:
        """Record what earlier batches answered (before the first call). How many calls are left."""
        for group in [group for group in self._log.open if group not in self._carrying.values()]:
            await self._carrier.look(group)
        return len(self.owed)

    def stop(self) -> None:
        """Send and poll no more, at once; what is sent goes on at the endpoint, and that is said."""
        for group in [] if self._stopped else self._log.open:
            name = group.batch or f"of {group.file}"
            self._say(f"batch {name} ({len(group.asked):,} requests) goes on at the endpoint; {RESUMES}")
        self._stopped = True
        if self._live:
            self._live.stop()
        self._end(Interrupted("stopped before everything was answered", hint=RESUMES))

    async def close(self) -> None:
        """Stop; record a live answer under way; close the connections and the live teacher."""
        self.stop()
        try:
            await asyncio.gather(*self._tasks(), return_exceptions=True)
            await self._api.close()
            if self._live:
                await self._live.close()
        finally:
            self._log.close()

    def _say(self, text: str) -> None:
        if self.say:
            self.say(text)

    def _tasks(self) -> list["asyncio.Task[None]"]:
        return [*self._carrying, *([self._gathering] if self._gathering else [])]

    def _end(self, error: DistillError) -> None:
        """Let nothing more begin, and no one wait on."""
        self._over = self._over or error
        for task in self._tasks():
            if task is not asyncio.current_task() and not self.is_sending(task):
                task.cancel()
        waiting = [call for group in self._carrying.values() for call in group.waiting.values()]
        for call in [*waiting, *self._parked, *self._calls.values()]:
            call.settle(self._over)

    def _resume(self) -> None:
        """Carry on with the batches of earlier processes: their tasks need the loop of the first call."""
        carried = list(self._carrying.values())
        for group in [group for group in self._log.open if group not in carried]:
            name, size = group.batch or f"of {group.file}", len(group.asked)
            self._say(f"batch {name} of an earlier session: {size:,} requests, looking for answers")
            self._start(group)

    def _forget(self, call: Call) -> None:
        if self._calls.get(call.key) is call:
            del self._calls[call.key]

    def _place(self, call: Call) -> None:
        """Into the batch that has it already, else to those that wait for the next."""
        for group in self._carrying.values():
            if not group.over and group.has(call.key, call.request.max_tokens):
                group.waiting[call.key] = call
                return
        self._park([call])

    def _park(self, calls: list[Call]) -> None:
        self._parked += calls
        if self._parked and (self._gathering is None or self._gathering.done()):
            self._gathering = asyncio.create_task(self._guarded(self._gather))

    async def _gather(self) -> None:
        """Send off what is parked, until nothing is."""
        while self._parked and not self._over:
            if not (self._live and self._live_below > self.most):  # else all go live: what to wait for?
                await self._quiet()
            if self._one_by_one and self._carrying:
                await asyncio.wait(self._carrying)
            self._drop_unwanted()
            if self._live and len(self._parked) < self._live_below:
                calls, self._parked = self._parked, []
                for call in calls:
                    call.settle(None)
            elif self._live and self._parked and not self._heard_live:
                await self._scout(self._live, self._parked[0])
            elif self._parked:
                await self._send_off(self._parked[0])

    def _drop_unwanted(self) -> None:
        """Park no call that nobody waits for any more."""
        for call in (call for call in self._parked if not call.waiters):
            call.answer.cancel()
        self._parked = [call for call in self._parked if call.waiters]

    async def _quiet(self) -> None:
        """Until nothing was parked for `quiet_s`, or a batch is full."""
        before = -1
        while before < len(self._parked) < self.most:
            before = len(self._parked)
            await asyncio.sleep(self._quiet_s)

    async def _scout(self, live: Pool, call: Call) -> None:
        """Ask one call live first: what the endpoint refuses is learned in seconds rather than in a day."""
        answer = await live.complete(call.request, call.sample)
        self._heard_live = True
        self._parked.remove(call)
        call.settle(self._carrier.record(call.key, call.sample, call.request, answer))

    async def _send_off(self, first: Call) -> None:
        """Start a batch of as many as fit once `first`, the next, does; the rest stays parked."""
        room_usd = await self._purse.room_usd(first.request)
        self._drop_unwanted()
        if self._parked[:1] == [first]:
            calls, worst_usd = self._parked[: self.most], self._purse.worst_usd
            group, content = packed(calls, self.model, self._left_out, worst_usd, room_usd)
            self._purse.earmark(group)
            self._parked = self._parked[len(group.asked) :]
            self._start(group, content)

    def _start(self, group: Group, content: bytes = b"") -> None:
        task = asyncio.create_task(self._guarded(self._carry, group, content))
        self._carrying[task] = group
        task.add_done_callback(self._carrying.pop)

    async def _guarded(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        """An error of a task that nobody awaits is that of everyone who waits for an answer."""
        try:
            await work(*given)
        except DistillError as error:
            self._end(error)
        except Exception as error:
            self._end(TeacherError(f"the batch cannot go on: {type(error).__name__}: {error}", hint=RESUMES))

    async def _carry(self, group: Group, content: bytes) -> None:
        outcomes = await self._carrier.carry(group, content)
        if any(isinstance(outcome, Enqueued) for outcome in outcomes.values()):
            self._make_smaller(group)
        self._hand_out(group, outcomes)

    def _hand_out(self, group: Group, outcomes: Outcomes) -> None:
        """Answers and errors to who waits; what another batch may answer is parked, or asked live."""
        again = []
        for key, call in group.waiting.items():
            outcome = outcomes[key]
            if not isinstance(outcome, TryAgain):
                call.settle(outcome)
            elif call.times_sent < TIMES_SENT or isinstance(outcome, Enqueued):
                again.append(call)
            elif self._live:
                call.settle(None)
            else:
                call.settle(TeacherError(f"{outcome.reason} ({TIMES_SENT} batches)", hint=RESUMES))
        group.waiting.clear()
        group.over = True
        self._park(again)

    def _make_smaller(self, group: Group) -> None:
        """The account may enqueue no more tokens: one batch at a time from now on, and if it was, smaller.

        Where too few are left for a batch, all go live. Raises BudgetReached where there is no live teacher.
        """
        if len(self._carrying) == 1:
            self.most = len(group.asked) // 2
        self._one_by_one = True
        if self.most >= (self._live_below if self._live else 1):
            return
        if self._live is None:
            raise BudgetReached("the endpoint's limit of enqueued tokens is reached", hint=RESUMES)
        self._say("the endpoint takes no batch now (enqueued tokens): the rest is asked live")
        self._live_below, self.most = MOST_REQUESTS + 1, MOST_REQUESTS
