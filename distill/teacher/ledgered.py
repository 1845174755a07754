"""A teacher that buys an answer once: what the ledger has is reused, what is bought is recorded first.

Refuses to lose a paid call: once sent it is recorded, whoever stopped waiting for it.
"""

import asyncio

from distill.errors import CredentialsError, Interrupted, StorageError, TeacherGone, UnknownModel
from distill.teacher.batch import BatchTeacher
from distill.teacher.budget import Budget
from distill.teacher.ledger import Ledger, add_cost, call_key, priced
from distill.teacher.pool import Pool
from distill.teacher.prices import UNKNOWN, Prices
from distill.teacher.protocol import Teacher
from distill.types import Completion, Request

AT_ONCE = 16
GONE = (TeacherGone, CredentialsError, UnknownModel)
"""What a teacher says that is no more: nothing listens, the key is refused, the model is not known."""


class _Purchase:
    """One call under way and how many wait for it."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self.waiters = 0


class Ledgered:
    """`teacher` (in earnest a `Pool`) in front of a ledger.

    Counts since it was opened: calls `bought` and `reused`, tokens, and `cost_usd` (None as soon as any
    price was unknown). The ledger's own counts go over all sessions.
    """

    def __init__(
        self, teacher: Teacher, ledger: Ledger, budget: Budget | None = None, prices: Prices = UNKNOWN
    ) -> None:
        self._teacher = teacher
        self._pool = teacher if isinstance(teacher, (Pool, BatchTeacher)) else None
        self._buying: dict[str, _Purchase] = {}
        self._stopped = False
        self._gone: TeacherGone | CredentialsError | UnknownModel | None = None
        self.ledger = ledger
        self.bought = 0
        self.reused = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_usd: float | None = 0.0
        self.budget = budget
        self.prices = prices

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
        return self._pool.in_flight if self._pool else len(self._buying)

    @property
    def limit(self) -> int | None:
        """Calls that may be in flight now; None where nothing bounds them."""
        return self._pool.limit if self._pool else None

    @property
    def ahead(self) -> int:
        """How many works to run at once (see `flow.ordered`) so that one slow answer idles no slot."""
        return 2 * (self._pool.most if self._pool else AT_ONCE)

    @property
    def budget_usd(self) -> float | None:
        """What may be spent; None where nothing bounds it."""
        return self.budget.total_usd if self.budget else None

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The stored answer where there is one, else the bought one, on disk before it is returned.

        Equal requests at the same time are bought once, and a teacher that is gone is not asked again. Raises
        what the teacher raises, and StorageError where the answer cannot be written.
        """
        key = call_key(self.identity, request, sample)
        reused = True
        while (answer := self.ledger.get(key, request.max_tokens)) is None:
            purchase = self._buying.get(key)
            if purchase is None or purchase.task.done():
                reused = False
                purchase = self._start(key, request, sample)
            await self._wait(purchase)
        self.reused += reused
        return answer

    def price(self, request: Request, sample: int = 0) -> float | None:
        """What the stored answer cost, or would at the `prices` there are; None where that is unknown."""
        answer = self.ledger.get(call_key(self.identity, request, sample), request.max_tokens)
        return priced(answer.cost_usd, answer, self.prices) if answer else None

    def stop(self) -> None:
        """Send nothing more; calls already sent go on, and stored answers are still given."""
        self._stopped = True
        if self._pool:
            self._pool.stop()

    async def close(self) -> None:
        """Stop, wait for what is paid for and record it, then close teacher and ledger.

        Raises StorageError where such a late answer cannot be written.
        """
        self.stop()
        purchases = [purchase.task for purchase in self._buying.values()]
        try:
            late = await asyncio.gather(*purchases, return_exceptions=True)
        finally:
            try:
                await self._teacher.close()
            finally:
                self.ledger.close()
        for error in late:
            if isinstance(error, StorageError):
                raise error

    def _start(self, key: str, request: Request, sample: int) -> _Purchase:
        if self._stopped:
            raise Interrupted(
                "stopped before everything was asked", hint="run the same command again: it resumes"
            )
        if self._gone:
            raise self._gone
        purchase = _Purchase(asyncio.create_task(self._buy(key, request, sample)))
        self._buying[key] = purchase
        purchase.task.add_done_callback(lambda _: self._ended(key, purchase))
        return purchase

    def _ended(self, key: str, purchase: _Purchase) -> None:
        if self._buying.get(key) is purchase:
            del self._buying[key]
        if not purchase.task.cancelled():
            purchase.task.exception()  # marks it as seen: with no one left waiting, it is no one's error

    async def _wait(self, purchase: _Purchase) -> None:
        """Until it is bought. The last to stop waiting takes an unsent call back; a sent one goes on."""
        task = purchase.task
        purchase.waiters += 1
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if task.cancelled() and not (me and me.cancelling()):
                return  # it was taken back as we came: buy it anew
            if purchase.waiters == 1 and not (self._pool and self._pool.is_sending(task)):
                task.cancel()
            raise
        finally:
            purchase.waiters -= 1

    async def _buy(self, key: str, request: Request, sample: int) -> None:
        try:
            completion = await self._teacher.complete(request, sample)
        except GONE as error:
            self._gone = error
            raise
        # A batch writes its answers down itself: there are more of them than wait here.
        if self.ledger.get(key, request.max_tokens) is not completion:
            self.ledger.put(key, sample, self.identity, request, completion)
        self.bought += 1
        self.prompt_tokens += completion.prompt_tokens or 0
        self.completion_tokens += completion.completion_tokens or 0
        self.cost_usd = add_cost(self.cost_usd, completion.cost_usd)
