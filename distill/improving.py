"""The search for a task's best prompt, on tuning probes alone: kinds, examples, rewritten instructions.

Refuses to decide: what wins here has been chosen on these probes, and is measured on others in `deciding`.
"""

import itertools
import random
import string
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from distill import prompts
from distill.ask import format_line, prompt_names, starters
from distill.filters.refusal import ANYWHERE
from distill.menu import YOURS, find_prompt, variants
from distill.parse import QUOTES
from distill.probing import Way, as_way, race_calls, try_prompts
from distill.scouted import Probe, Trial
from distill.teacher.counted import Counted
from distill.types import Example, Progress, PromptChoice, Request, Task

DRAWS, REWRITES = 4, 2
"""New choices of examples, and new instructions, of one round."""
REWRITTEN_YOURS = "zero-shot"
"""What the user's own prompt is called once it is no longer theirs."""
FAILURES_SHOWN, LONGEST_SHOWN = 5, 200
SENTENCES = 3
SHORTEST, LONGEST = 20, 700
"""Characters that an instruction may have: less says nothing, more is an essay about it."""


class Bench(NamedTuple):
    """What prompts are shaped with: the probes, more examples with known answers, room for an answer.

    `keep` calls are left for what comes after; `heard` is every trial as it ends.
    """

    teacher: Counted
    probes: Sequence[Probe]
    pool: Sequence[Example]
    max_tokens: int
    keep: int
    seed: int
    progress: Progress
    heard: list[Trial]


async def search(task: Task, bench: Bench, *, rounds: int, baseline: str = "") -> list[Trial]:
    """All prompts tried on the tuning probes, best first: the menu's kinds, then `rounds` of improvement.

    `baseline` is the user's own prompt, which races with the others. Never leaves fewer than `bench.keep`
    calls: what they do not allow is not tried.
    """
    first: list[Way] = [PromptChoice(YOURS, instruction=baseline)] if baseline else []
    trials = await _raced(task, bench, [*first, *starters(task)])
    for turn in range(rounds):
        if not trials or all(trials[0].marks):
            break
        before = trials[0]
        tried = {trial.way for trial in trials}
        new = [way for way in await _candidates(task, bench, trials, turn) if way not in tried]
        trials = sorted([*trials, *await _raced(task, bench, new)], key=_order)
        if trials[0].way == before.way and not new:
            break
    return [msgspec.structs.replace(trial, tuning=True) for trial in trials]


def _order(trial: Trial) -> tuple[int, float]:
    """More probes first, as fewer were a reason to stop; then more of them right."""
    return (-trial.n, -trial.value)


async def _raced(task: Task, bench: Bench, ways: Sequence[Way]) -> list[Trial]:
    """As many of `ways` as the calls left allow, the first ones, best first."""
    probes, each = len(bench.probes), 1 if task.labels or bench.probes[0].gold else 2
    count = len(ways)
    while count and each * race_calls(count, probes) > bench.teacher.left - bench.keep:
        count -= 1
    if not count:
        return []
    return sorted(
        await try_prompts(
            task,
            bench.teacher,
            bench.probes,
            max_tokens=bench.max_tokens,
            progress=bench.progress,
            ways=[as_way(way) for way in ways[:count]],
            heard=bench.heard,
        ),
        key=_order,
    )


async def _candidates(task: Task, bench: Bench, trials: Sequence[Trial], turn: int) -> list[PromptChoice]:
    """What may do better than the best so far, the likeliest first and the kinds in turn."""
    rng = random.Random(bench.seed * 1009 + turn)
    best = trials[0]
    shown = [
        trial for trial in trials if trial.shots or find_prompt(trial.prompt).shots or not task.label_names
    ]
    drawn = drawn_shots(task, shown[0] if shown else best, bench.pool, DRAWS, rng)
    rewritten = await rewrites(task, bench, trials, turn)
    fitting = prompt_names(task)
    kin = [PromptChoice(name) for name in variants(best.prompt) if name in fitting and not best.shots]
    turns = itertools.zip_longest(drawn, rewritten, kin)
    return [way for row in turns for way in row if way is not None]


def drawn_shots(
    task: Task, best: Trial, pool: Sequence[Example], count: int, rng: random.Random
) -> list[PromptChoice]:
    """`best` with other examples, as many an answer as it has, the answers in another order each time.

    A small search in the spirit of DSPy's BootstrapFewShotWithRandomSearch (Khattab 2023).
    """
    names = list(task.label_names)
    groups = [[example for example in pool if example.output == name] for name in names] or [list(pool)]
    each = max(1, len(best.shots) // max(1, len(groups)) or find_prompt(best.prompt).shots)
    if not names:
        each = min(max(2, each), len(pool))
    if not all(groups):
        return []
    found = []
    for _ in range(count):
        rng.shuffle(groups)
        chosen = [rng.sample(group, min(each, len(group))) for group in groups]
        shots = [example for row in itertools.zip_longest(*chosen) for example in row if example is not None]
        found.append(PromptChoice(best.prompt, instruction=best.instruction, shots=tuple(shots)))
    return found


async def rewrites(task: Task, bench: Bench, trials: Sequence[Trial], turn: int) -> list[PromptChoice]:
    """The best prompt that gives an instruction, with one that the teacher wrote from what it got wrong."""
    best = next((trial for trial in trials if _instructs(trial)), None)
    wrong = failures(best, bench.probes) if best else ""
    if best is None or not wrong or bench.teacher.left - bench.keep < REWRITES:
        return []
    found = []
    for number in range(REWRITES):
        messages = prompts.render(
            "rewrite",
            instruction=best.instruction or task.instruction,
            format=format_line(task),
            failures=wrong,
            sentences=str(SENTENCES),
        )
        seed = bench.seed * 101 + turn * REWRITES + number
        request = Request(messages=messages, temperature=0.7, seed=seed, max_tokens=200)
        text = readable_instruction((await bench.teacher.complete(request)).text)
        if text and text != task.instruction:
            name = REWRITTEN_YOURS if best.prompt == YOURS else best.prompt
            found.append(PromptChoice(name, instruction=text, shots=best.shots))
    return list(dict.fromkeys(found))


def _instructs(trial: Trial) -> bool:
    """Whether its template says what to do: bare and cued show examples alone."""
    template = find_prompt(trial.prompt).template
    return "instruction" in string.Template(prompts.read(template)).get_identifiers()


def failures(trial: Trial, probes: Sequence[Probe]) -> str:
    """Some of what the prompt got wrong, an input, what was said and what was wanted each; "" for none."""
    shown = []
    for probe, answer, right in zip(probes, trial.answers, trial.marks, strict=False):
        if not right:
            wanted = probe.expected or "the same answer each time it is asked"
            said = (answer or "nothing that could be read")[:LONGEST_SHOWN]
            shown.append(f"Input: {probe.input[:LONGEST_SHOWN]}\nIt said: {said}\nWanted: {wanted}")
    return "\n\n".join(shown[:FAILURES_SHOWN])


def readable_instruction(text: str) -> str:
    """The instruction in what the teacher wrote, its first paragraph, on one line; "" where it is none."""
    paragraph = next((part for part in text.strip().split("\n\n") if part.strip()), "")
    head, colon, rest = paragraph.partition(":")
    if colon and "instruction" in head.casefold() and len(head) < 60:
        paragraph = rest
    line = " ".join(paragraph.split()).strip(QUOTES + " ")
    return line if SHORTEST <= len(line) <= LONGEST and not ANYWHERE.search(line) else ""
