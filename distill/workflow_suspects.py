"""The command `suspects`: likely wrong answers are found, voted on by the teacher, and corrected.

Refuses to change a pair unless asked to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill import views_suspects
from distill.config import FinetuneConfig, GenerateConfig, SpendConfig, SuspectsConfig
from distill.console import Bar
from distill.filters.correction import read_corrections, save_corrections
from distill.options import fill
from distill.steps import suspects as step
from distill.steps.audit import apply_corrections
from distill.store import jsonl
from distill.store.taskfile import read_task
from distill.types import Task
from distill.workflow import Shown
from distill.workplace import Context, Workplace, filled, needs, with_teacher, workplace


def suspects(context: Context, given: Mapping[str, Any]) -> Shown:
    """`distill suspects`."""
    from distill.reasking import check_votable
    from distill.steps.finetune import finetune

    config = filled(SuspectsConfig, given)
    with workplace(context) as place:
        run, task = place.run, read_task(place.run.task)
        needs(run, "generate")
        if config.reask:
            check_votable(task)
        place.record("suspects", config)
        with Bar(place.console) as bar:
            found, how = step.find(run, task, config, tuning(place, task, config), finetune, bar)
        jsonl.replace(run.suspects, found)
        if config.reask and found:
            found = asked_again(place, task, config, given, found)
            jsonl.replace(run.suspects, found)
        summary = {"run": run.name, **step.summary(found, how)}
        if config.apply:
            summary["applied"] = applied(place, task, found)
        shown = views_suspects.listed(place.console, run, found, summary)
        return {**summary, "suspects": [msgspec.to_builtins(each) for each in found]}, shown


def tuning(place: Workplace, task: Task, config: SuspectsConfig) -> FinetuneConfig:
    """How the students of the folds are trained: as the run's own, where that is of the same kind."""
    kind = step.kind_of(task, config)
    before = place.run.settings().get("finetune", {})
    if before.get("student_kind", "causal") != kind:
        before = {}
    before = {**before, "from_adapter": None}  # a student that has seen the rows suspects none
    student = before.get("student", "auto") if config.student == "auto" else config.student
    student = "local" if student == "auto" else student  # of the kind that is fixed here
    fixed = {"student_kind": "classifier" if kind == "classifier" else "causal", "stage": "sft"}
    return fill(FinetuneConfig, {"student": student, "report_to": "none", **fixed}, before)


def asked_again(
    place: Workplace,
    task: Task,
    config: SuspectsConfig,
    given: Mapping[str, Any],
    found: Sequence[step.Suspect],
) -> list[step.Suspect]:
    """`found` with the teacher's votes, bought into generate's ledger and within its budget."""
    from distill.reasking import revote

    asking = fill(GenerateConfig, {}, place.run.settings().get("generate"))
    pairs = step.pairs_of(place.run, found)

    async def vote(teacher: Any, bar: Bar) -> dict[str, Any]:
        votes = await revote(
            place.run,
            task,
            pairs,
            asking,
            teacher,
            bar,
            votes=config.votes,
            min_share=config.min_votes,
        )
        return {"suspects": step.voted(found, votes)}

    spend = fill(SpendConfig, given)
    left: list[step.Suspect] = with_teacher(place, place.teacher_config(given), spend, "generate", vote)[
        "suspects"
    ]
    return left


def applied(place: Workplace, task: Task, found: Sequence[step.Suspect]) -> dict[str, Any]:
    """Write the corrections and hold every row to them; what that came to."""
    run = place.run
    rules, left = step.corrections(run, found)
    save_corrections(run.corrections, rules)
    changed = apply_corrections(run, task, read_corrections(run.corrections))
    relabelled = sum(rule.action == "answer" for rule in rules)
    return {
        "relabelled": relabelled,
        "dropped": len(rules) - relabelled,
        "rows_changed": changed,
        "left_for_held_out": left,
    }
