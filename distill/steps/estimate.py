"""`generate --dry-run`: about ten real calls, kept for the real run, and from them what N rows cost and take.

Refuses a single figure: few rows say little, so every estimate is a range.
"""

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from distill.answering import votes
from distill.ask import prompt_names
from distill.config import GenerateConfig
from distill.lift import AUDITORS
from distill.making import Making
from distill.planning import Cell, has_attributes, plan
from distill.preparing import open_making, probe_count, read_sources, settle_stages
from distill.probing import gather, race_calls
from distill.score.stats import wilson
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.teacher.ledgered import Ledgered
from distill.teacher.protocol import Teacher
from distill.types import Candidate, Completion, Progress, Request

CALLS = 10
FEWEST_ROWS = 3
PLANNING_CALLS = 14
"""Calls to propose attributes: topics, writers, and narrower topics where N is large."""


class Heard:
    """A teacher that notes what it hears from another: bought and stored answers alike.

    `written` are inputs (asked for with a seed) and `answered` everything else: they differ in length, and so
    in price and time.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.written: list[Completion] = []
        self.answered: list[Completion] = []
        self._cold = (0, 0)

    def warmed(self) -> None:
        """What was heard so far had to wait for a model to load or a connection to open: it tells no time."""
        self._cold = (len(self.written), len(self.answered))

    def seconds(self) -> list[float]:
        """Mean latency of the inputs written and of the answers, warm; of either where there is none."""
        kinds = [
            kind[cold:] or kind for kind, cold in zip((self.written, self.answered), self._cold, strict=True)
        ]
        every = [completion for kind in kinds for completion in kind]
        return [mean([completion.latency_s for completion in kind or every]) for kind in kinds]

    @property
    def model(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.model

    @property
    def identity(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.identity

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The wrapped teacher's answer."""
        completion = await self._teacher.complete(request, sample)
        (self.answered if request.seed is None else self.written).append(completion)
        return completion

    async def close(self) -> None:
        """Whoever opened the wrapped teacher closes it."""


async def estimate(run: Run, config: GenerateConfig, teacher: Ledgered, progress: Progress) -> dict[str, Any]:
    """Try a few rows and project to `config.n`: calls, USD (None: unknown price) and seconds, each a range.

    After the first row, which starts the teacher, they are tried at once, as the real run does, so that
    latency is of a busy teacher. Writes nothing but the ledger. Raises as `generate` does.
    """
    heard = Heard(teacher)
    task = read_task(run.task)
    sources = read_sources(run, task, config, progress)
    # As where no known row tells: what is on trial there is not tried here.
    config, _ = await settle_stages(task, config, teacher, progress, ())
    with open_making(run, task, config, teacher, progress, sources, through=heard) as making:
        rows = list(itertools.islice(first_rows(making), max(FEWEST_ROWS, CALLS // calls_a_row(making))))
        progress.begin("trying a few rows", len(rows))

        async def attempt(row: Candidate | Cell) -> bool:
            kept = await try_row(making, row)
            progress.advance()
            return kept

        kept = [await attempt(row) for row in rows[:1]]
        heard.warmed()
        kept += await gather(attempt, rows[1:])
        rows_most = len(sources.given) if sources.given is not None else int(config.max_tries * config.n)
        extra = extra_calls(making, config)
    at_once = max(1, teacher.ahead // 2)
    return {
        **projected(kept, heard, config.n, rows_most, extra, at_once),
        "calls_now": teacher.bought,
    }


def first_rows(making: Making) -> Iterator[Candidate | Cell]:
    """What the real run will start with: planned cells, or the given candidates."""
    yield from plan(making.task, making.config.seed) if making.given is None else making.given


def calls_a_row(making: Making) -> int:
    """Calls that one row takes at most."""
    answering, chat = making.answering, making.task.kind == "chat"
    asked = making.given is None and bool(making.task.labels)
    answers = int(answering.agreeing or making.config.logprobs is not None) if asked else votes(making.config)
    answers = 2 * making.task.turns - 1 if chat else answers
    better = 2 * answering.revising + answering.judging + 2 * answering.choosing
    return max(1, int(making.given is None) + answers + better)


async def try_row(making: Making, row: Candidate | Cell) -> bool:
    """One row through all stages; was it kept?"""
    candidate = row if isinstance(row, Candidate) else await making.write(row)
    if not making.on_input.judge(candidate).keep:
        return False
    return making.judged(await making.answering.answer(candidate)).keep


def extra_calls(making: Making, config: GenerateConfig) -> tuple[int, int]:
    """(inputs to write, answers to ask for) of no one row: probes and their race, reasons, filter lift."""
    task = making.task
    answers = (
        PLANNING_CALLS if making.given is None and config.plan != "off" and not has_attributes(task) else 0
    )
    probes = 0
    if task.kind != "chat" and not (task.prompt and task.prompt.n):
        probes = probe_count(task)
        answers += race_calls(len(prompt_names(task)), probes)
    answers += config.n if config.rationale else 0
    return probes, answers + config.lift_rows * AUDITORS * bool(task.labels or making.seeds)


def projected(
    kept: Sequence[bool], heard: Heard, n: int, rows_most: int, extra: tuple[int, int], at_once: int
) -> dict[str, Any]:
    """What `n` accepted rows take, from a few tried ones; the range is Wilson's on the share kept."""
    share = wilson(sum(kept), len(kept))
    middle = (share.low + share.high) / 2
    rows = [min(rows_most, math.ceil(n / max(part, 1e-9))) for part in (share.high, middle, share.low)]
    kinds = (heard.written, heard.answered)
    calls = [
        [count * len(of_kind) / max(1, len(kept)) + more for of_kind, more in zip(kinds, extra, strict=True)]
        for count in rows
    ]
    every = [*heard.written, *heard.answered]
    seconds = [sum(map(operator.mul, counts, heard.seconds())) / at_once for counts in calls]
    cost_usd = None
    if all(completion.cost_usd is not None for completion in every):
        means_usd = [
            mean([completion.cost_usd or 0.0 for completion in of_kind or every]) for of_kind in kinds
        ]
        cost_usd = _range([sum(map(operator.mul, counts, means_usd)) for counts in calls], 4)
    return {
        "dry_run": True,
        "n": n,
        "tried": len(kept),
        "kept": sum(kept),
        "calls_extra": sum(extra),
        "calls": _range([sum(counts) for counts in calls], 0),
        "cost_usd": cost_usd,
        "seconds": _range(seconds, 1),
    }


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of none."""
    return sum(values) / len(values) if values else 0.0


def _range(values: Sequence[float], digits: int) -> dict[str, float]:
    low, value, high = (round(number, digits) for number in values)
    return {"value": value, "low": low, "high": high}
