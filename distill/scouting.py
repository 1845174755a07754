"""One task scouted: examples and probes, the search for its prompt, and the measurement that decides.

    gold rows, or written   ->  tuning probes   ->  search: kinds, examples, rewritten instructions
    other rows, or written  ->  deciding probes ->  the finalists, audited; the verdict and its reason

Refuses to lose what was measured: where the money ends, what there is comes back as "unclear".
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from distill import auditing, deciding
from distill.config import ExploreConfig
from distill.errors import BudgetReached
from distill.improving import Bench, search
from distill.menu import YOURS, find_prompt
from distill.planning import Cell, plan
from distill.probing import gather, write_input, write_probes
from distill.reasons import reason
from distill.scouted import Probe, Scouted, Source, Trial
from distill.teacher.counted import Counted
from distill.teacher.protocol import Teacher
from distill.types import Example, Label, Progress, PromptChoice, Task

ANSWER_TOKENS = {"label": 24, "json": 160, "text": 160, "chat": 160}
EXAMPLES_A_LABEL = 2
TUNING_LEAST, TUNING_MOST, TUNING_A_LABEL = 20, 40, 2
TRUST = {
    "gold": "your labelled rows",
    "construction": "inputs written for a label; some of them miss it",
    "agreement": "two samples agree; both can be wrong",
}
BASELINE = "zero-shot"


class Rows(NamedTuple):
    """What a task is tried on: tuning probes, more examples with known answers, and the first n that decide."""

    tuning: list[Probe]
    pool: list[Example]
    deciding: Callable[[int], Awaitable[list[Probe]]]


async def scout(
    task: Task,
    config: ExploreConfig,
    teacher: Teacher,
    progress: Progress,
    *,
    gold: Sequence[Example] = (),
    baseline: str = "",
    source: Source = "brief",
) -> Scouted:
    """Find the prompt that `task` is done best with and say how well, within `config.calls` calls.

    `gold` rows are split: some shape the prompt, the others decide. `baseline` is the user's own prompt (with
    "{input}" where the input goes, else ahead of it), which races with the menu's.
    """
    counted, heard = Counted(teacher, config.calls), list[Trial]()
    scouted = Scouted(task, "unclear", TRUST[_basis(task, gold)], [], source=source)
    try:
        if not gold:
            task = await with_examples(task, counted, config.seed, progress)
        rows = await _gold_rows(task, gold, config) if gold else await _written(task, config, counted, progress)
        scouted = msgspec.structs.replace(scouted, task=task, tuned_on=len(rows.tuning))
        bench = Bench(
            counted,
            rows.tuning,
            rows.pool,
            ANSWER_TOKENS[task.kind],
            _reserve(task, config, gold=bool(gold)),
            config.seed,
            progress,
            heard,
        )
        progress.begin(f"trying {task.name}", None)
        tried = await search(task, bench, rounds=config.improve, baseline=baseline)
        finalists = pick_finalists(tried, baseline=bool(baseline))
        scouted = await _decided(scouted, rows, finalists, tried, counted, config, progress, heard)
    except BudgetReached as stopped:
        scouted = _unfinished(scouted, heard, stopped)
    return msgspec.structs.replace(scouted, calls=counted.calls)


def _reserve(task: Task, config: ExploreConfig, *, gold: bool) -> int:
    """Calls kept for deciding: the first look at all finalists, and a second one at the leader."""
    each = 1 if task.labels or gold else 2
    first = min(deciding.FIRST_LOOK, config.probes)
    second = min(deciding.FIRST_LOOK, config.probes - first)
    writing = 0 if gold else first + second
    return writing + each * (deciding.FINALISTS * first + second)


async def _gold_rows(task: Task, gold: Sequence[Example], config: ExploreConfig) -> Rows:
    """Gold rows split: most decide, up to `config.probes`; of the others, some are tried and some are shown."""
    unique = list({row.input: row for row in gold}.values())
    shuffled = random.Random(config.seed).sample(unique, len(unique))
    count = tuning_count(task)
    held = min(config.probes, max(len(shuffled) - 2 * count, len(shuffled) // 2))
    held_out, rest = shuffled[:held], in_turn(task, shuffled[held:])
    tuning = [Probe(row.input, row.output, gold=True) for row in rest[:count]]
    # Few rows are tried and shown both: an input is never among its own examples.
    pool = rest[count:] if len(rest) >= 2 * count else rest

    async def deciding_rows(upto: int) -> list[Probe]:
        return [Probe(row.input, row.output, gold=True) for row in held_out[:upto]]

    return Rows(tuning, pool, deciding_rows)


def in_turn(task: Task, rows: Sequence[Example]) -> list[Example]:
    """The rows with the labels taking turns, so that the first few see each."""
    places: dict[str, int] = {}
    numbered = []
    for row in rows:
        label = row.output if task.labels else ""
        places[label] = places.get(label, -1) + 1
        numbered.append((places[label], row))
    return [row for _, row in sorted(numbered, key=lambda entry: entry[0])]


async def _written(task: Task, config: ExploreConfig, teacher: Teacher, progress: Progress) -> Rows:
    """Probes by the teacher; those that decide are of another seed, and none is a tuning probe."""
    count = tuning_count(task)
    progress.begin(f"writing probes for {task.name}", count)
    tuning = await write_probes(task, teacher, count, seed=config.seed + 1, progress=progress)
    seen = {probe.input for probe in tuning}
    pool = [Example(probe.input, probe.expected) for probe in tuning if probe.expected is not None]

    async def deciding_probes(upto: int) -> list[Probe]:
        written = await write_probes(task, teacher, upto, seed=config.seed + 2, progress=progress)
        return [probe for probe in written if probe.input not in seen]

    return Rows(tuning, pool, deciding_probes)


def tuning_count(task: Task) -> int:
    """Probes that prompts are shaped on."""
    return max(TUNING_LEAST, min(TUNING_MOST, TUNING_A_LABEL * len(task.labels)))


async def with_examples(task: Task, teacher: Teacher, seed: int, progress: Progress) -> Task:
    """`task` with inputs written for each label that has none, to serve as shots."""
    bare = [label for label in task.labels if not label.examples]
    if not bare:
        return task
    progress.begin(f"writing examples for {task.name}", EXAMPLES_A_LABEL * len(bare))
    narrowed = msgspec.structs.replace(task, labels=tuple(bare))
    cells = [cell for cell, _ in zip(plan(narrowed, seed), range(EXAMPLES_A_LABEL * len(bare)), strict=False)]

    async def write(cell: Cell) -> tuple[str, str]:
        text, _ = await write_input(narrowed, teacher, cell, temperature=0.8, seed=seed)
        progress.advance(note=f"{task.name}: examples")
        return cell.asked or "", text

    written = await gather(write, cells)
    filled = {
        label.name: tuple(dict.fromkeys(text for name, text in written if name == label.name and text))
        for label in bare
    }
    labels = [
        msgspec.structs.replace(label, examples=filled.get(label.name, label.examples))
        for label in task.labels
    ]
    return msgspec.structs.replace(task, labels=tuple[Label, ...](labels))


async def _decided(
    scouted: Scouted,
    rows: Rows,
    finalists: Sequence[PromptChoice],
    tried: Sequence[Trial],
    teacher: Counted,
    config: ExploreConfig,
    progress: Progress,
    heard: list[Trial],
) -> Scouted:
    """The finalists measured, audited and put in order, and what is to be said of the best."""
    task = scouted.task
    trials, probes = await deciding.decide(
        task,
        teacher,
        finalists,
        rows.deciding,
        config=config,
        max_tokens=ANSWER_TOKENS[task.kind],
        progress=progress,
        heard=heard,
    )
    stop = deciding.Stop(config.ok, config.good, config.probes, len(finalists))
    note, audited = "", None
    if trials[0].basis == "construction":
        voices = [trial for trial in tried if trial.way in finalists]
        audited = auditing.audit([(probes, trials), (rows.tuning, voices)])
        trials = [deciding.widened(trial, audited, probes, stop) for trial in trials]
    elif trials[0].basis == "agreement":
        best, note = await auditing.judged(task, teacher, trials[0], probes, progress)
        kept = note == auditing.JUDGED
        trials = [deciding.agreeing(best, stop, judged=kept)] + [
            deciding.agreeing(trial, stop, judged=False) for trial in trials[1:]
        ]
    best = trials[0]
    losers = [trial for trial in tried if trial.way not in {decided.way for decided in trials}]
    return msgspec.structs.replace(
        scouted,
        task=msgspec.structs.replace(task, prompt=chosen(trials)),
        standing=deciding.stands(best, config),
        trusted=best.trusted,
        trials=[*trials, *losers],
        probes=[*probes, *(msgspec.structs.replace(probe, tuning=True) for probe in rows.tuning)],
        held_out=len(probes),
        reason=reason(task, trials, config, audited, note),
    )


def _unfinished(scouted: Scouted, heard: Sequence[Trial], stopped: BudgetReached) -> Scouted:
    """What there is where the money ended."""
    latest = {trial.way: trial for trial in heard}
    trials = sorted(latest.values(), key=lambda trial: (-trial.n, -trial.value))
    tuning = [msgspec.structs.replace(trial, tuning=True) for trial in trials]
    return msgspec.structs.replace(
        scouted,
        trials=tuning,
        reason=f"the money ended before it was measured ({len(tuning)} prompts tried)",
        unfinished=stopped.message,
    )


def _basis(task: Task, gold: Sequence[Example]) -> str:
    return "gold" if gold else "construction" if task.kind == "label" else "agreement"


def pick_finalists(trials: Sequence[Trial], *, baseline: bool) -> list[PromptChoice]:
    """The winner on the tuning probes, the best of another kind, and the prompt to beat: yours, or zero-shot."""
    ways = [trial.way for trial in trials]
    found = ways[:1]
    kinds = {find_prompt(way.name).template for way in found}
    found += [way for way in ways if find_prompt(way.name).template not in kinds][:1]
    to_beat = YOURS if baseline else BASELINE
    found += [way for way in ways if way.name == to_beat and not (way.shots or way in found)][-1:]
    return found[: deciding.FINALISTS]


def chosen(trials: Sequence[Trial]) -> PromptChoice:
    """The winner as `task.toml` records it, with its score on the probes that decided."""
    best = trials[0]
    others = [trial.prompt for trial in trials[1:] if trial.high >= best.low and trial.prompt != best.prompt]
    return msgspec.structs.replace(
        best.way,
        score=round(best.value, 4),
        low=round(best.low, 4),
        high=round(best.high, 4),
        n=best.n,
        others=tuple(dict.fromkeys(others)),
    )
