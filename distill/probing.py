"""How well the teacher does a task with each prompt of the menu, on inputs it was not shown.

Gold rows are the best probes. Without them, a probe of a label task is right by construction: the teacher
wrote it for that label; and a probe of a free answer has no right answer, so there two samples must agree.
It refuses to call either of them gold, and a refusal an answer.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from distill.ask import answer_request, prompt_names, write_request
from distill.filters.refusal import ANYWHERE
from distill.menu import find_prompt
from distill.parse import parse_answer, parse_input
from distill.planning import Cell, plan
from distill.score.same import same
from distill.score.stats import wilson
from distill.scouted import Basis, Probe, Trial
from distill.teacher.flow import ordered
from distill.teacher.protocol import Teacher
from distill.types import Completion, Example, Progress, PromptChoice, Task

T = TypeVar("T")
R = TypeVar("R")
INPUT_TOKENS = 96
AHEAD = 64
FIRST_PROBES = 12
VOTERS = 2
REASON_TOKENS = 192
"""Room for an answer that is preceded by its reasons."""
ASKED_TWICE_AT = 0.7
Way = str | PromptChoice
"""A prompt of the menu, or one with an instruction or examples of its own."""


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
    unique = {probe.input: probe for probe in written if usable(probe.input) and probe.input not in shown}
    return list(unique.values())


def usable(text: str) -> bool:
    """Whether what a teacher wrote may be an input: there is something, and no "I cannot help with that"."""
    return bool(text) and not ANYWHERE.search(text)


async def try_prompts(
    task: Task,
    teacher: Teacher,
    probes: Sequence[Probe],
    *,
    max_tokens: int,
    progress: Progress,
    shots: Sequence[Example] = (),
    ways: Sequence[Way] | None = None,
    heard: list[Trial] | None = None,
) -> list[Trial]:
    """Every one of `ways` (None: all that fits `task`), best first, by successive halving (Jamieson 2016).

    All are tried on the first probes, the best third of them on twice as many, and so on: only prompts
    that may win are tried on all. Probes are taken in their order, in which labels should take turns. Each
    trial is put into `heard` as it ends: what there is where the money ends.
    """

    async def tried(on: Sequence[Probe], way: PromptChoice) -> Trial:
        trial = await try_prompt(
            task, teacher, way, on, max_tokens=max_tokens, progress=progress, shots=shots
        )
        if heard is not None:
            heard.append(trial)
        return trial

    left, out = [as_way(way) for way in ways or prompt_names(task)], list[Trial]()
    for upto, count in race(len(left), len(probes)):
        out = [trial for trial in out if trial.way not in left[:count]]
        stage = await gather(partial(tried, probes[:upto]), left[:count])
        out = sorted(stage, key=lambda trial: -trial.right) + out
        left = [trial.way for trial in out]
    return out


def as_way(way: Way) -> PromptChoice:
    """The prompt alone, without what it scored."""
    if isinstance(way, str):
        return PromptChoice(way)
    return PromptChoice(way.name, instruction=way.instruction, shots=way.shots)


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
    prompt: Way,
    probes: Sequence[Probe],
    *,
    max_tokens: int,
    progress: Progress,
    shots: Sequence[Example] = (),
) -> Trial:
    """One prompt on the probes; gold `shots` come before the task's own examples, and are never the probe."""
    way = as_way(prompt)
    task = msgspec.structs.replace(task, prompt=way)
    basis = basis_of(task, probes)
    room = max(max_tokens, REASON_TOKENS) if find_prompt(way.name).reasons else max_tokens
    request = partial(answer_request, task, way.name, max_tokens=room, shots=shots)

    async def answer(probe: Probe) -> tuple[str | None, bool, bool]:
        first = await teacher.complete(request(probe.input))
        answer = answered(task, first)
        right = answer is not None and probe.expected is not None and same(task, probe.expected, answer)
        if answer is not None and basis == "agreement":
            again = await teacher.complete(request(probe.input, temperature=ASKED_TWICE_AT, rotation=1))
            right = same(task, answer, answered(task, again))
        progress.advance(note=f"{task.name}: {way.name}")
        return answer, right, refused(first)

    said = await gather(answer, probes)
    interval = wilson(sum(right for _, right, _ in said), len(said))
    return Trial(
        prompt=way.name,
        basis=basis,
        right=sum(right for _, right, _ in said),
        n=len(said),
        low=interval.low,
        high=interval.high,
        answers=[text for text, _, _ in said],
        marks=[right for _, right, _ in said],
        refused=sum(no for _, _, no in said),
        instruction=way.instruction,
        shots=way.shots,
    )


def basis_of(task: Task, probes: Sequence[Probe]) -> Basis:
    """What being right on these probes rests on."""
    if probes and all(probe.gold for probe in probes):
        return "gold"
    return "construction" if task.kind == "label" else "agreement"


def answered(task: Task, completion: Completion) -> str | None:
    """The answer in what a teacher said; None where it is cut, unreadable or a refusal."""
    if completion.finish_reason == "length" or refused(completion):
        return None
    return parse_answer(task, completion.text)


def refused(completion: Completion) -> bool:
    """Whether a model speaks for itself ("I cannot help with that") and does not answer."""
    return completion.finish_reason == "content_filter" or bool(ANYWHERE.search(completion.text))


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
        instruction=best.instruction,
        shots=best.shots,
    )


async def gather(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """`work` on every item, results in their order; the teacher's pool bounds what is in flight."""
    return [result async for result in ordered(items, work, ahead=AHEAD)]
