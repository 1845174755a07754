"""Steps 1 and 2 of the recipe: propose tasks for a brief, engineer each one's prompt, rank them.

It refuses to rank what the probes cannot tell apart: every score has its interval and what it rests on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.config import ExploreConfig, plain
from distill.errors import UsageError
from distill.headroom import with_base
from distill.logged_tasks import by_log, logged_tasks
from distill.prompts import OWN, files_in
from distill.proposing import brief_file, brief_parts, propose
from distill.scouted import Scouted, Source, Standing, Trial
from distill.scouting import scout
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.store.shapes import read_gold
from distill.store.taskfile import read_task
from distill.teacher.protocol import Teacher
from distill.types import Example, Progress, Task
from distill.worth import Means, measured, with_terms

FEWEST_LOGGED = 20
"""Distinct logged rows from which a task is scored on them, and not on inputs that the teacher writes."""
NO_MEANS = Means()


class Job(NamedTuple):
    """A task to scout, and what is known of it; rows of a log are no gold, but are split like it."""

    task: Task
    source: Source
    gold: Sequence[Example] = ()
    baseline: str = ""
    traffic: dict[str, Any] | None = None


ORDER: tuple[Standing, ...] = ("good", "~OK", "unclear", "poor")


def made_from(config: ExploreConfig, brief: str, teacher: str, prompts: Path | None = None) -> dict[str, Any]:
    """What the step's result depends on, by name; `prompts` is the user's own folder of templates."""
    files = files_in(Path(prompts)) if prompts else []
    own = {path.relative_to(str(prompts)).as_posix(): digest(path) for path in files}
    return {
        **plain(config),
        "brief": brief,
        "brief file": digest(brief_file(brief)),
        "teacher": teacher,
        "task file": digest(config.task),
        "logs file": digest(config.from_logs),
        "gold file": digest(config.gold),
        "prompts": own,
    }


async def explore(
    run: Run,
    config: ExploreConfig,
    brief: str,
    teacher: Teacher,
    progress: Progress,
    means: Means = NO_MEANS,
) -> dict[str, Any]:
    """Score the tasks of `brief`, task file and logs; writes 1-explore/ and returns its summary.

    Where the money ends on the way, the summary says so under "stopped", holds what there is, and the step
    is not done. Raises UsageError where there is nothing to score, or gold without a task, TeacherError
    where the teacher proposes nothing, DataError where no line of the log can be read.
    """
    if not brief.strip() and config.task is None and config.from_logs is None:
        raise UsageError(
            "an empty brief", where="BRIEF", hint='say what your company does: distill explore "…"'
        )
    own, gold = own_task(config)
    if config.ok > config.good:
        raise UsageError(
            f"the bar of ~OK, {config.ok:g}, is above that of good, {config.good:g}", where="--ok, --good"
        )
    if brief.strip():
        brief_parts(brief)  # an unfit file is said before anything is paid for
    run.begin("explore")
    jobs = [Job(own, "task", gold)] if own else []
    logs: dict[str, Any] | None = None
    if config.from_logs is not None:
        logged, logs = await logged_tasks(
            config.from_logs, run.requests, config.tasks, means.usd_of, teacher, progress
        )
        jobs += [Job(each.task, "logs", each.rows, each.baseline, each.traffic) for each in logged]
    if brief.strip():
        proposed = await propose(teacher, brief, config.tasks, seed=config.seed, progress=progress)
        jobs += [Job(task, "brief") for task in proposed]
    found: list[Scouted] = []
    for job in jobs:
        found.append(await done(job, config, teacher, progress, means))
        keep(run, found)
        progress.say(resolved(len(found), len(jobs), found[-1]))
        if found[-1].unfinished:
            found += [untried(job, found[-1].unfinished) for job in jobs[len(found) :]]
            keep(run, found)
            break
    summary = {**summarised(brief, found), "logs": logs, "notes": list(means.notes)}
    if not summary["stopped"]:
        run.finish("explore", summary, made_from(config, brief, teacher.identity, OWN.get()))
    return summary


async def done(
    job: Job, config: ExploreConfig, teacher: Teacher, progress: Progress, means: Means
) -> Scouted:
    """One task scouted, with what it would save and how far the base student is behind."""
    enough = job.source == "task" or len(job.gold) >= FEWEST_LOGGED
    found = await scout(
        job.task,
        config,
        teacher,
        progress,
        gold=job.gold if enough else [],
        baseline=job.baseline,
        source=job.source,
    )
    found = msgspec.structs.replace(found, traffic=job.traffic)
    if job.source == "logs" and enough:
        found = by_log(found, list((job.traffic or {}).get("models", {})))
    if measured(found) and not config.no_student and (student := means.student()) is not None:
        progress.begin(f"asking the base student about {found.task.name}", found.trials[0].n)
        found = await with_base(found, student)
        progress.advance(found.trials[0].n)
    return with_terms(found, means.prices, config.hardware_usd_per_hour)


def untried(job: Job, stopped: str) -> Scouted:
    """A task that the money did not reach: finding it was paid for."""
    reason = "the money ended before it was tried"
    return Scouted(
        job.task, "unclear", "nothing was asked", [], reason, unfinished=stopped, source=job.source,
        traffic=job.traffic,
    )  # fmt: skip


def resolved(number: int, total: int, found: Scouted) -> str:
    """One line of the table that grows while tasks are scouted."""
    head = f"{number}/{total} {found.task.name[:32]:<32} {found.standing:<8}"
    if not measured(found):
        return f"{head} {found.reason}"
    best, base = found.trials[0], found.base
    behind = f"  student {base.value:>4.0%}" if base else ""
    return f"{head} {best.value:>4.0%} ({best.low:.0%} to {best.high:.0%} of {best.n}){behind}"


def own_task(config: ExploreConfig) -> tuple[Task | None, list[Example]]:
    """The task of `--task` and the rows of `--gold`. Raises UsageError for gold without a task."""
    if config.gold is not None and config.task is None:
        raise UsageError(
            "labelled rows need their task",
            where="--gold",
            hint="add: --task task.toml, whose answers they are",
        )
    own = read_task(config.task) if config.task else None
    return own, read_gold(config.gold, own) if config.gold else []


def keep(run: Run, scouted: Sequence[Scouted]) -> None:
    """Write 1-explore/: the tasks, best first, and every probe with the task it was for."""
    jsonl.replace(run.tasks, ranked(scouted))
    probes = [
        {"task": found.task.name, **msgspec.to_builtins(probe)} for found in scouted for probe in found.probes
    ]
    jsonl.replace(run.probes, probes)


def summarised(brief: str, scouted: Sequence[Scouted]) -> dict[str, Any]:
    """What the table, `--json` and summary.json hold."""
    best_first = ranked(scouted)
    return {
        "brief": brief,
        "tasks": [row(number, found, best_first) for number, found in enumerate(best_first, 1)],
        "stopped": next((found.unfinished for found in scouted if found.unfinished), ""),
    }


def ranked(scouted: Sequence[Scouted]) -> list[Scouted]:
    """Best standing first, then by the lower end of the best prompt's interval, then by its score."""

    def place(found: Scouted) -> tuple[int, float, float]:
        low, value = (found.trials[0].low, found.trials[0].value) if found.trials else (0.0, 0.0)
        return ORDER.index(found.standing), -low, -value

    return sorted(scouted, key=place)


