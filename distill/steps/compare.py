"""Step 5: student, base and teacher answer the same held-out rows, and a verdict says what that means.

Refuses rows that the student was trained on, and to answer any row twice: every answer is on disk as it
comes, under a key of all that decided it.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from distill.config import CompareConfig
from distill.errors import CredentialsError, TeacherError, UnknownModel
from distill.held_out import HeldOut, all_imported, answered, gather_rows, valid_rows
from distill.judging import Judge, judged, rows_to_judge
from distill.report.build import SCORING, build, verdict_split
from distill.report.html import write_html
from distill.report.renewed import answers_of, aside, put_in_place
from distill.results import AGAIN, ASIDE, VALID, Measured
from distill.rounds import keep_round
from distill.score.paired import detectable_difference
from distill.store import jsonl
from distill.store.answers import Answers, Row
from distill.store.run import Run, digest
from distill.store.taskfile import read_task
from distill.student.opening import kind_of
from distill.student.protocol import Student
from distill.systems import (
    Other,
    Shown,
    Teaching,
    adapter_digest,
    allowed,
    answer_tokens,
    ask_student,
    ask_teacher,
    files_of,
    own_rules,
    rules_file,
)
from distill.teacher.ledger import spent
from distill.teacher.ledgered import Ledgered
from distill.teacher.prices import UNKNOWN, Prices
from distill.teacher.protocol import Teacher
from distill.timing import ask_others
from distill.types import Prediction, Progress, Task

PROMPTED = "prompted base"
Asked = tuple[Other, Shown | None]
"""A student, and what it is shown in place of a row's messages."""
SHORT = ("accepted", "tried", "dropped", "calls", "cost_usd", "splits")
"""What of generate's receipt stands in the report."""


def made_from(
    run: Run,
    config: CompareConfig,
    teacher: str,
    prices: Prices = UNKNOWN,
    others: Sequence[Other] = (),
) -> dict[str, Any]:
    """What the report depends on, by name."""
    knobs = {name: value for name, value in asdict(config).items() if name not in ("gold", "verify")}
    return {
        **knobs,
        "also": [other.who for other in others],
        "models of --also": {other.who: other.weights for other in others} or None,
        "gold file": digest(config.gold),
        **files_of(run),
        "teacher": teacher,
        "prices": [prices.input, prices.output] if prices.known else None,
        "scoring": SCORING,
    }


