"""What a task is tried on: gold rows split, or inputs written for it, none like another or like an example.

Refuses to let a probe shape a prompt and decide on it.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from distill.config import ExploreConfig
from distill.planning import Cell, has_attributes, plainly, plan, propose_attributes
from distill.probing import gather, usable, write_input, write_probes
from distill.scouted import Probe
from distill.store.near import cleaned, grams, jaccard
from distill.teacher.protocol import Teacher
from distill.types import Example, Label, Progress, Task

EXAMPLES_A_LABEL = 2
EXAMPLES = 3
"""Gold rows that are shown as examples where answers are free."""
TUNING_LEAST, TUNING_MOST, TUNING_A_LABEL = 20, 40, 2
GOLD_TUNING = 32
"""Gold rows to shape a prompt on, where there are many: they cost no writing, and few choose badly."""
NEAR = 0.7
"""Jaccard similarity of character n-grams from which two written inputs are one."""
MORE_WRITTEN = 1.5
"""How many times the probes wanted may be written, as some are like others."""


class Rows(NamedTuple):
    """What a task is tried on: tuning probes, more known answers, and the first n probes that decide."""

    tuning: list[Probe]
    pool: list[Example]
    deciding: Callable[[int], Awaitable[list[Probe]]]


def gold_rows(task: Task, gold: Sequence[Example], config: ExploreConfig) -> tuple[Task, Rows]:
    """(`task` with examples of the gold rows where it has none, the rows split).

    Most rows decide, up to `config.probes`; some of the others are tried, some shown.
    """
    unique = list({row.input: row for row in gold}.values())
    shuffled = random.Random(config.seed).sample(unique, len(unique))
    count = max(tuning_count(task), min(GOLD_TUNING, len(shuffled) // 4))
    held = min(config.probes, max(len(shuffled) - 2 * count, len(shuffled) // 2))
    held_out, rest = shuffled[:held], in_turn(task, shuffled[held:])
    tuning = [Probe(row.input, row.output, gold=True) for row in rest[:count]]
    # Few rows are tried and shown both: an input is never among its own examples.
    pool = rest[count:] if len(rest) >= 2 * count else rest

    async def deciding_rows(upto: int) -> list[Probe]:
        return [Probe(row.input, row.output, gold=True) for row in held_out[:upto]]

    return exemplified(task, pool), Rows(tuning, pool, deciding_rows)


def exemplified(task: Task, rows: Sequence[Example]) -> Task:
    """`task` with some of `rows` as its examples, where it has none: what the menu's prompts show."""
    if not task.labels:
        return task if task.examples else replace(task, examples=tuple(rows[:EXAMPLES]))
    shown = {label.name: [row.input for row in rows if row.output == label.name] for label in task.labels}
    labels = (
        label if label.examples else replace(label, examples=tuple(shown[label.name][:EXAMPLES_A_LABEL]))
        for label in task.labels
    )
    return replace(task, labels=tuple(labels))


def in_turn(task: Task, rows: Sequence[Example]) -> list[Example]:
    """The rows with the labels taking turns, so that the first few see each."""
    places: dict[str, int] = {}
    numbered = []
    for row in rows:
        label = row.output if task.labels else ""
        places[label] = places.get(label, -1) + 1
        numbered.append((places[label], row))
    return [row for _, row in sorted(numbered, key=lambda entry: entry[0])]


async def written_rows(
    task: Task, config: ExploreConfig, teacher: Teacher, progress: Progress
) -> tuple[Task, Rows]:
    """(`task` with written examples, its rows): tuning and deciding probes are of two seeds and unlike.

    Where the task says nothing of what inputs vary over, the teacher is asked: else it writes the same input
    again and again, near the examples, and a prompt that shows those reads it with ease.
    """
    writer = await varied(task, teacher, config, progress)
    clear = (
        writer if has_attributes(task) else replace(writer, attributes={**writer.attributes, **plainly(task)})
    )
    labels = (await with_examples(clear, teacher, config.seed, progress)).labels
    writer = replace(writer, labels=labels)
    count = tuning_count(task)
    progress.begin(f"writing probes for {task.name}", count)
    shown = [text for label in writer.labels for text in label.examples]
    drafts = await write_probes(writer, teacher, count, seed=config.seed + 1, progress=progress)
    tuning = fresh(drafts, shown)
    known = [*shown, *(probe.input for probe in tuning)]
    pool = [Example(probe.input, probe.expected) for probe in tuning if probe.expected is not None]

    async def deciding_probes(upto: int) -> list[Probe]:
        asked, kept = upto, list[Probe]()
        while len(kept) < upto and asked <= MORE_WRITTEN * upto:
            progress.begin(f"writing probes for {task.name}", asked)
            written = await write_probes(writer, teacher, asked, seed=config.seed + 2, progress=progress)
            kept = fresh(written, known)
            asked += max(2, upto - len(kept))
        return kept[:upto]

    return replace(task, labels=writer.labels), Rows(tuning, pool, deciding_probes)


async def varied(task: Task, teacher: Teacher, config: ExploreConfig, progress: Progress) -> Task:
    """`task` with what its inputs vary over: its own attributes, else what the teacher proposes."""
    if has_attributes(task):
        return task
    progress.begin(f"planning inputs for {task.name}", None)
    found = await propose_attributes(task, teacher, config.probes, seed=config.seed, progress=progress)
    return replace(task, attributes=found)


def fresh(probes: Sequence[Probe], shown: Sequence[str]) -> list[Probe]:
    """The probes that are near no text `shown` and none before them."""
    seen = [grams(cleaned(text)) for text in shown]
    kept = []
    for probe in probes:
        own = grams(cleaned(probe.input))
        if all(jaccard(own, other) < NEAR for other in seen):
            kept.append(probe)
            seen.append(own)
    return kept


def tuning_count(task: Task) -> int:
    """Probes that prompts are shaped on."""
    return max(TUNING_LEAST, min(TUNING_MOST, TUNING_A_LABEL * len(task.labels)))


async def with_examples(task: Task, teacher: Teacher, seed: int, progress: Progress) -> Task:
    """`task` with inputs written for each label that has none, to serve as shots."""
    bare = [label for label in task.labels if not label.examples]
    if not bare:
        return task
    progress.begin(f"writing examples for {task.name}", EXAMPLES_A_LABEL * len(bare))
    narrowed = replace(task, labels=tuple(bare))
    cells = [cell for cell, _ in zip(plan(narrowed, seed), range(EXAMPLES_A_LABEL * len(bare)), strict=False)]

    async def write(cell: Cell) -> tuple[str, str]:
        text, _ = await write_input(narrowed, teacher, cell, temperature=0.8, seed=seed)
        progress.advance(note=f"{task.name}: examples")
        return cell.asked or "", text

    written = await gather(write, cells)
    filled = {
        label.name: tuple(
            dict.fromkeys(text for name, text in written if name == label.name and usable(text))
        )
        for label in bare
    }
    labels = [replace(label, examples=filled.get(label.name, label.examples)) for label in task.labels]
    return replace(task, labels=tuple[Label, ...](labels))
