"""One batch from upload to the last answer, wherever an earlier process left it.

Refuses to upload without writing down what, and to call a batch collected before the ledger has its answers.
"""

import asyncio
import time
from collections.abc import Callable

from distill.teacher.batch_api import BatchApi
from distill.teacher.batch_group import Group
from distill.teacher.batch_log import BatchLog
from distill.teacher.batch_wire import Batch, Reader
from distill.teacher.budget import Budget
from distill.teacher.endpoint import identity
from distill.teacher.ledger import Ledger, add_cost
from distill.types import Completion, Request

POLL_GROWS = 1.5
LONGEST_POLL_S = 60.0
TENTHS = 10

Outcomes = dict[str, Completion | Exception]


class Purse:
    """What batches set aside of a budget, if there is one; a batch costs `share` of a live call's price."""

    def __init__(self, budget: Budget | None, share: float) -> None:
        self._budget, self._share = budget, share

    def worst_usd(self, request: Request) -> float:
        """The most a request can cost in a batch; 0 without a budget. Raises as `Budget.worst_usd` does."""
        return self._share * self._budget.worst_usd(request) if self._budget else 0.0

    async def room_usd(self, request: Request) -> float:
        """What may be set aside, once it is enough for `request`. Raises as `Budget.reserve` does."""
        if self._budget is None:
            return 0.0
        self._budget.release(await self._budget.reserve(self.worst_usd(request)))
        return self._budget.room_usd

    def earmark(self, group: Group) -> None:
        """Set aside what `group` can cost at most, for which there is room: nothing is sent yet."""
        if self._budget:
            group.hold = self._budget.earmark(self._worst(group))

    def sent(self, group: Group) -> None:
        """From now on `group` may cost what was set aside, also if this process dies."""
        if self._budget and group.hold is not None:
            self._budget.sent(group.hold)
            group.held_usd = self._budget.held_usd(group.hold)

    def release(self, group: Group) -> None:
        """`group` was not sent after all."""
        if self._budget and group.hold is not None:
            self._budget.release(group.hold)
            group.hold = None

    def adopt(self, group: Group) -> None:
        """Set aside what an earlier session's `group` can cost: that session's own is counted as lost."""
        if self._budget:
            group.hold = self._budget.adopt(self._worst(group), group.held_usd)

    def settle(self, group: Group, usd: float | None) -> None:
        """`group` is collected and cost `usd` (None: unknown)."""
        if self._budget and group.hold is not None:
            self._budget.settle(group.hold, usd)

    def _worst(self, group: Group) -> float:
        return sum(self.worst_usd(one.request) for one in group.asked.values())


class Carrier:
    """Carries groups through `api`: remembered in `log`, answers to `ledger`, where they are to `say`.

    A batch is polled after `poll_s`, then ever more seldom. Every method raises DistillError.
    """

    def __init__(
        self,
        api: BatchApi,
        log: BatchLog,
        ledger: Ledger,
        reader: Reader,
        purse: Purse,
        *,
        poll_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._api, self._log, self._ledger, self._reader = api, log, ledger, reader
        self._purse = purse
        for group in log.open:
            purse.adopt(group)
        self._poll_s, self._say = poll_s, say
        self._identity = identity(api.model, api.endpoint)

    async def carry(self, group: Group, content: bytes = b"") -> Outcomes:
        """What became of each request, by key. `content` is the file of a group that is not yet sent."""
        if content:
            try:
                file = await self._api.upload(content)
            except BaseException:
                self._purse.release(group)
                raise
            self._purse.sent(group)
            self._log.sent(group, file)
        if not group.batch:
            await self._create(group, perhaps=not content)
        wait_s = self._poll_s
        while not (batch := await self._api.batch(group.batch)).over:
            self._tell(group, batch)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * POLL_GROWS, max(self._poll_s, LONGEST_POLL_S))
        return await self._collect(group, batch)

    async def look(self, group: Group) -> Outcomes | None:
        """What became of each request of a group an earlier process sent; None while its batch runs."""
        if not group.batch:
            await self._create(group, perhaps=True)
        batch = await self._api.batch(group.batch)
        return await self._collect(group, batch) if batch.over else None

    def record(self, key: str, sample: int, request: Request, answer: Completion) -> Completion:
        """Write an answer down, unless a process that died had done it; the one the ledger has."""
        known = self._ledger.get(key, request.max_tokens)
        if known is None:
            self._ledger.put(key, sample, self._identity, request, answer)
        return known or answer

    async def _create(self, group: Group, *, perhaps: bool) -> None:
        about = {"made_by": "distill", "group": group.name}
        self._log.created(group, await self._api.create(group.file, group.at, about, perhaps=perhaps))
        self._say(f"batch {group.batch}: {len(group.asked):,} requests sent; Ctrl-C leaves it running")

    def _tell(self, group: Group, batch: Batch) -> None:
        """Each further tenth."""
        counts = batch.request_counts
        done = counts.completed + counts.failed if counts else 0
        if done > group.done and TENTHS * (done - group.done) >= len(group.asked):
            group.done = done
            self._say(f"batch {group.batch}: {done:,} of {len(group.asked):,} done")

    async def _collect(self, group: Group, batch: Batch) -> Outcomes:
        lines = {line.custom_id: line for line in await self._api.lines(batch)}
        latency_s = batch.took_s or max(0.0, time.time() - group.at)
        outcomes: Outcomes = {}
        cost_usd: float | None = 0.0
        for key, one in group.asked.items():
            outcome = self._reader.outcome(lines.get(key), one.request, batch, latency_s)
            if isinstance(outcome, Completion):
                answer = self.record(key, one.sample, one.request, outcome)
                cost_usd = add_cost(cost_usd, outcome.cost_usd) if answer is outcome else cost_usd
                outcome = answer
            outcomes[key] = outcome
        self._log.ended(group, batch.status)
        self._purse.settle(group, cost_usd)
        answered = sum(isinstance(outcome, Completion) for outcome in outcomes.values())
        self._say(f"batch {group.batch}: {batch.status}, {answered:,} of {len(outcomes):,} answered")
        return outcomes
