"""What making needs before it starts: files read, inputs planned, the teacher's prompt settled.

Refuses to buy anything before every file is read.
"""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.answering import Answering
from distill.ask import prompt_names
from distill.bettering import Trial, election_pays, known_rows, revision_pays
from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.chain import on_answers
from distill.given import IMPORTED, given_candidates, logged_candidates
from distill.making import Making
from distill.planning import has_attributes, propose_attributes
from distill.probing import choice, race_length, try_prompts, write_probes
from distill.scouted import Probe
from distill.store.logs import read_logs
from distill.store.pairs import read_pairs
from distill.store.refills import refilled_pairs
from distill.store.run import Run
from distill.store.shapes import read_gold, read_inputs
from distill.store.taskfile import read_task, update_attributes, update_prompt
from distill.teacher.ledgered import Ledgered
from distill.teacher.protocol import Teacher
from distill.types import Candidate, Example, Progress, Task

SKIPPED_SHOWN = 3
PROBES_A_LABEL = 36
PROBES_MOST = 72
PROBES_WITHOUT_LABELS = 24


class Sources(NamedTuple):
    """What the user's files bring: gold examples, candidates (None: to write), inputs to keep away from."""

    seeds: tuple[Example, ...]
    given: list[Candidate] | None
    protected: list[str]


def read_sources(run: Run, task: Task, config: GenerateConfig, progress: Progress) -> Sources:
    """Read every file before anything is bought. Raises UsageError, DataError (file:line)."""
    seeds = tuple(read_gold(config.seeds, task)) if config.seeds else ()
    gold = run.settings().get("compare", {}).get("gold")
    protected = [row.input for row in read_gold(Path(gold), None)] if gold and Path(gold).is_file() else []
    return Sources(seeds, read_given(config, progress), [*protected, *(row.input for row in seeds)])


async def prepared(run: Run, config: GenerateConfig, teacher: Ledgered, progress: Progress) -> Making:
    """The making stage, with the plan and the prompt it works by. Raises UsageError on a bad task or file."""
    task = read_task(run.task)
    sources = read_sources(run, task, config, progress)
    unplanned = config.plan == "on" or (config.plan == "auto" and not has_attributes(task))
    if sources.given is None and unplanned:
        task = await planned(run, task, config, teacher, progress)
    task = await settle_prompt(run, task, config, teacher, progress, sources.seeds)
    config, stages = await settle_stages(task, config, teacher, progress, sources.seeds)
    return open_making(run, task, config, teacher, progress, sources, stages=stages)


async def settle_stages(
    task: Task, config: GenerateConfig, teacher: Teacher, progress: Progress, seeds: Sequence[Example]
) -> tuple[GenerateConfig, dict[str, Any]]:
    """(`config` with election and revision on or off, why each): "auto" is on where it pays on known rows."""
    known, found = known_rows(seeds, config.lift_rows, config.seed), dict[str, Any]()
    rules = on_answers(task, config)

    async def tried(pays: Trial, config: GenerateConfig) -> dict[str, Any]:
        return await pays(Answering(task, config, teacher, seeds, rules), known, progress)

    try:
        # The votes first: what is revised is the answer they leave.
        found["election"] = {"on": config.elect == "on", "why": f"--elect {config.elect}"}
        if config.elect == "auto":
            found["election"] = await tried(election_pays, dataclasses.replace(config, elect="on"))
        config = dataclasses.replace(config, elect="on" if found["election"]["on"] else "off")
        found["revision"] = {"on": config.revise == "on", "why": f"--revise {config.revise}"}
        if config.revise == "auto":
            found["revision"] = await tried(revision_pays, dataclasses.replace(config, revise="on"))
        config = dataclasses.replace(config, revise="on" if found["revision"]["on"] else "off")
    finally:
        rules.close()
    return config, found


def open_making(
    run: Run,
    task: Task,
    config: GenerateConfig,
    teacher: Ledgered,
    progress: Progress,
    sources: Sources,
    *,
    through: Teacher | None = None,
    stages: Mapping[str, Any] | None = None,
) -> Making:
    """The making stage on `task` as it stands; `through` is asked in the teacher's place."""
    imported = [pair for pair in read_pairs(run) if pair.origin == IMPORTED]
    known = refilled_pairs(run, task)
    return Making(
        run,
        task,
        config,
        teacher,
        progress,
        **sources._asdict(),
        imported=imported,
        known=known,
        through=through,
        stages=stages,
    )


def read_given(config: GenerateConfig, progress: Progress) -> list[Candidate] | None:
    """What --inputs and --from-logs bring; None where the teacher is to write the inputs."""
    if config.inputs and config.from_logs:
        raise UsageError("two sources of inputs", where="--inputs, --from-logs", hint="give one of them")
    if config.inputs:
        return given_candidates(read_inputs(config.inputs))
    if config.from_logs is None:
        return None
    logs = read_logs(config.from_logs)
    for line, reason in logs.skipped[:SKIPPED_SHOWN]:
        progress.say(f"{config.from_logs}:{line}: skipped: {reason}")
    if logs.skipped:
        progress.say(f"{len(logs.skipped)} lines of {config.from_logs} skipped, {len(logs.entries)} read")
    return logged_candidates([(entry.messages, entry.response, entry.source) for entry in logs.entries])


async def planned(
    run: Run, task: Task, config: GenerateConfig, teacher: Ledgered, progress: Progress
) -> Task:
    """`task` with the attributes that the teacher proposes, written into task.toml to be edited."""
    progress.begin("planning what inputs vary over", None)
    found = await propose_attributes(task, teacher, config.n, seed=config.seed, progress=progress)
    update_attributes(run.task, found)
    return msgspec.structs.replace(task, attributes=found)


async def settle_prompt(
    run: Run,
    task: Task,
    config: GenerateConfig,
    teacher: Ledgered,
    progress: Progress,
    seeds: Sequence[Example] = (),
) -> Task:
    """`task` with the prompt that reads best: explore's, or the best on gold rows or on written probes."""
    if task.kind == "chat" or (task.prompt is not None and task.prompt.n > 0):
        return task
    count = probe_count(task)
    if len(seeds) >= PROBES_WITHOUT_LABELS:
        known = random.Random(config.seed).sample(seeds, min(count, len(seeds)))
        probes = [Probe(row.input, row.output, gold=True) for row in known]
    else:
        progress.begin("writing probes to choose the teacher's prompt on", count)
        probes = await write_probes(task, teacher, count, seed=config.seed + 101, progress=progress)
    progress.begin("racing prompts", race_length(len(prompt_names(task)), len(probes)))
    trials = await try_prompts(
        task, teacher, probes, max_tokens=config.max_answer_tokens, progress=progress, shots=seeds
    )
    task = msgspec.structs.replace(task, prompt=choice(trials))
    update_prompt(run.task, task)
    return task


def probe_count(task: Task) -> int:
    """Probes that the prompt is chosen on."""
    return min(PROBES_MOST, PROBES_A_LABEL * len(task.labels)) if task.labels else PROBES_WITHOUT_LABELS
