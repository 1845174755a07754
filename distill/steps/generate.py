"""Step 4 of the recipe: N accepted pairs, planned, written by the teacher, filtered, split and frozen.

It settles which prompt reads best, has the candidates made, and leaves pairs, split and receipt. It refuses
to move a row that an earlier run held out.
"""

import time
from pathlib import Path
from typing import Any

import msgspec

from distill import prompts
from distill.ask import prompt_names, student_messages
from distill.config import GenerateConfig, plain
from distill.making import Making
from distill.probing import choice, race_length, try_prompts, write_probes
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.store.shapes import read_gold, read_inputs
from distill.store.split import split_pairs
from distill.store.taskfile import read_task, update_prompt
from distill.teacher.ledgered import Ledgered
from distill.types import Candidate, Pair, Progress, Split, Task, content_id

PROBES_A_LABEL = 36
PROBES_MOST = 72
PROBES_WITHOUT_LABELS = 24


def made_from(run: Run, config: GenerateConfig, teacher: str) -> dict[str, Any]:
    """What the step's result depends on, by name."""
    templates = {
        f"prompts/{path.stem}": prompts.fingerprint(path.stem) for path in prompts.folder().glob("*.txt")
    }
    task = msgspec.structs.replace(read_task(run.task), prompt=None)
    files = {"inputs file": digest(config.inputs), "seeds file": digest(config.seeds)}
    return {**plain(config), **templates, **files, "task.toml": content_id(task), "teacher": teacher}


async def generate(run: Run, config: GenerateConfig, teacher: Ledgered, progress: Progress) -> dict[str, Any]:
    """Fill `2-generate/` with exactly `config.n` accepted pairs and return the receipt.

    Raises UsageError on a bad task or file, DistillError where N cannot be reached; what was bought stays
    in the ledger, so running again pays for nothing twice.
    """
    started = time.monotonic()
    task = read_task(run.task)
    seeds = tuple(read_gold(config.seeds, task)) if config.seeds else ()
    inputs = read_inputs(config.inputs) if config.inputs else None
    before = frozen(run)
    run.begin("generate")
    task = await settle_prompt(run, task, config, teacher, progress)
    making = Making(run, task, config, teacher, progress, seeds, inputs)
    accepted = await making.accepted()
    pairs = [pair(task, candidate) for candidate in accepted]
    sizes = write_pairs(run, task, config, pairs, before)
    receipt = {
        **making.receipt(len(pairs)),
        "splits": sizes,
        "calls": teacher.ledger.calls,
        "calls_now": teacher.bought,
        "cost_usd": teacher.ledger.cost_usd,
        "filter_lift": None,
        "seconds": round(time.monotonic() - started, 1),
    }
    run.finish("generate", receipt, made_from(run, config, teacher.identity))
    return receipt


async def settle_prompt(
    run: Run, task: Task, config: GenerateConfig, teacher: Ledgered, progress: Progress
) -> Task:
    """`task` with the prompt that reads best: explore's, or the best on probes written now."""
    if task.prompt is not None and task.prompt.n > 0:
        return task
    count = min(PROBES_MOST, PROBES_A_LABEL * len(task.labels)) if task.labels else PROBES_WITHOUT_LABELS
    progress.begin("writing probes to choose the teacher's prompt on", count)
    probes = await write_probes(task, teacher, count, seed=config.seed + 101, progress=progress)
    progress.begin("racing prompts", race_length(len(prompt_names(task)), len(probes)))
    trials = await try_prompts(task, teacher, probes, max_tokens=config.max_answer_tokens, progress=progress)
    task = msgspec.structs.replace(task, prompt=choice(trials))
    update_prompt(run.task, task)
    return task


def pair(task: Task, candidate: Candidate) -> Pair:
    """The candidate as a training example."""
    return Pair.make(
        student_messages(task, candidate.input), candidate.answer, candidate.origin, candidate.attributes
    )


def frozen(run: Run) -> dict[str, Split]:
    """Which split each pair of an earlier generate is in: held-out rows stay held out."""
    return {
        record.id: name
        for name, path in run.splits.items()
        if path.exists()
        for _, record in jsonl.read(path, Pair)
    }


def write_pairs(
    run: Run, task: Task, config: GenerateConfig, pairs: list[Pair], before: dict[str, Split]
) -> dict[str, int]:
    """Write pairs.jsonl and the three splits; returns the size of each split."""
    splits = split_pairs(
        pairs,
        valid_share=config.valid_share,
        test_share=config.test_share,
        seed=config.seed,
        near_duplicate=config.near_duplicate,
        by_answer=task.kind == "label",
        frozen=before,
    )
    jsonl.replace(run.pairs, pairs)
    named: dict[Split, list[Pair]] = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    for name, rows in named.items():
        path: Path = run.splits[name]
        jsonl.replace(path, rows)
    return {name: len(rows) for name, rows in named.items()} | {"left_out": len(splits.left_out)}
