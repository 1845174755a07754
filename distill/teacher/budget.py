"""A money stop that holds: what calls in flight may cost at most is set aside before they are sent.

Refuses to send a call that might overrun the budget, and to forget one that may have been billed without an
answer (timeout, dropped connection, kill -9): it counts as spent at its worst. What it cannot hold is an
endpoint that ignores max_tokens: that is counted as it is, and later calls are reserved for as much.
"""

import asyncio
import os
from pathlib import Path

import msgspec

from distill.errors import BudgetReached, DistillError, Interrupted, UsageError
from distill.store import jsonl
from distill.teacher.prices import Prices
from distill.teacher.protocol import Teacher, TryAgain
from distill.teacher.standing import Standing, journal_line, most_prompt_tokens
from distill.teacher.wire import cost_usd
from distill.types import Completion, Request


class Hold(msgspec.Struct, frozen=True):
    """What is set aside for one call: the most it should cost, and that widened by what others did cost.

    One not yet `sent` costs nothing if the process dies.
    """

    worst_usd: float
    usd: float
    sent: bool = True


class Budget:
    """`total_usd` for one step, or for several of which the `others_usd` are spent already.

    `before` is the step's own standing. It is kept in `journal`, one line written over in place for every
    call sent or answered (no sync: a kill keeps what the kernel has, a power cut may not), so that the next
    session counts what this one had in flight when it was killed.
    """

    def __init__(
        self, total_usd: float, prices: Prices, journal: Path, before: Standing, *, others_usd: float = 0.0
    ) -> None:
        self.total_usd = total_usd
        self._prices = prices
        self._recorded, self._lost, self._others = before.recorded_usd, before.lost_usd, others_usd
        self._held: dict[int, Hold] = {}
        self._numbers = iter(range(2**62))
        self._widened = 1.0
        self._stopped = self._reached = False
        self._changed = asyncio.Event()
        self._journal = journal
        try:
            self._file = os.open(journal, os.O_WRONLY | os.O_CREAT, 0o644)
        except OSError as error:
            raise jsonl.full_disk(journal, error) from None
        self._write()

    @property
    def spent_usd(self) -> float:
        """What is spent, with what may have been billed for calls that got no answer."""
        return self._others + self._recorded + self._lost

    @property
    def lost_usd(self) -> float:
        """What calls without an answer may have cost: part of `spent_usd`, and in no ledger."""
        return self._lost

    @property
    def in_flight_usd(self) -> float:
        """What calls in flight may cost at most."""
        return sum(hold.usd for hold in self._held.values())

    def worst_usd(self, request: Request) -> float:
        """The most that one attempt at `request` can cost. Raises UsageError where the price may not hold."""
        tokens = most_prompt_tokens(request)
        if self._prices.up_to is not None and tokens > self._prices.up_to:
            raise UsageError(
                f"a prompt may have {tokens:,} tokens, and above {self._prices.up_to:,} they cost more",
                where="--budget",
                hint="give the price of long prompts: --price-in and --price-out",
            )
        return cost_usd(tokens, request.max_tokens, self._prices.input, self._prices.output) or 0.0

    async def reserve(self, worst_usd: float) -> int:
        """Set `worst_usd` aside; the number stands for it. Waits while only calls in flight are in the way.

        Raises BudgetReached where it does not fit with nothing in flight, and from then on; Interrupted once
        stopped; StorageError where the journal cannot be written.
        """
        while self._reached or not self._fits(worst_usd * self._widened):
            if self._reached or not self._held:
                self._reached = True
                self._wake()
                raise self._at_end(worst_usd * self._widened)
            if not self._stopped:
                await self._changed.wait()
            if self._stopped:
                raise Interrupted(
                    "stopped before everything was asked", hint="run the same command again: it resumes"
                )
        number = next(self._numbers)
        self._held[number] = Hold(worst_usd, worst_usd * self._widened)
        self._write()
        return number

    def earmark(self, worst_usd: float) -> int:
        """Set `worst_usd` aside at once, for which there is room, before it is `sent`; the number for it."""
        number = next(self._numbers)
        self._held[number] = Hold(worst_usd, worst_usd * self._widened, sent=False)
        return number

    def sent(self, number: int) -> None:
        """What was earmarked may cost something from now on. Raises StorageError."""
        self._held[number] = msgspec.structs.replace(self._held[number], sent=True)
        self._write()

    @property
    def room_usd(self) -> float:
        """The largest worst case that `reserve` takes at once."""
        return max(0.0, self.total_usd - self.spent_usd - self.in_flight_usd) / self._widened

    def held_usd(self, number: int) -> float:
        """What is set aside under `number`."""
        return self._held[number].usd

    def adopt(self, worst_usd: float, lost_usd: float) -> int:
        """Set aside, room or none, what an earlier session sent and may yet be answered (a batch).

        `lost_usd` is what that session had set aside for it, which is among the lost since it ended.
        """
        self._lost = max(0.0, self._lost - lost_usd)
        number = next(self._numbers)
        self._held[number] = Hold(worst_usd, max(worst_usd, lost_usd))
        self._write()
        return number

    def settle(self, number: int, usd: float | None) -> None:
        """The call is answered and costs `usd` (None, unknown: its worst).

        More than was expected at worst makes later calls set aside more.
        """
        hold = self._held.pop(number)
        if usd is not None and hold.worst_usd > 0:
            self._widened = max(self._widened, usd / hold.worst_usd)
        self._recorded += hold.usd if usd is None else usd
        self._change()

    def release(self, number: int) -> None:
        """The call costs nothing."""
        del self._held[number]
        self._change()

    def lose(self, number: int) -> None:
        """The call got no answer, and may be billed: what was set aside for it is spent."""
        self._lost += self._held.pop(number).usd
        self._change()

    def stop(self) -> None:
        """Whoever waits gets Interrupted at once."""
        self._stopped = True
        self._wake()

    def close(self) -> None:
        """Stop, sync the journal and close it."""
        self.stop()
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def sentence(self) -> str:
        """ "$2.13 of $3.00"."""
        maybe = f", {dollars(self._lost)} of it perhaps: calls that got no answer" if self._lost else ""
        return f"{dollars(self.spent_usd)} of {dollars(self.total_usd)}{maybe}"

    def _fits(self, worst_usd: float) -> bool:
        return self.spent_usd + self.in_flight_usd + worst_usd <= self.total_usd

    def _at_end(self, worst_usd: float) -> BudgetReached:
        return BudgetReached(
            f"the budget is reached: {self.sentence()} spent, nothing in flight, and the next call may cost "
            f"up to {dollars(worst_usd)}",
            where="--budget",
            hint="give a larger --budget and run the same command: it resumes",
        )

    def _change(self) -> None:
        self._write()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _write(self) -> None:
        sent_usd = sum(hold.usd for hold in self._held.values() if hold.sent)
        line = journal_line(Standing(self._recorded, self._lost, sent_usd))
        try:
            os.pwrite(self._file, line, 0)
        except OSError as error:
            raise jsonl.full_disk(self._journal, error) from None


class Budgeted:
    """`teacher` (a client, one attempt a call) that sends nothing the budget might not bear."""

    def __init__(self, teacher: Teacher, budget: Budget) -> None:
        self._teacher = teacher
        self._budget = budget

    @property
    def model(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.model

    @property
    def identity(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.identity

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The teacher's answer, once there is room for what it may cost.

        Raises what the teacher raises and what `Budget.reserve` does.
        """
        number = await self._budget.reserve(self._budget.worst_usd(request))
        try:
            completion = await self._teacher.complete(request, sample)
        except TryAgain as fault:
            (self._budget.lose if fault.lost else self._budget.release)(number)
            raise
        except DistillError:
            self._budget.release(number)
            raise
        except BaseException:  # cancelled, or a bug: it may have been sent
            self._budget.lose(number)
            raise
        self._budget.settle(number, completion.cost_usd)
        return completion

    async def close(self) -> None:
        """Close the budget and the wrapped teacher."""
        try:
            await self._teacher.close()
        finally:
            self._budget.close()


def dollars(usd: float) -> str:
    """ "$2.13", and four decimals below a dollar."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"
