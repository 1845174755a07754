"""What a command does: its config, its step, and what the step left, to be shown.

It refuses to run a finished step again, and says why it runs a stale one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from distill import views, views_training
from distill.config import CompareConfig, FinetuneConfig, GenerateConfig, SpendConfig
from distill.console import Bar
from distill.errors import BudgetReached, GateFailed, UsageError
from distill.jury import find_judge
from distill.opened import check_trained, find_others, known_report, open_students
from distill.options import fill
from distill.store import jsonl
from distill.store.run import STEPS, Run, Step
from distill.store.taskfile import read_task, write_task
from distill.student import stopping
from distill.teacher.opening import identity_of, known_identity, prices_of
from distill.types import Task
from distill.workflow_explore import explore, pick_requests
from distill.workplace import (
    Context,
    filled,
    needs,
    own_prompts,
    terminal,
    with_teacher,
    workplace,
)

JUDGE_MODES = ("auto", "on", "off")
Shown = tuple[dict[str, Any], Sequence[Any]]
"""What a command leaves: its summary for --json, and the renderables for a person."""


def present(context: Context, shown: Shown) -> None:
    """Show what a command left."""
    summary, renderables = shown
    terminal(context).result(summary, *renderables)


def refuse_unfinished(summary: Mapping[str, Any]) -> None:
    """Raises BudgetReached where explore's money ended on the way."""
    if stopped := summary.get("stopped"):
        raise BudgetReached(
            stopped, where="--budget", hint="what was measured is kept; with a larger --budget it goes on"
        )


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
        requests = pick_requests(place.run, task)
        summary = {"task": task.name, "kind": task.kind, "file": str(place.run.task)}
        summary |= {"requests": str(requests)} if requests else {}
        return summary, views.picked(place.run, task, requests)


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
        if known.prompt is not None and written_as(known, task):
            return known
    return None


def written_as(known: Task, task: Task) -> bool:
    """Whether `known` is `task` with a prompt, and with examples where it had none."""
    given = {label.name: label.examples for label in task.labels}
    labels = tuple(
        label if given.get(label.name) else msgspec.structs.replace(label, examples=())
        for label in known.labels
    )
    examples = known.examples if task.examples else ()
    return msgspec.structs.replace(known, prompt=None, labels=labels, examples=examples) == task


