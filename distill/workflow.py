"""What a command does: open the run, its lock, teacher and student; hand them to the step; show what it left.

The only place that opens a teacher or a student. It refuses to run a finished step again, and says why it
runs a stale one.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from distill import views
from distill.config import CompareConfig, ExploreConfig, FinetuneConfig, GenerateConfig, TeacherConfig, plain
from distill.console import Bar, Console
from distill.errors import GateFailed, Interrupted, UsageError
from distill.options import fill, flag
from distill.store import jsonl
from distill.store.run import Run, Step
from distill.store.taskfile import read_task, write_task
from distill.teacher.opening import identity_of
from distill.types import Task

R = TypeVar("R")


Shown = tuple[dict[str, Any], Sequence[Any]]
"""What a command leaves: its summary for --json, and the renderables for a person."""


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

    def teacher_config(self, given: Mapping[str, Any]) -> TeacherConfig:
        """The teacher's flags; those left out keep what the run used, unless another teacher is named."""
        before = self.run.settings().get("teacher", {})
        if given.get("teacher") not in (None, before.get("teacher")):
            before = {}
        return fill(TeacherConfig, given, before)

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
        self.console.say(f"{step} is done and nothing changed; this is what it left:")
        return summary


@contextmanager
def workplace(context: Context, *, create: bool = False) -> Iterator[Workplace]:
    """The run of this command, locked while it lasts."""
    run = Run.open(context.runs_dir, context.run_name, create=create)
    with run.locked():
        yield Workplace(run, terminal(context))


def terminal(context: Context) -> Console:
    """The console the global flags ask for."""
    return Console(as_json=context.as_json, quiet=context.quiet)


def present(context: Context, shown: Shown) -> None:
    """Show what a command left."""
    summary, renderables = shown
    terminal(context).result(summary, *renderables)


def filled(kind: type[R], given: Mapping[str, Any]) -> R:
    """The step's config. Raises UsageError where a file it names is not there."""
    config = fill(kind, given)
    for name, value in vars(config).items():
        if isinstance(value, Path) and not value.is_file():
            raise UsageError(f"no such file: {value}", where=flag(name))
    return config


def explore(context: Context, brief: str, given: Mapping[str, Any]) -> Shown:
    """`distill explore`."""
    from distill.steps import explore as step

    config = filled(ExploreConfig, given)
    with workplace(context, create=True) as place:
        brief = brief or ("" if given.get("task") else place.run.settings().get("brief", ""))
        teacher_config = place.teacher_config(given)
        source = step.made_from(config, brief, identity_of(teacher_config))
        summary = place.done("explore", source)
        if summary is None:
            place.record("explore", config)
            place.run.record("brief", brief)
            summary = with_teacher(
                place,
                teacher_config,
                "explore",
                lambda teacher, bar: step.explore(place.run, config, brief, teacher, bar),
            )
        return summary, views.explored(place.console, place.run, summary)


def pick(context: Context, which: str, task_file: Path | None) -> Shown:
    """`distill pick`."""
    with workplace(context, create=task_file is not None) as place:
        if (task_file is None) == (not which):
            raise UsageError(
                "say which task", where="WHICH", hint="distill pick 1, or distill pick --task FILE"
            )
        task = read_task(task_file) if task_file else explored_task(place.run, which)
        measured = known_prompt(place.run, task)
        if task_file and measured is None:
            jsonl.replace_bytes(place.run.task, [task_file.read_bytes()])
        else:
            task = measured or task
            write_task(place.run.task, task)
        return {"task": task.name, "kind": task.kind, "file": str(place.run.task)}, views.picked(
            place.run, task
        )


def explored_task(run: Run, which: str) -> Task:
    """Task `which` (number or name) of explore's table. Raises UsageError naming those there are."""
    if not run.tasks.exists():
        raise UsageError(
            "nothing is explored yet", where="WHICH", hint='distill explore "BRIEF", or pick --task FILE'
        )
    tasks = [msgspec.convert(record["task"], Task) for _, record in explored(run)]
    for number, task in enumerate(tasks, 1):
        if which in (str(number), task.name):
            return task
    known = ", ".join(f"{number} {task.name}" for number, task in enumerate(tasks, 1))
    raise UsageError(f"explore found no task '{which}'", where="WHICH", hint=f"there are: {known}")


def known_prompt(run: Run, task: Task) -> Task | None:
    """The same task with the prompt that explore or generate found best for it, if one did."""
    if task.prompt is not None:
        return None
    before = [msgspec.convert(record["task"], Task) for _, record in explored(run)]
    before += [read_task(run.task)] if run.task.exists() else []
    for known in reversed(before):
        if known.prompt is not None and msgspec.structs.replace(known, prompt=None) == task:
            return known
    return None


