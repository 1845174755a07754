"""One command's place of work: its run, locked; its config; teacher and students, opened and closed.

The only place that opens a teacher or a student. It refuses to let a Ctrl-C lose what is paid for.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from distill import views
from distill.ask import ANSWER_HOLES
from distill.config import (
    CompareConfig,
    ExploreConfig,
    FinetuneConfig,
    GenerateConfig,
    SpendConfig,
    TeacherConfig,
    plain,
)
from distill.console import Bar, Console
from distill.errors import Interrupted, UsageError
from distill.options import fill, flag
from distill.prompts import fingerprint, overlaid
from distill.prompts import folder as templates
from distill.store.run import Run, Step

if TYPE_CHECKING:
    from distill.teacher.ledgered import Ledgered

R = TypeVar("R")


class Context(Protocol):
    """The global flags."""

    run_name: str | None
    runs_dir: Path
    as_json: bool
    quiet: bool
    no_input: bool


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
        if changed := self.run.changed(step, made_from, defaults_of(step)):
            self.console.say(f"{step} is stale ({', '.join(changed)} changed): running it again")
            return None
        self.console.say(f"{step} is done and nothing changed; this is what it left:")
        return summary


def defaults_of(step: Step) -> dict[str, Any]:
    """Each knob of the step at its default, as `made_from` has it; none for what has no knobs.

    A template that there was not yet makes no difference either where what it says in English is asked.
    """
    kinds: dict[Step, type[Any]] = {
        "explore": ExploreConfig,
        "generate": GenerateConfig,
        "finetune": FinetuneConfig,
        "compare": CompareConfig,
    }
    with overlaid(None):
        english = {f"prompts/{path.stem}": fingerprint(path.stem) for path in templates().glob("*.txt")}
    return {**english, **plain(kinds[step]())} if step in kinds else {}


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
    spend: SpendConfig,
    step: Step,
    work: Callable[[Any, Bar], Coroutine[Any, Any, dict[str, Any]]],
    *,
    counted: Sequence[Step] = (),
    batch: bool = False,
) -> dict[str, Any]:
    """Open the teacher, `work` with it, close it; the first Ctrl-C stops sending and keeps what is paid.

    What the steps `counted` spent counts towards the budget beside what `step` does. `batch` sends through
    the endpoint's Batch API.
    """
    from distill.teacher.opening import check_budget, open_teacher, prices_of

    prices = prices_of(config)
    check_budget(config, prices, spend.budget)
    place.record("teacher", config)
    place.record("spend", spend)
    place.run.record("prices", prices)

    async def session() -> dict[str, Any]:
        teacher = open_teacher(
            config,
            place.run,
            step,
            budget_usd=spend.budget,
            counted=counted,
            batch=batch,
            say=place.console.say,
        )
        with Bar(place.console) as bar:
            try:
                with interruptible(teacher.stop, place.console):
                    return await work(teacher, bar)
            finally:
                await teacher.close()
                if teacher.bought:
                    place.console.say(bought(teacher))

    with own_prompts(config), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(session())


def own_prompts(config: TeacherConfig) -> AbstractContextManager[None]:
    """The user's own templates, if any, for as long as it lasts. Raises UsageError where they do not fit."""
    return overlaid(Path(config.prompts) if config.prompts else None, ANSWER_HOLES, fixed=("student",))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, which takes less CPU; None (asyncio's own) where it is not installed, as on Windows."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def bought(teacher: "Ledgered") -> str:
    """What a session bought, in a sentence; with a budget, what is left of that."""
    of_budget = f"; {teacher.budget.sentence()}" if teacher.budget else ""
    return f"{teacher.bought} teacher calls bought{of_budget}; every answer is on disk"


@contextmanager
def interruptible(stop: Callable[[], None], console: Console) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: `stop`, and the step ends with Interrupted; the second leaves at once.

    Once the block is left, the first lets what follows it end (the answers under way are being recorded).
    """
    loop, step = asyncio.get_running_loop(), asyncio.current_task()
    asked = left = False

    def interrupt() -> None:
        nonlocal asked
        if asked:
            os._exit(Interrupted.exit_code)
        asked = True
        console.say("stopping: waiting for what is under way (Ctrl-C again leaves at once)")
        stop()
        if step is not None and not left:
            step.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    except asyncio.CancelledError:
        raise Interrupted("interrupted; what was answered is kept") from None
    finally:
        left = True


def versions() -> dict[str, str]:
    """The versions that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("distill", "torch", "transformers", "peft", "openai", "aiohttp", "xllamacpp"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
