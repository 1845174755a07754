"""What a command does: open the run, its lock, teacher and student; hand them to the step; show what it left.

The only place that opens a teacher or a student. It refuses to run a finished step again, and says why it
runs a stale one.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from distill import views
from distill.config import CompareConfig, ExploreConfig, FinetuneConfig, GenerateConfig, TeacherConfig, plain
from distill.console import Bar, Console
from distill.errors import GateFailed, Interrupted, UsageError
from distill.options import fill
from distill.store import jsonl
from distill.store.run import Run, Step
from distill.store.taskfile import read_task, write_task
from distill.types import Task

R = TypeVar("R")


class Context(Protocol):
    """The global flags."""

    run_name: str | None
    runs_dir: Path
    as_json: bool
    quiet: bool


class Workplace:
    """One command's run, locked, with its console."""

    def __init__(self, run: Run, console: Console) -> None:
        self.run, self.console = run, console

    def config(self, kind: type[R], given: Mapping[str, Any], section: str | None = None) -> R:
        """The step's config, written to run.json; a section is what flags left out fall back to."""
        before = self.run.settings().get(section, {}) if section else None
        config = fill(kind, given, before)
        return config

    def record(self, section: str, config: Any) -> None:
        """Write the config that is about to be used to run.json, with what it will run on."""
        self.run.record(section, plain(config))
        self.run.record("versions", versions())

    def done(self, step: Step, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
        """The summary of a finished step that nothing made stale; else None, having said what changed."""
        summary = self.run.summary(step)
        if summary is None:
            return None
        if changed := self.run.changed(step, made_from):
            self.console.say(f"{step} is stale ({', '.join(changed)} changed): running it again")
            return None
        self.console.say(
            f"{step} is done and nothing changed; this is what it left ({self.run.summary_path(step)})"
        )
        return summary


@contextmanager
def workplace(context: Context, *, create: bool = False) -> Iterator[Workplace]:
    """The run of this command, locked while it lasts."""
    console = Console(as_json=context.as_json, quiet=context.quiet)
    run = Run.open(context.runs_dir, context.run_name, create=create)
    with run.locked():
        yield Workplace(run, console)


def explore(context: Context, brief: str, given: Mapping[str, Any]) -> None:
    """`distill explore`."""
    from distill.steps import explore as step

    with workplace(context, create=True) as place:
        brief = brief or ("" if given.get("task") else place.run.settings().get("brief", ""))
        config = place.config(ExploreConfig, given)
        teacher_config = place.config(TeacherConfig, given, "teacher")
        summary = place.done("explore", step.made_from(config, brief, teacher_config.teacher))
        if summary is None:
            place.record("explore", config)
            place.run.record("brief", brief)
            summary = with_teacher(
                place,
                teacher_config,
                "explore",
                lambda teacher, bar: step.explore(place.run, config, brief, teacher, bar),
            )
        place.console.result(summary, *views.explored(place.console, place.run, summary))


def pick(context: Context, which: str, task_file: Path | None) -> None:
    """`distill pick`."""
    with workplace(context, create=task_file is not None) as place:
        if (task_file is None) == (not which):
            raise UsageError(
                "say which task", where="WHICH", hint="distill pick 1, or distill pick --task FILE"
            )
        task = read_task(task_file) if task_file else explored_task(place.run, which)
        if task_file and (measured := known_prompt(place.run, task)):
            task = measured
        if task_file and task.prompt is None:
            jsonl.replace_bytes(place.run.task, [task_file.read_bytes()])
        else:
            write_task(place.run.task, task)
        shown = {"task": task.name, "kind": task.kind, "file": str(place.run.task)}
        place.console.result(shown, *views.picked(place.run, task))


def explored_task(run: Run, which: str) -> Task:
    """Task `which` (number or name) of explore's table. Raises UsageError naming those there are."""
    if not run.tasks.exists():
        raise UsageError(
            "nothing is explored yet", where="WHICH", hint='distill explore "BRIEF", or pick --task FILE'
        )
    found = [record["task"] for _, record in jsonl.read(run.tasks, dict[str, Any])]
    tasks = [msgspec.convert(entry, Task) for entry in found]
    for number, task in enumerate(tasks, 1):
        if which in (str(number), task.name):
            return task
    known = ", ".join(f"{number} {task.name}" for number, task in enumerate(tasks, 1))
    raise UsageError(f"explore found no task '{which}'", where="WHICH", hint=f"there are: {known}")


def known_prompt(run: Run, task: Task) -> Task | None:
    """The same task as explore left it, with its measured prompt, if it was explored."""
    if task.prompt is not None or not run.tasks.exists():
        return None
    for _, record in jsonl.read(run.tasks, dict[str, Any]):
        explored = msgspec.convert(record["task"], Task)
        if msgspec.structs.replace(explored, prompt=None) == task:
            return explored
    return None


def generate(context: Context, given: Mapping[str, Any]) -> None:
    """`distill generate`."""
    from distill.steps import generate as step

    with workplace(context) as place:
        config = place.config(GenerateConfig, given)
        teacher_config = place.config(TeacherConfig, given, "teacher")
        summary = place.done("generate", step.made_from(place.run, config, teacher_config.teacher))
        if summary is None:
            place.record("generate", config)
            summary = with_teacher(
                place,
                teacher_config,
                "generate",
                lambda teacher, bar: step.generate(place.run, config, teacher, bar),
            )
        place.console.result(summary, *views.generated(place.console, place.run, summary))


def finetune(context: Context, given: Mapping[str, Any]) -> None:
    """`distill finetune`."""
    from distill.steps import finetune as step

    with workplace(context) as place:
        config = place.config(FinetuneConfig, given)
        summary = place.done("finetune", step.made_from(place.run, config))
        if summary is None:
            place.record("finetune", config)
            with Bar(place.console) as bar:
                summary = step.finetune(place.run, config, bar)
        place.console.result(summary, *views.finetuned(place.run, summary))


def compare(context: Context, given: Mapping[str, Any]) -> None:
    """`distill compare`. Raises GateFailed unless the verdict is yes."""
    from distill.steps import compare as step

    with workplace(context) as place:
        config = place.config(CompareConfig, given)
        teacher_config = place.config(TeacherConfig, given, "teacher")
        summary = place.done("compare", step.made_from(place.run, config, teacher_config.teacher))
        if summary is None:
            place.record("compare", config)
            student, base = open_students(place)
            summary = with_teacher(
                place,
                teacher_config,
                "compare",
                lambda teacher, bar: step.compare(place.run, config, teacher, student, base, bar),
            )
        place.console.result(summary, *views.compared(place.run, summary))
        if summary["verdict"]["answer"] != "yes":
            raise GateFailed("the student did not pass the gate")


def status(context: Context) -> None:
    """`distill status`."""
    console = Console(as_json=context.as_json, quiet=context.quiet)
    run = Run.open(context.runs_dir, context.run_name)
    standing = views.standing(run)
    console.result(standing, *views.stood(console, standing))


def run_all(context: Context, brief: str, which: str, given: Mapping[str, Any]) -> None:
    """`distill run`: each step as if typed by itself; a task of one's own is picked as it stands."""
    explore(context, brief, given)
    if given.get("task") and not brief:
        pick(context, "", given["task"])
    else:
        pick(context, which, None)
    generate(context, given)
    finetune(context, given)
    compare(context, given)


def with_teacher(
    place: Workplace,
    config: TeacherConfig,
    step: Step,
    work: Callable[[Any, Bar], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Open the teacher, `work` with it, close it; the first Ctrl-C stops sending and keeps what is paid."""
    from distill.teacher.opening import open_teacher

    place.record("teacher", config)

    async def session() -> dict[str, Any]:
        teacher = open_teacher(config, place.run, step)
        with interruptible(teacher.stop, place.console), Bar(place.console) as bar:
            try:
                return await work(teacher, bar)
            except Interrupted:
                place.console.say(f"kept: {teacher.bought} calls bought now, {teacher.reused} reused")
                raise
            finally:
                await teacher.close()

    return asyncio.run(session())


@contextmanager
def interruptible(stop: Callable[[], None], console: Console) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: `stop`; the second leaves at once."""
    loop = asyncio.get_running_loop()
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if asked:
            os._exit(130)
        asked = True
        console.say("stopping: waiting for the calls already sent (Ctrl-C again leaves at once)")
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def open_students(place: Workplace) -> tuple[Any, Any]:
    """(student, base): the base model with the run's adapter, and the same with it switched off."""
    from distill.student.causal import open_student
    from distill.student.device import pick as pick_device
    from distill.weights import student_weights

    config = place.config(FinetuneConfig, {}, "finetune")
    if not place.run.adapter.is_dir():
        raise UsageError(
            "there is no student yet", where=str(place.run.adapter), hint="run: distill finetune"
        )
    with Bar(place.console) as bar:
        bar.begin("loading the student", None)
        device = pick_device(config.device, config.dtype)
        student = open_student(student_weights(config.student), device, place.run.adapter)
        return student, student.base()


def versions() -> dict[str, str]:
    """The versions that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("distill", "torch", "transformers", "peft", "openai", "xllamacpp"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
