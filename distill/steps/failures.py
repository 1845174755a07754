"""What the student gets wrong, clustered and named: misses to refill, and held-out ones to be read.

Refuses to let a held-out row into what is refilled: those clusters come from valid and train rows alone.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from distill import prompts
from distill.clustering import NO_ANSWER, Cluster, Failures, Source, clustered, missed
from distill.config import FailuresConfig
from distill.errors import UsageError
from distill.held_out import HeldOut, read_split, turns, unique
from distill.parse import parse_answer
from distill.probing import gather
from distill.results import VALID
from distill.store import jsonl
from distill.store.answers import Answers
from distill.store.refills import of_task
from distill.store.run import Run, digest, read_json
from distill.store.taskfile import read_task
from distill.systems import Other, adapter_digest, answer_tokens, ask_student
from distill.teacher.protocol import Teacher
from distill.types import Prediction, Progress, Request, Task

SHOWN = 5
NAME_TOKENS, NAME_CHARS = 24, 60


def made_from(run: Run, config: FailuresConfig, teacher: str | None) -> dict[str, Any]:
    """What the clusters depend on, by name; `teacher` names them, if one does."""
    return {
        "on": config.on,
        "named by": teacher if config.name else None,
        "answers": digest(run.answers),
        "adapter": adapter_digest(run),
        "task.toml": of_task(read_task(run.task)),
        "train.jsonl": digest(run.splits["train"]) if config.on == "train" else None,
    }


def compared_answers(run: Run) -> list[Prediction]:
    """The student's answers in compare, parsed anew.

    Raises UsageError where they are of another student, or of other labels than task.toml has.
    """
    report = run.summary("compare") or {}
    if report.get("made_from", {}).get("adapter") != adapter_digest(run):
        raise UsageError(
            "the student has changed since it was compared",
            where=str(run.answers),
            hint="run: distill compare",
        )
    task = read_task(run.task)
    rows = [row for _, row in jsonl.read(run.answers, Prediction) if row.who in ("student", VALID)]
    if strange := sorted({row.gold for row in rows} - set(task.label_names)) if task.labels else []:
        raise UsageError(
            f"the compared rows have labels that task.toml has not: {', '.join(strange[:SHOWN])}",
            where=str(run.task),
            hint="name them as they were, or make new data: distill generate, finetune, compare",
        )
    return [msgspec.structs.replace(row, answer=parse_answer(task, row.text)) for row in rows]


def known(run: Run, source: dict[str, Any]) -> dict[str, Any] | None:
    """failures.json, where it was made from `source`; else None."""
    found = read_json(run.failures) if run.failures.exists() else None
    return found if found and found["made_from"] == source else None


async def failures(
    run: Run,
    config: FailuresConfig,
    student: Other | None,
    teacher: Teacher | None,
    progress: Progress,
) -> dict[str, Any]:
    """Write failures.json and return it, as JSON has it.

    `student` answers its training rows with --on train, `teacher` names the clusters with --name. Raises
    UsageError where the student was not compared as it is.
    """
    task, rows = read_task(run.task), compared_answers(run)
    if student is not None:
        rows += await trained_rows(run, config, task, student, progress)
    by_split = {
        split: [row for row in rows if row.split == split] for split in dict.fromkeys(r.split for r in rows)
    }
    misses = {split: missed(task, mine) for split, mine in by_split.items()}
    ours = [split for split in by_split if split in ("valid", "train")]
    wrong, every = ([row for split in ours for row in of[split]] for of in (misses, by_split))
    clusters = clustered(task, wrong, every)
    if teacher is not None:
        clusters = await named(task, clusters, teacher, progress)
    found = Failures(
        task=task.name,
        sources=tuple(
            Source(split=split, rows=len(mine), misses=len(misses[split])) for split, mine in by_split.items()
        ),
        clusters=tuple(clusters),
        reading=tuple(
            cluster
            for split in by_split
            if split not in ours
            for cluster in clustered(task, misses[split], by_split[split])
        ),
        made_from=made_from(run, config, teacher.identity if teacher else None),
    )
    jsonl.replace_json(run.failures, found)
    return read_json(run.failures)


async def trained_rows(
    run: Run, config: FailuresConfig, task: Task, student: Other, progress: Progress
) -> list[Prediction]:
    """The student's answers to the rows it was trained on; kept in own.jsonl, so that none is asked twice."""
    pairs = read_split(run, "train")
    rows = unique(
        [turn for pair in pairs for turn in turns(pair)] if task.kind in ("text", "chat") else pairs
    )
    held = HeldOut({"train": rows}, {row.id: row.id for row in rows})
    answers = Answers(run.own_answers, task)
    try:
        asked = await ask_student(
            answers, student, progress, rows=held, room=answer_tokens(run), batch_size=config.answer_batch
        )
        answers.keep_only({student.who: asked})
    finally:
        answers.close()
    return answers.of(student.who, asked)


async def named(
    task: Task, clusters: Sequence[Cluster], teacher: Teacher, progress: Progress
) -> list[Cluster]:
    """The clusters with the names a teacher gives them; one it gives none keeps its own."""
    progress.begin("naming clusters", len(clusters))

    async def name(cluster: Cluster) -> Cluster:
        wrong = "Inputs that it got wrong, each with the right answer:"
        if cluster.given and task.kind == "label":
            wrong = f"Inputs that are {cluster.given}, for which it said {cluster.answered or NO_ANSWER}:"
        shown = [f"- {miss.input}" for miss in cluster.rows[:SHOWN]]
        if task.kind != "label":
            shown = [f"- {miss.input} -> {miss.gold}" for miss in cluster.rows[:SHOWN]]
        turns = prompts.render(
            "name-failures", instruction=task.instruction, wrong=wrong, examples="\n".join(shown)
        )
        completion = await teacher.complete(Request(messages=turns, max_tokens=NAME_TOKENS))
        progress.advance()
        lines = completion.text.strip().splitlines() or [""]
        said = " ".join(lines[0].split()).strip(" .\"'*")[:NAME_CHARS]
        if not said:
            return cluster
        what = (
            f"{cluster.given} answered as {cluster.answered or NO_ANSWER}: " if task.kind == "label" else ""
        )
        return msgspec.structs.replace(cluster, name=what + said)

    return await gather(name, clusters)