def row(number: int, found: Scouted, others: Sequence[Scouted] = ()) -> dict[str, Any]:
    """One line of the table; `ties` are the tasks that these probes cannot tell from it."""
    best = found.trials[0] if found.trials else None
    measured = best is not None and not found.unfinished
    return {
        "number": number,
        "name": found.task.name,
        "kind": found.task.kind,
        "instruction": found.task.instruction,
        "source": found.source,
        "standing": found.standing,
        "prompt": best.title if best else "",
        "value": best.value if best else 0.0,
        "low": best.low if best and measured else 0.0,
        "high": best.high if best and measured else 1.0,
        "n": best.n if best else 0,
        "basis": best.basis if best else None,
        "trust": found.trust,
        "trusted": found.trusted,
        "reason": found.reason,
        "ties": [other.task.name for other in others if other is not found and tied(found, other)],
        "calls": found.calls,
        "base": scored(found.base) if found.base else None,
        "traffic": found.traffic,
        "terms": found.terms,
        "prompts": by_title(found.trials),
    }


def by_title(trials: Sequence[Trial]) -> dict[str, float]:
    """Each prompt's score; several may go by one title, with other examples: the first is the best."""
    found: dict[str, float] = {}
    for trial in trials:
        found.setdefault(trial.title, round(trial.value, 4))
    return found


def scored(trial: Trial) -> dict[str, Any]:
    """A score with its interval."""
    return {"value": trial.value, "low": trial.low, "high": trial.high, "n": trial.n}


def tied(one: Scouted, other: Scouted) -> bool:
    """Whether two tasks stand alike and their intervals overlap."""
    if one.standing != other.standing or not one.trials or not other.trials:
        return False
    left, right = one.trials[0], other.trials[0]
    return left.low <= right.high and right.low <= left.high
