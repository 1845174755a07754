"""How well the teacher does a task with each prompt of the menu, on inputs it was not shown.

Gold rows are the best probes. Without them, a probe of a label task is right by construction: the teacher
wrote it for that label; and a probe of a free answer has no right answer, so there two samples must agree.
It refuses to call either of them gold.
"""

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeVar

import msgspec

from distill.ask import answer_request, find_prompt, prompt_names, write_request
from distill.parse import parse_answer, parse_input
from distill.planning import Cell, plan
from distill.score.same import same
from distill.score.stats import wilson
from distill.teacher.flow import ordered
from distill.teacher.protocol import Teacher
from distill.types import Example, Progress, PromptChoice, Task

T = TypeVar("T")
R = TypeVar("R")
Basis = Literal["gold", "construction", "agreement"]
INPUT_TOKENS = 96
AHEAD = 64
FIRST_PROBES = 12
VOTERS = 2


class Probe(msgspec.Struct, frozen=True):
    """One input a task is tried on; `expected` is the label it was written for, or its `gold` answer."""

    input: str
    expected: str | None = None
    gold: bool = False


class Trial(msgspec.Struct, frozen=True):
    """What one prompt did on the probes: right of n with the Wilson interval, and every answer."""

    prompt: str
    basis: Basis
    right: int
    n: int
    low: float
    high: float
    answers: list[str | None]

    @property
    def value(self) -> float:
        """Share of probes answered right."""
        return self.right / self.n if self.n else 0.0


async def write_input(
    task: Task, teacher: Teacher, cell: Cell, *, temperature: float, seed: int, shots: Sequence[Example] = ()
) -> tuple[str, str]:
    """(the input the teacher wrote for `cell`, finish reason)."""
    request = write_request(
        task,
        cell.asked,
        cell.attributes,
        temperature=temperature,
        seed=(seed * 1_000_003 + cell.index) % 2**31,
        max_tokens=INPUT_TOKENS if task.kind == "label" else 2 * INPUT_TOKENS,
        shots=shots,
    )
    completion = await teacher.complete(request)
    text = parse_input(task, completion.text)
    # A sentence that was whole before the model ran on into a second one is not a cut answer.
    ran_on = completion.finish_reason == "length" and text != completion.text.strip()
    return text, "stop" if ran_on else completion.finish_reason


async def write_probes(
    task: Task, teacher: Teacher, count: int, *, seed: int, progress: Progress
) -> list[Probe]:
    """Up to `count` different inputs by the teacher, the labels in turn; the task's own examples left out."""
    cells = list(itertools.islice(plan(task, seed), count))

    async def write(cell: Cell) -> Probe:
        text, _ = await write_input(task, teacher, cell, temperature=1.0, seed=seed)
        progress.advance(note=f"{task.name}: probes")
        return Probe(text, cell.asked)

    written = await gather(write, cells)
    shown = {text for label in task.labels for text in label.examples}
    unique = {probe.input: probe for probe in written if probe.input and probe.input not in shown}
    return list(unique.values())


async def try_prompts(
    task: Task,
    teacher: Teacher,
    probes: Sequence[Probe],
    *,
    max_tokens: int,
    progress: Progress,
    shots: Sequence[Example] = (),
) -> list[Trial]:
    """Every prompt of the menu that fits `task`, best first, by successive halving (Jamieson 2016).

    All are tried on the first probes, the best third of them on twice as many, and so on: only prompts
    that may win are tried on all. The probes are shuffled, so that each stage sees every label.
    """
    shuffled = random.Random(len(probes)).sample(list(probes), len(probes))
    names, out = list(prompt_names(task)), list[Trial]()
    for upto, count in race(len(names), len(shuffled)):
        out = [trial for trial in out if trial.prompt not in names[:count]]
        stage = [
            await try_prompt(
                task,
                teacher,
                name,
                shuffled[:upto],
                max_tokens=max_tokens,
                progress=progress,
                shots=shots,
            )
            for name in names[:count]
        ]
        out = sorted(stage, key=lambda trial: -trial.right) + out
        names = [trial.prompt for trial in out]
    return out


def race(prompts: int, probes: int) -> Iterator[tuple[int, int]]:
    """(probes tried on, prompts still in the race) of each stage."""
    upto = max(FIRST_PROBES, -(-probes // 4))
    while upto < probes:
        yield upto, prompts
        upto, prompts = 2 * upto, min(prompts, max(2, prompts // 3))
    yield probes, prompts


def race_length(prompts: int, probes: int) -> int:
    """Probes answered in a whole race, the repeated ones (which the ledger answers) counted again."""
    return sum(min(upto, probes) * count for upto, count in race(prompts, probes))


def race_calls(prompts: int, probes: int) -> int:
    """Calls that a whole race buys: every probe once for each prompt that comes to it."""
    calls, before = 0, 0
    for upto, count in race(prompts, probes):
        calls += count * (min(upto, probes) - before)
        before = min(upto, probes)
    return calls


async def try_prompt(
    task: Task,
    teacher: Teacher,
    prompt: str,
    probes: Sequence[Probe],
    *,
    max_tokens: int,
    progress: Progress,
    shots: Sequence[Example] = (),
) -> Trial:
    """One prompt on the probes; gold `shots` come before the task's own examples, and are never the probe."""
    basis: Basis = "construction" if task.kind == "label" else "agreement"
    basis = "gold" if probes and all(probe.gold for probe in probes) else basis
    request = partial(answer_request, task, prompt, max_tokens=max_tokens, shots=shots)

    async def answer(probe: Probe) -> tuple[str | None, bool]:
        first = await teacher.complete(request(probe.input))
        answer = parse_answer(task, first.text) if first.finish_reason != "length" else None
        right = answer is not None and probe.expected is not None and same(task, probe.expected, answer)
        if answer is not None and basis == "agreement":
            again = request(probe.input, temperature=0.7, rotation=1)
            right = same(task, answer, parse_answer(task, (await teacher.complete(again)).text))
        progress.advance(note=f"{task.name}: {prompt}")
        return answer, right

    answered = await gather(answer, probes)
    interval = wilson(sum(right for _, right in answered), len(answered))
    return Trial(
        prompt=prompt,
        basis=basis,
        right=sum(right for _, right in answered),
        n=len(answered),
        low=interval.low,
        high=interval.high,
        answers=[text for text, _ in answered],
    )


def choice(trials: Sequence[Trial]) -> PromptChoice:
    """The winner of the race as `task.toml` records it, with the best of each other kind that came close."""
    best = trials[0]
    rivals: dict[str, str] = {}
    for trial in trials[1:]:
        kind = find_prompt(trial.prompt).template
        if kind != find_prompt(best.prompt).template and trial.high >= best.low:
            rivals.setdefault(kind, trial.prompt)
    return PromptChoice(
        name=best.prompt,
        score=round(best.value, 4),
        low=round(best.low, 4),
        high=round(best.high, 4),
        n=best.n,
        others=tuple(rivals.values())[:VOTERS],
    )


async def gather(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """`work` on every item, results in their order; the teacher's pool bounds what is in flight."""
    return [result async for result in ordered(items, work, ahead=AHEAD)]
