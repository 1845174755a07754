"""The judge of compare: which model it is, opened when all else is answered, closed when it has judged.

Refuses tasks whose answers are scored without a judge.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from distill.config import CompareConfig, SpendConfig, TeacherConfig
from distill.errors import UsageError
from distill.store.run import Step
from distill.store.taskfile import read_task
from distill.workplace import Workplace, bought

if TYPE_CHECKING:
    from distill.judging import Judge
    from distill.teacher.protocol import Teacher


def find_judge(
    place: Workplace,
    config: CompareConfig,
    teacher: TeacherConfig,
    spend: SpendConfig,
    counted: Sequence[Step],
) -> "Judge | None":
    """The judge of `--judge`, opened once all else is answered; it may spend what is left of the budget.

    Raises UsageError where the task's answers are not open, or nobody could keep the budget.
    """
    from distill.teacher.opening import LOCAL, check_base_url, check_budget, prices_of

    if config.judge == "off":
        return None
    if (kind := read_task(place.run.task).kind) not in ("text", "chat"):
        raise UsageError(
            f"a judge is for open answers; this task's are of kind '{kind}' and scored without one",
            where="--judge",
            hint="leave it out",
        )
    if config.judge in ("teacher", teacher.teacher) and config.judge_base_url in (None, teacher.base_url):
        return nullcontext
    if config.judge == "teacher":
        raise UsageError(
            "'teacher' is the model compared with, which does not answer at another address",
            where="--judge",
            hint="with --judge-base-url give the judge's own name",
        )
    where = None if config.judge == LOCAL else config.judge_base_url or teacher.base_url
    own = replace(teacher, teacher=config.judge, base_url=where, price_in=None, price_out=None)
    check_base_url(own)
    check_budget(own, prices_of(own), spend.budget)
    return partial(_judge, place, own, spend, (*counted, "compare"))


@asynccontextmanager
async def _judge(
    place: Workplace, config: TeacherConfig, spend: SpendConfig, counted: Sequence[Step], _: "Teacher"
) -> "AsyncIterator[Teacher]":
    from distill.teacher.opening import open_teacher

    judge = open_teacher(config, place.run, "judge", budget_usd=spend.budget, counted=counted)
    try:
        yield judge
    finally:
        await judge.close()
        if judge.bought:
            place.console.say(f"of the judge: {bought(judge)}")
