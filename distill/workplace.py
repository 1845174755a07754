"""One command's place of work: its run, locked; its config; teacher and students, opened and closed.

The only place that opens a teacher or a student. It refuses to let a Ctrl-C lose what is paid for.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from distill import views
from distill.config import FinetuneConfig, TeacherConfig, plain
from distill.console import Bar, Console
from distill.errors import Interrupted, UsageError
from distill.options import fill, flag
from distill.store.run import Run, Step

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


def filled(kind: type[R], given: Mapping[str, Any]) -> R:
    """The step's config. Raises UsageError where a file it names is not there."""
    config = fill(kind, given)
    for name, value in vars(config).items():
        if isinstance(value, Path) and not value.is_file():
            raise UsageError(f"no such file: {value}", where=flag(name))
    return config


def needs(run: Run, step: Step) -> None:
    """Raises UsageError where the step before this one is not done."""
    if run.summary(step) is None:
        raise UsageError(
            f"{step} is not done yet", where=str(run.root), hint=f"run: {views.command(run, step)}"
        )


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