async def compare(
    run: Run,
    config: CompareConfig,
    teacher: Teacher,
    student: Student,
    base: Student,
    progress: Progress,
    others: Sequence[Other] = (),
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Let all of them answer the held-out rows and write report.json, which is returned.

    Rows already answered are not answered again; the report before stays until this one takes its place.
    Raises DataError where test rows were trained on or gold is wrong, UsageError where there are no rows,
    what the teacher raises; a failed gate raises nothing.
    """
    task = read_task(run.task)
    only, held_out = allowed(task, config.answers), gather_rows(run, config, task)
    if only:
        student, base = student.limited_to(only), base.limited_to(only)
    foretell(held_out, progress)
    making, prices = aside(run), teacher.prices if isinstance(teacher, Ledgered) else UNKNOWN
    teaching, room = Teaching.of(run, task), answer_tokens(run)
    answers = Answers(answers_of(run, making), task)
    ask = partial(ask_student, answers, progress=progress, room=room, batch_size=config.answer_batch)
    try:
        asked = {"teacher": await ask_teacher(answers, held_out, teaching, teacher, progress)}
        held_out, without_teacher = answered(held_out, asked["teacher"])
        ask = partial(ask, rows=held_out)
        asked[AGAIN], told = await second_answers(answers, held_out, teaching, teacher, config, progress)
        prompt = teaching.shown if promptable(run, teaching, held_out) else None
        own = lineup(run, student, base, only, prompt)
        asked |= await ask_students(ask, own, valid_rows(run, config, task))
        theirs, timed = await ask_others(run, ask, own, others, held_out, room, progress)
        asked |= theirs
        answers.keep_only(asked)
    finally:
        answers.close()
    predictions = {who: answers.of(who, rows) for who, rows in asked.items()}
    measured = Measured(
        models=model_names(asked, teacher, student, base, others),
        prompts={who: teaching.prompt if who in ("teacher", PROMPTED) else "student" for who in asked},
        single_s=timed,
        gold_left_out=held_out.gold_left_out,
        gold_duplicates=held_out.gold_duplicates,
        test_duplicates=held_out.test_duplicates,
        upfront_usd=upfront(run, config, teacher.identity, prices),
        data=receipt(run),
        told=(*held_out.told, *told, *rules_gone(run)),
        without_teacher=without_teacher,
        failed_checks=own_rules(run, predictions),
        test_imported=all_imported(held_out.splits.get("test", ())),
    )
    verdicts = await judge_answers(making, task, config, held_out, predictions, judge, teacher, progress)
    report = build(task, config, predictions, measured) | verdicts
    report |= keep_round(making, task, report["split"], predictions, config.seed)
    write_cascade(making, report)
    making.finish("compare", report, made_from(run, config, teacher.identity, prices, others))
    put_in_place(run, making)
    write_html(run, report)  # last, and from what is on disk: a page that cannot be written costs no number
    return report


def lineup(
    run: Run, student: Student, base: Student, only: tuple[str, ...], teachers_prompt: Shown | None
) -> list[Asked]:
    """The run's student and the base, also asked as the teacher is, where that is another prompt."""
    plain = Other("base", base.model, None, lambda: base, only)
    prompted = [(plain._replace(who=PROMPTED), teachers_prompt)] if teachers_prompt else []
    tuned = Other("student", student.model, adapter_digest(run), lambda: student, only)
    return [(tuned, None), (plain, None), *prompted]


async def ask_students(
    ask: Callable[..., Awaitable[list[Row]]],
    students: Sequence[Asked],
    valid: HeldOut | None,
) -> dict[str, list[Row]]:
    """Who -> the rows it answered; the first of `students`, the run's, answers the valid rows too."""
    asked = {other.who: await ask(other, shown=shown) for other, shown in students}
    if valid:
        (tuned, _), *_ = students
        asked[VALID] = await ask(tuned._replace(who=VALID), rows=valid)
    return asked


def write_cascade(making: Run, report: Mapping[str, Any]) -> None:
    """What serving a cascade takes: threshold, calibration, and what they were measured to give."""
    making.cascade.unlink(missing_ok=True)
    if section := report.get("cascade"):
        wanted = ("confidence", "calibration", "target", "sentence")
        jsonl.replace_json(making.cascade, {"schema": 1, **{name: section[name] for name in wanted}})


def model_names(
    asked: Mapping[str, object], teacher: Teacher, student: Student, base: Student, others: Sequence[Other]
) -> dict[str, str]:
    """Who -> the name of its model, of those that were asked."""
    names = {"teacher": teacher.model, "student": student.model, "base": base.model, PROMPTED: base.model}
    names |= {other.who: other.model for other in others}
    return {who: names[who] for who in asked if who not in ASIDE}


async def judge_answers(
    making: Run,
    task: Task,
    config: CompareConfig,
    held_out: HeldOut,
    predictions: Mapping[str, Sequence[Prediction]],
    judge: Judge | None,
    teacher: Teacher,
    progress: Progress,
) -> dict[str, Any]:
    """The section "judged" of the report, of the verdict's split; nothing without a judge.

    Its verdicts are left in judged.jsonl, from which `--verify` makes it again.
    """
    making.judged.unlink(missing_ok=True)
    if judge is None:
        return {}
    split = verdict_split(held_out.splits)
    said = {who: [row for row in predictions[who] if row.split == split] for who in ("student", "teacher")}
    pairs, known = held_out.splits[split], split == "gold"
    rows = rows_to_judge(pairs, said, held_out.clusters, gold=known, most=config.judge_rows)
    async with judge(teacher) as opened:
        found, casts = await judged(
            opened, task, rows, b_model=teacher.model, seed=config.seed, progress=progress
        )
    jsonl.replace(making.judged, casts)
    return {"judged": {"split": split, **found}}


def foretell(held_out: HeldOut, progress: Progress) -> None:
    """Say, before anything is spent, what so many rows can show, also where those of a group go together."""
    for split, pairs in held_out.splits.items():
        sizes = Counter(held_out.clusters.get(pair.id, pair.id) for pair in pairs)
        # Rows that are one another's copies count as so many (Kish 1965).
        fewest = len(pairs) ** 2 // sum(size**2 for size in sizes.values())
        share, least = detectable_difference(len(pairs)), detectable_difference(fewest)
        if share == 1:
            progress.say(f"{len(pairs)} {split} rows are too few to show any difference at all")
            continue
        together = f"; {difference_of(least)} where the rows of a group, of {len(sizes)}, go together"
        alike = together if len(sizes) < len(pairs) else ""
        progress.say(f"{len(pairs)} {split} rows can show {difference_of(share)} (80% power{alike})")


def difference_of(share: float) -> str:
    """The smallest one that is seen, in words."""
    return f"a difference of about {100 * share:.0f} points or more" if share < 1 else "no difference at all"


async def second_answers(
    answers: Answers,
    held_out: HeldOut,
    teaching: Teaching,
    teacher: Teacher,
    config: CompareConfig,
    progress: Progress,
) -> tuple[list[Row], list[str]]:
    """(rows of the verdict's split answered a second time, notes). A teacher that is gone stops nothing."""
    if not config.ask_twice:
        return [], []
    name = verdict_split(held_out.splits)
    held_out = held_out._replace(splits={name: held_out.splits[name]})
    try:
        rows = await ask_teacher(answers, held_out, teaching, teacher, progress, again=config.ask_twice)
        return rows, []
    except (TeacherError, CredentialsError, UnknownModel) as error:
        return [], [f"How far the teacher agrees with itself is unknown: {error.message}."]


def promptable(run: Run, teaching: Teaching, held_out: HeldOut) -> bool:
    """Whether the base can be asked as the teacher is, and that is not what students are shown anyway.

    An encoder with a head takes no prompt: it would read it as part of the input.
    """
    if kind_of(run.adapter) == "classifier":
        return False
    pairs = (pair for pairs in held_out.splits.values() for pair in pairs)
    return any(teaching.shown(pair) != tuple(pair.messages) for pair in pairs)


def upfront(run: Run, config: CompareConfig, teacher: str, prices: Prices) -> dict[str, float | None]:
    """What the student cost so far, in USD: teacher calls of explore and generate, and its training."""
    paid = [spent(run.ledger(step), prices, teacher)[1] for step in ("explore", "generate")]
    known = [cost for cost in paid if cost is not None]
    seconds, hourly = (run.summary("finetune") or {}).get("seconds"), config.hardware_usd_per_hour
    return {
        "teacher": math.fsum(known) if len(known) == len(paid) else None,
        "training": None if seconds is None or hourly is None else seconds * hourly / 3600,
    }


def rules_gone(run: Run) -> list[str]:
    """A note where the rules that generate was given are not there any more."""
    rules = rules_file(run)
    if rules is None or rules.is_file():
        return []
    return [f"The rules of --check ({rules.name}) are gone: no answer was held against them."]


def receipt(run: Run) -> dict[str, Any] | None:
    """Generate's receipt in short; None where there is none."""
    whole = run.summary("generate")
    return {name: whole.get(name) for name in SHORT} if whole else None