def explored(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """The lines of explore's tasks.jsonl; none where nothing was explored."""
    return list(jsonl.read(run.tasks, dict[str, Any])) if run.tasks.exists() else []


def generate(context: Context, given: Mapping[str, Any], *, counted: Sequence[Step] = ()) -> Shown:
    """`distill generate`; what the steps `counted` spent counts towards the budget too."""
    from distill.steps import generate as step

    config = filled(GenerateConfig, given)
    with workplace(context) as place:
        teacher_config = place.teacher_config(given)
        if config.dry_run:
            from distill.steps.estimate import estimate

            shown = with_teacher(
                place,
                teacher_config,
                fill(SpendConfig, given),
                "generate",
                lambda teacher, bar: estimate(place.run, config, teacher, bar),
            )
            return shown, views.estimated(shown)
        with own_prompts(teacher_config):
            made_from = step.made_from(place.run, config, identity_of(teacher_config))
        summary = place.done("generate", made_from)
        if summary is None:
            place.record("generate", config)
            summary = with_teacher(
                place,
                teacher_config,
                fill(SpendConfig, given),
                "generate",
                lambda teacher, bar: step.generate(place.run, config, teacher, bar),
                counted=counted,
                batch=config.batch,
            )
        return summary, views.generated(place.run, summary)


def finetune(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill finetune`."""
    from distill.steps import finetune as step
    from distill.steps import growing

    config = filled(FinetuneConfig, given)
    with workplace(context) as place:
        if config.stage == "sft":
            needs(place.run, "generate")
        if config.learning_curve:
            growing.check(place.run, config)
        summary = place.done("finetune", step.made_from(place.run, config))
        if summary is None:
            place.record("finetune", config)
            with Bar(place.console) as bar:
                summary = step.finetune(place.run, config, bar)
        if config.learning_curve and "learning_curve" not in summary:
            with Bar(place.console) as bar:
                summary = growing.learning_curve(place.run, config, bar, step.finetune)
        return summary, views_training.finetuned(place.run, summary)


def compare(context: Context, given: Mapping[str, Any], *, counted: Sequence[Step] = ()) -> Shown:
    """`distill compare`; what the steps `counted` spent counts towards the budget too."""
    from distill.report.renewed import finish
    from distill.steps import compare as step
    from distill.steps import ready

    config = filled(CompareConfig, given)
    with workplace(context) as place:
        finish(place.run)
        if config.verify:
            from distill.steps import review
            from distill.steps.verifying import verify
            from distill.systems import changed_since

            report = verify(place.run)
            review.verify(place.run, read_task(place.run.task), report)
            if old := review.stale(place.run, report):
                place.console.say(old)
            if changed := changed_since(place.run, report):
                place.console.say(f"the report is stale: {', '.join(changed)} changed since it was made")
            return report, views.verified(place.run, report)
        needs(place.run, "finetune")
        teacher_config = place.teacher_config(given)
        identity = known_identity(teacher_config, place.run)
        others = find_others(place, config.also)
        source = step.made_from(place.run, config, identity, prices_of(teacher_config), others)
        summary = known_report(place, source)
        if summary is None:
            spend = fill(SpendConfig, given)
            check_trained(place)
            ready.check_rows(place.run, config)
            if gone := ready.check_asked(place.run, teacher_config, config, spend):
                place.console.say(gone)
            judge = find_judge(place, config, teacher_config, spend, counted)
            ready.check_others(others)
            place.record("compare", config)
            student, base = open_students(place)
            summary = with_teacher(
                place,
                teacher_config,
                spend,
                "compare",
                lambda teacher, bar: step.compare(
                    place.run, config, teacher, student, base, bar, others, judge
                ),
                counted=(*counted, "judge"),
            )
        else:
            from distill.report.html import page_is_old, write_html

            if page_is_old(place.run):
                write_html(place.run, summary)
        return summary, views.compared(place.run, summary)


def gate(summary: Mapping[str, Any]) -> None:
    """Raises GateFailed unless the verdict is yes."""
    if summary["verdict"]["answer"] != "yes":
        raise GateFailed("the student did not pass the gate")


def stop_gate(summary: Mapping[str, Any]) -> None:
    """Raises GateFailed where too many answers of the student just trained run on."""
    if stopping.failed(summary):
        raise GateFailed(stopping.sentence(summary["stops"]), hint=stopping.advice(summary["stops"]))


def status(context: Context) -> Shown:
    """`distill status`."""
    run = Run.open(context.runs_dir, context.run_name)
    standing = views.standing(run)
    return standing, views.stood(terminal(context), standing)


def with_picked_logs(context: Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of generate, the log narrowed to the requests of the task that was picked."""
    picked = Run.open(context.runs_dir, context.run_name).picked_requests
    return {**given, "from_logs": picked if given.get("from_logs") and picked.exists() else None}


def run_all(context: Context, brief: str, which: str, given: Mapping[str, Any]) -> None:
    """`distill run`: each step as if typed by itself; a task of one's own is picked as it stands.

    The budget is that of all steps together.
    """
    if given.get("dry_run"):
        raise UsageError(
            "a dry run is of one step", where="--dry-run", hint="pick a task; distill generate --dry-run"
        )
    if given.get("from_failures"):
        hint = "distill failures; distill generate --from-failures"
        raise UsageError("there are failures after a run, not before", where="--from-failures", hint=hint)
    own = given.get("task") if not brief else None
    # One flag of two steps: a mode is generate's judge, a model compare's, "off" both.
    mode = given.get("judge") in (*JUDGE_MODES, None)
    of_making = {**given, "judge": given.get("judge") if mode else None}
    of_comparing = {**given, "judge": None if mode else given["judge"]}
    steps: dict[str, Callable[[], Shown]] = {
        # Gold rows are compare's here: a prompt shaped on them would be scored on them.
        "explore": lambda: explore(context, brief, {**given, "gold": None}, counted=STEPS),
        "pick": lambda: pick(context, "" if own else which, own),
        "generate": lambda: generate(context, with_picked_logs(context, of_making), counted=STEPS),
        "finetune": lambda: finetune(context, given),
        "compare": lambda: compare(context, of_comparing, counted=STEPS),
    }
    summaries = {}
    for name, step in steps.items():
        summaries[name], renderables = step()
        if not context.as_json:
            present(context, (summaries[name], renderables))
        if name == "explore":
            refuse_unfinished(summaries[name])
        if name == "finetune" and stopping.failed(summaries[name]):
            break  # no money is spent on comparing it
    if context.as_json:
        present(context, (summaries, ()))
    stop_gate(summaries["finetune"])
    gate(summaries["compare"])
