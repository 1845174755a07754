"""Commands after a comparison: `review`, where a person says what is better; `failures` and refilling.

`review` refuses to guess where nobody is there to answer, and keeps each decision as it is given.
"""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import views_review
from distill.config import FailuresConfig, GenerateConfig, ReviewConfig, SpendConfig
from distill.console import Bar, Console
from distill.errors import UsageError
from distill.keys import Keys
from distill.opened import open_students
from distill.options import fill
from distill.steps.review import Review, Said, save
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.teacher.opening import identity_of
from distill.workflow import Shown
from distill.workplace import Context, Workplace, needs, with_teacher, workplace

if TYPE_CHECKING:
    from distill.systems import Other

REVIEW_ANSWERS = "a, b, t, s, u or q"
REVIEW_KEYS = "a A is better   b B is better   t tie   s skip   u undo   q stop (what is decided is kept)"
LABELS = (
    "This task has labels, and the rows' own answers say which is right: review is meant for open answers. "
    "It works all the same: which answer is right?"
)


def review(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill review`."""
    from distill.report.html import write_html

    config = fill(ReviewConfig, given)
    with workplace(context) as place:
        run, task = place.run, read_task(place.run.task)
        needs(run, "compare")
        report = run.summary("compare") or {}
        found = Review(run, task, report, config.against)
        if task.kind == "label":
            place.console.ask(LABELS)
        keys = Keys(place.console, "review", REVIEW_ANSWERS, no_input=context.no_input)
        decide(place.console, found, keys, config)
        result = found.estimate(config.seed)
        save(run, result)
        write_html(run, report)
        return {"run": run.name, **result}, views_review.reviewed(result)


def decide(console: Console, found: Review, keys: Keys, config: ReviewConfig) -> None:
    """Show the couples still to decide, of `config.n` in all, and write down what is chosen of each."""
    waiting = deque(found.to_show(config.n, config.seed))
    if waiting:
        console.ask(REVIEW_KEYS)
    while waiting:
        couple, done = waiting[0], len(found.standing)
        first = found.first(couple, config.seed)
        console.ask(views_review.pair_card(couple, first, done + 1, done + len(waiting)))
        better: dict[str, Said] = {"a": "win", "b": "loss", "t": "tie", "s": "skip"}
        if first == "other":
            better |= {"a": "loss", "b": "win"}
        while (key := keys.key()) not in (*better, "u", "q"):
            console.ask(REVIEW_KEYS)
        if key == "q":
            return
        if key == "u":
            if back := found.undo(config.seed):
                waiting.appendleft(back)
            continue
        found.decide(couple, better[key], config.seed)
        waiting.popleft()


def failures(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill failures`."""
    from distill.steps import failures as step

    config = fill(FailuresConfig, given)
    with workplace(context) as place:
        run = place.run
        needs(run, "compare")
        teacher_config = place.teacher_config(given)
        found = step.known(run, step.made_from(run, config, identity_of(teacher_config)))
        if found is not None:
            place.console.say("failures were looked at and nothing changed; this is what was found:")
        else:
            student = opened(place) if config.on == "train" else None
            if config.name:
                found = with_teacher(
                    place,
                    teacher_config,
                    fill(SpendConfig, given),
                    "compare",
                    lambda teacher, bar: step.failures(run, config, student, teacher, bar),
                )
            else:
                with Bar(place.console) as bar:
                    found = asyncio.run(step.failures(run, config, student, None, bar))
        return found, views_review.failed(place.console, run, found)


def opened(place: Workplace) -> "Other":
    """The run's student, to answer the rows it was trained on as it answered in compare."""
    from distill.systems import Other, adapter_digest, allowed, limited

    student, _ = open_students(place)
    answers = (place.run.summary("compare") or {})["made_from"].get("answers", "free")
    one = Other("student on train", student.model, adapter_digest(place.run), lambda: student)
    return limited(one, allowed(read_task(place.run.task), answers))


def refill(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill generate --from-failures`."""
    from distill.steps import refill as step

    if given.get("dry_run"):
        raise UsageError(
            "a dry run is of a whole data set", where="--dry-run, --from-failures", hint="leave one out"
        )
    with workplace(context) as place:
        run = place.run
        needs(run, "generate")
        config = as_generated(run, given)
        # Without --n it is derived: that of before counted all pairs.
        n = given.get("n") if config.from_failures else None
        summary = step.already(run)
        if summary is not None:
            place.console.say("these failures were refilled before; this is what it left:")
        else:
            step.failures_of(run)
            summary = with_teacher(
                place,
                place.teacher_config(given),
                fill(SpendConfig, given),
                "generate",
                lambda teacher, bar: step.refill(run, config, n, teacher, bar),
                batch=config.batch,
            )
        return summary, views_review.refilled(place.console, run, summary)


def as_generated(run: Run, given: Mapping[str, Any]) -> GenerateConfig:
    """Generate's settings of before with the flags now given; inputs are written, whatever was done then."""
    before = {**run.settings().get("generate", {}), "inputs": None, "from_logs": None, "dry_run": False}
    for field in dataclasses.fields(GenerateConfig):
        if "Path" in str(field.type) and before.get(field.name):
            before[field.name] = Path(before[field.name])
    return fill(GenerateConfig, given, before)
