"""`distill explore`: the step with what it is given, its page, one task looked at, and a log's task picked.

Refuses to print an excerpt of anybody's data where `--no-excerpts` stands.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill import views_explore
from distill.config import ExploreConfig, SpendConfig, TeacherConfig
from distill.console import Bar
from distill.errors import UsageError
from distill.opened import base_student
from distill.options import fill
from distill.report.scouting import look
from distill.scouted import Scouted
from distill.store import jsonl
from distill.store.logs import FAILED
from distill.store.run import Run, Step
from distill.teacher.opening import identity_of
from distill.types import Task
from distill.workplace import Context, Workplace, filled, with_teacher, workplace

Shown = tuple[dict[str, Any], Sequence[Any]]


class Looking(NamedTuple):
    """How the result is shown: one task alone, sorted by what, and without anybody's words."""

    show: str = ""
    sort: str | None = None
    no_excerpts: bool = False


def explore(
    context: Context,
    brief: str,
    given: Mapping[str, Any],
    *,
    counted: Sequence[Step] = (),
    looking: Looking = Looking(),  # noqa: B008 (frozen)
) -> Shown:
    """`distill explore`; what the steps `counted` spent counts towards the budget too."""
    from distill.steps import explore as step

    if looking.show:
        return show(context, looking)
    config = filled(ExploreConfig, given)
    with workplace(context, create=True) as place:
        own = given.get("task") or given.get("from_logs")
        brief = brief or ("" if own else place.run.settings().get("brief", ""))
        teacher_config = place.teacher_config(given)
        source = step.made_from(config, brief, identity_of(teacher_config), teacher_config.prompts)
        summary = place.done("explore", source)
        if summary is None:
            place.record("explore", config)
            place.run.record("brief", brief)

            async def work(teacher: Any, bar: Bar) -> dict[str, Any]:
                means = await means_of(place, config, teacher_config, given)
                return await step.explore(place.run, config, brief, teacher, bar, means)

            spend = fill(SpendConfig, given)
            summary = with_teacher(place, teacher_config, spend, "explore", work, counted=counted)
        if looking.no_excerpts:
            summary = without_words(summary)
        sort = looking.sort or views_explore.default_sort(summary)
        write_page(place.run, summary, sort, excerpts=not looking.no_excerpts)
        return summary, views_explore.explored(place.console, place.run, summary, sort)


def without_words(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary without what a provider said of a failed call: it may quote what it was sent."""
    if not summary.get("logs"):
        return summary
    logs = dict(summary["logs"])
    logs["skipped_why"] = dict[str, int]()
    logs["skipped_lines"] = dict[str, list[int]]()
    for why, count in summary["logs"]["skipped_why"].items():
        short = FAILED if why.startswith(FAILED) else why
        logs["skipped_why"][short] = logs["skipped_why"].get(short, 0) + count
        logs["skipped_lines"].setdefault(short, []).extend(summary["logs"]["skipped_lines"][why])
    return {**summary, "logs": logs}


async def means_of(
    place: Workplace, config: ExploreConfig, teacher: TeacherConfig, given: Mapping[str, Any]
) -> Any:
    """What the step needs beside a teacher: prices, a base student, and what to warn of."""
    from distill.logged_tasks import priced
    from distill.teacher.opening import prices_of
    from distill.teacher.prices import logged_price
    from distill.worth import Means

    student = base_student(place, config.student, fetch=given.get("student") is not None)
    return Means(
        prices=prices_of(teacher),
        usd_of=priced(lambda model: logged_price(model, teacher)),
        student=student,
        notes=await expiry_notes(place, teacher),
    )


async def expiry_notes(place: Workplace, config: TeacherConfig) -> tuple[str, ...]:
    """A warning where the endpoint lists a day on which the teacher goes; run.json has it too."""
    import datetime

    from distill.teacher.opening import expiry

    found = await expiry(config)
    if found is None:
        return ()
    place.run.record("teacher_expiry", {"model": found.model, "date": str(found.date), "field": found.field})
    sentence = found.sentence(datetime.datetime.now(datetime.UTC).date())
    place.console.say(f"warning: {sentence}")
    return (sentence,)


def scouted(run: Run) -> list[Scouted]:
    """What explore's tasks.jsonl holds, in the order of its numbers. Raises UsageError where it is absent."""
    if not run.tasks.exists():
        raise UsageError("nothing is explored yet", where="--show", hint='distill explore "BRIEF"')
    return [record for _, record in jsonl.read(run.tasks, Scouted)]


def show(context: Context, looking: Looking) -> Shown:
    """`distill explore --show N`: a task by its number or name. Raises UsageError naming those there are."""
    with workplace(context) as place:
        tasks = scouted(place.run)
        for number, found in enumerate(tasks, 1):
            if looking.show in (str(number), found.task.name):
                told = look(found, excerpts=not looking.no_excerpts)
                return told, views_explore.looked(place.console, told)
    known = ", ".join(f"{number} {found.task.name}" for number, found in enumerate(tasks, 1))
    raise UsageError(f"explore found no task '{looking.show}'", where="--show", hint=f"there are: {known}")


def write_page(run: Run, summary: Mapping[str, Any], sort: str, *, excerpts: bool) -> None:
    """Write 1-explore/report.html."""
    from distill.report.scouting_page import render

    by_name = {found.task.name: found for found in scouted(run)} if run.tasks.exists() else {}
    rows = [row for row in views_explore.ordered(summary, sort) if row["name"] in by_name]
    looks = [look(by_name[row["name"]], excerpts=excerpts) for row in rows]
    page = render({**summary, "tasks": rows}, looks, run=run.name, sort=sort, excerpts=excerpts)
    jsonl.replace_bytes(run.explored_html, [page.encode("utf-8", "replace")])


def pick_requests(run: Run, task: Task) -> Path | None:
    """The logged requests of a task that was found in a log, written for generate; None where it was not."""
    from distill.logged_tasks import write_picked

    run.picked_requests.unlink(missing_ok=True)
    if not run.tasks.exists() or not run.requests.exists():
        return None
    bare = msgspec.structs.replace(task, prompt=None)
    for found in scouted(run):
        if found.traffic and msgspec.structs.replace(found.task, prompt=None) == bare:
            write_picked(run.requests, found.traffic["template"], run.picked_requests)
            return run.picked_requests
    return None