def explored(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """The lines of explore's tasks.jsonl; none where nothing was explored."""
    return list(jsonl.read(run.tasks, dict[str, Any])) if run.tasks.exists() else []


def generate(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill generate`."""
    from distill.steps import generate as step

    config = filled(GenerateConfig, given)
    with workplace(context) as place:
        teacher_config = place.teacher_config(given)
        summary = place.done("generate", step.made_from(place.run, config, identity_of(teacher_config)))
        if summary is None:
            place.record("generate", config)
            summary = with_teacher(
                place,
                teacher_config,
                "generate",
                lambda teacher, bar: step.generate(place.run, config, teacher, bar),
            )
        return summary, views.generated(place.run, summary)


def finetune(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill finetune`."""
    from distill.steps import finetune as step

    config = filled(FinetuneConfig, given)
    with workplace(context) as place:
        needs(place.run, "generate")
        summary = place.done("finetune", step.made_from(place.run, config))
        if summary is None:
            place.record("finetune", config)
            with Bar(place.console) as bar:
                summary = step.finetune(place.run, config, bar)
        return summary, views.finetuned(place.run, summary)


def compare(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill compare`."""
    from distill.steps import compare as step

    config = filled(CompareConfig, given)
    with workplace(context) as place:
        needs(place.run, "finetune")
        teacher_config = place.teacher_config(given)
        summary = place.done("compare", step.made_from(place.run, config, identity_of(teacher_config)))
        if summary is None:
            place.record("compare", config)
            student, base = open_students(place)
            summary = with_teacher(
                place,
                teacher_config,
                "compare",
                lambda teacher, bar: step.compare(place.run, config, teacher, student, base, bar),
            )
        return summary, views.compared(place.run, summary)


def gate(summary: Mapping[str, Any]) -> None:
    """Raises GateFailed unless the verdict is yes."""
    if summary["verdict"]["answer"] != "yes":
        raise GateFailed("the student did not pass the gate")


def needs(run: Run, step: Step) -> None:
    """Raises UsageError where the step before this one is not done."""
    if run.summary(step) is None:
        raise UsageError(
            f"{step} is not done yet", where=str(run.root), hint=f"run: {views.command(run, step)}"
        )


def status(context: Context) -> Shown:
    """`distill status`."""
    run = Run.open(context.runs_dir, context.run_name)
    standing = views.standing(run)
    return standing, views.stood(terminal(context), standing)


def run_all(context: Context, brief: str, which: str, given: Mapping[str, Any]) -> None:
    """`distill run`: each step as if typed by itself; a task of one's own is picked as it stands."""
    own = given.get("task") if not brief else None
    steps: dict[str, Callable[[], Shown]] = {
        "explore": lambda: explore(context, brief, given),
        "pick": lambda: pick(context, "" if own else which, own),
        "generate": lambda: generate(context, given),
        "finetune": lambda: finetune(context, given),
        "compare": lambda: compare(context, given),
    }
    summaries = {}
    for name, step in steps.items():
        summaries[name], renderables = step()
        if not context.as_json:
            present(context, (summaries[name], renderables))
    if context.as_json:
        present(context, (summaries, ()))
    gate(summaries["compare"])


def with_teacher(
    place: Workplace,
    config: TeacherConfig,
    step: Step,
    work: Callable[[Any, Bar], Coroutine[Any, Any, dict[str, Any]]],
) -> dict[str, Any]:
    """Open the teacher, `work` with it, close it; the first Ctrl-C stops sending and keeps what is paid."""
    from distill.teacher.opening import open_teacher

    place.record("teacher", config)

    async def session() -> dict[str, Any]:
        teacher = open_teacher(config, place.run, step)
        with Bar(place.console) as bar:
            try:
                with interruptible(teacher.stop, place.console):
                    return await work(teacher, bar)
            finally:
                await teacher.close()
                if teacher.bought:
                    place.console.say(f"{teacher.bought} teacher calls bought; every answer is on disk")

    return asyncio.run(session())


@contextmanager
def interruptible(stop: Callable[[], None], console: Console) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: `stop`, and the step ends with Interrupted; the second leaves at once."""
    loop, step = asyncio.get_running_loop(), asyncio.current_task()
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if asked:
            os._exit(Interrupted.exit_code)
        asked = True
        console.say("stopping: waiting for what is under way (Ctrl-C again leaves at once)")
        stop()
        if step is not None:
            step.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    except asyncio.CancelledError:
        raise Interrupted("interrupted; what was answered is kept") from None


def open_students(place: Workplace) -> tuple[Any, Any]:
    """(student, base): the base model with the run's adapter, and the same with it switched off.

    Raises UsageError where the adapter was made from other pairs than there are now.
    """
    from distill.steps.finetune import made_from
    from distill.student.causal import open_student
    from distill.student.device import pick as pick_device
    from distill.weights import student_weights

    trained = (place.run.summary("finetune") or {})["made_from"]
    config = fill(FinetuneConfig, trained)
    if changed := place.run.changed("finetune", made_from(place.run, config)):
        raise UsageError(
            f"the student is stale: {', '.join(changed)} changed since it was trained",
            where=str(place.run.adapter),
            hint=f"run: {views.command(place.run, 'finetune')}",
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
