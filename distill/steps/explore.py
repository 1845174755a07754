"""Steps 1 and 2 of the recipe: propose tasks for a brief, try each with several prompts, rank them.

It refuses to rank what the probes cannot tell apart: every score has its interval and what it rests on.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from distill import prompts
from distill.ask import prompt_names
from distill.config import ExploreConfig, plain
from distill.errors import TeacherError, UsageError
from distill.parse import parse_proposals
from distill.planning import plan
from distill.probing import (
    Probe,
    Trial,
    choice,
    gather,
    race_length,
    try_prompts,
    write_input,
    write_probes,
)
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.store.taskfile import read_task
from distill.teacher.protocol import Teacher
from distill.types import Label, Progress, Request, Task

Standing = Literal["good", "~OK", "unclear", "poor"]
ORDER: tuple[Standing, ...] = ("good", "~OK", "unclear", "poor")
ANSWER_TOKENS = {"label": 24, "json": 160, "text": 160, "chat": 160}
EXAMPLES_A_LABEL = 2
ROUNDS = 3
TRUST = {
    "gold": "your labelled rows",
    "construction": "inputs written for a label; some of them miss it",
    "agreement": "two samples agree; both can be wrong",
}


class Scouted(msgspec.Struct, frozen=True):
    """A task with what each prompt scored on its probes, best prompt first."""

    task: Task
    standing: Standing
    trust: str
    trials: list[Trial]


def made_from(config: ExploreConfig, brief: str, teacher: str) -> dict[str, Any]:
    """What the step's result depends on, by name."""
    return {**plain(config), "brief": brief, "teacher": teacher, "task file": digest(config.task)}


async def explore(
    run: Run, config: ExploreConfig, brief: str, teacher: Teacher, progress: Progress
) -> dict[str, Any]:
    """Score the tasks of `brief` and of `config.task`; writes 1-explore/ and returns its summary.

    Raises UsageError where there is neither brief nor task, TeacherError where the teacher proposes nothing.
    """
    if not brief.strip() and config.task is None:
        raise UsageError(
            "an empty brief", where="BRIEF", hint='say what your company does: distill explore "…"'
        )
    tasks = [read_task(config.task)] if config.task else []
    run.begin("explore")
    if brief.strip():
        tasks += await propose(teacher, brief, config, progress)
    scouted: list[Scouted] = []
    probes: list[dict[str, Any]] = []
    for task in tasks:
        found, tried_on = await scout(task, config, teacher, progress)
        scouted.append(found)
        probes += [{"task": found.task.name, **msgspec.to_builtins(probe)} for probe in tried_on]
        jsonl.replace(run.tasks, ranked(scouted))
        jsonl.replace(run.probes, probes)
    summary = {
        "brief": brief,
        "tasks": [row(number, entry) for number, entry in enumerate(ranked(scouted), 1)],
    }
    run.finish("explore", summary, made_from(config, brief, teacher.identity))
    return summary


def ranked(scouted: Sequence[Scouted]) -> list[Scouted]:
    """Best standing first, then by the lower end of the best prompt's interval."""
    return sorted(scouted, key=lambda found: (ORDER.index(found.standing), -found.trials[0].low))


def row(number: int, found: Scouted) -> dict[str, Any]:
    """One line of the table."""
    best = found.trials[0]
    return {
        "number": number,
        "name": found.task.name,
        "kind": found.task.kind,
        "instruction": found.task.instruction,
        "standing": found.standing,
        "prompt": best.prompt,
        "value": best.value,
        "low": best.low,
        "high": best.high,
        "n": best.n,
        "basis": best.basis,
        "trust": found.trust,
        "prompts": {trial.prompt: round(trial.value, 4) for trial in found.trials},
    }


async def propose(teacher: Teacher, brief: str, config: ExploreConfig, progress: Progress) -> list[Task]:
    """`config.tasks` different tasks, in up to ROUNDS rounds. Raises TeacherError where there is none."""
    progress.begin("proposing tasks", None)
    tasks: dict[str, Task] = {}
    for turn in range(ROUNDS):
        missing = config.tasks - len(tasks)
        if missing <= 0:
            break
        known = f"Already proposed, do not repeat: {', '.join(tasks)}." if tasks else ""
        completion = await teacher.complete(proposal_request(brief, missing, known, config.seed + turn))
        for task in parse_proposals(completion.text):
            tasks.setdefault(task.name, task)
        progress.advance(note=f"{len(tasks)} of {config.tasks}")
    if not tasks:
        raise TeacherError(
            f"{teacher.model} proposed no task that could be read, asked {ROUNDS} times",
            hint="say more in the brief, try another --teacher, or write a task.toml and pass --task FILE",
        )
    return list(tasks.values())[: config.tasks]


def proposal_request(brief: str, count: int, known: str, seed: int) -> Request:
    """Ask for `count` tasks, held to their schema where the endpoint can."""
    texts = {"type": "array", "items": {"type": "string"}, "maxItems": 8}
    entry: dict[str, Any] = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "enum": ["label", "text", "json"]},
            "instruction": {"type": "string"},
            "input_noun": {"type": "string"},
            "labels": texts,
            "fields": texts,
        },
    }
    entry |= {"required": list(entry["properties"]), "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": entry, "minItems": count, "maxItems": count}},
        "required": ["tasks"],
        "additionalProperties": False,
    }
    return Request(
        messages=prompts.render("propose-tasks", brief=brief, count=str(count), known=known),
        temperature=0.8,
        seed=seed,
        max_tokens=200 + 220 * count,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "tasks", "strict": True, "schema": schema},
        },
    )


async def scout(
    task: Task, config: ExploreConfig, teacher: Teacher, progress: Progress
) -> tuple[Scouted, list[Probe]]:
    """Write probes for one task and try every prompt on them."""
    missing = sum(1 for label in task.labels if not label.examples) * EXAMPLES_A_LABEL
    progress.begin(f"writing examples and probes for {task.name}", missing + config.probes)
    task = await with_examples(task, teacher, config.seed, progress)
    probes = await write_probes(task, teacher, config.probes, seed=config.seed + 1, progress=progress)
    progress.begin(f"trying {task.name}", race_length(len(prompt_names(task)), len(probes)))
    trials = await try_prompts(task, teacher, probes, max_tokens=ANSWER_TOKENS[task.kind], progress=progress)
    task = msgspec.structs.replace(task, prompt=choice(trials))
    standing = judge_standing(trials[0], config)
    return Scouted(task, standing, TRUST[trials[0].basis], trials), probes


async def with_examples(task: Task, teacher: Teacher, seed: int, progress: Progress) -> Task:
    """`task` with inputs written for each label that has none, to serve as shots."""
    bare = [label for label in task.labels if not label.examples]
    if not bare:
        return task
    narrowed = msgspec.structs.replace(task, labels=tuple(bare))
    cells = [cell for cell, _ in zip(plan(narrowed, seed), range(EXAMPLES_A_LABEL * len(bare)), strict=False)]

    async def write(cell: Any) -> tuple[str, str]:
        text, _ = await write_input(narrowed, teacher, cell, temperature=0.8, seed=seed)
        progress.advance(note=f"{task.name}: examples")
        return cell.asked, text

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


def judge_standing(best: Trial, config: ExploreConfig) -> Standing:
    """good / ~OK / poor where the whole interval is on one side of the bar, else unclear."""
    if best.low >= config.good:
        return "good"
    if best.low >= config.ok:
        return "~OK"
    return "poor" if best.high < config.ok else "unclear"
