"""Step 5: student, base and teacher answer the same held-out rows, and a verdict says what that means.

Refuses rows that the student was trained on, and to answer any row twice: every answer is on disk as it
comes, under a key of all that decided it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple, TypeVar

from distill.ask import answer_request, default_prompt, student_messages
from distill.config import CompareConfig, GenerateConfig
from distill.errors import DataError, UsageError
from distill.report.build import Spent, build
from distill.score.text import normalised
from distill.store import jsonl
from distill.store.answers import Answers, Row, Said
from distill.store.run import Run, digest
from distill.store.shapes import read_gold
from distill.store.taskfile import read_task
from distill.student.protocol import Student
from distill.teacher.flow import ordered
from distill.teacher.protocol import Teacher
from distill.types import Pair, Progress, Split, Task, content_id

T = TypeVar("T")
AHEAD = 256
"""Teacher calls handed over at once; how many are sent at once is the teacher's own limit."""
TIMED_ROWS = 20
ROOM_TOKENS = 8
"""Room beyond the longest trained answer."""


class HeldOut(NamedTuple):
    """The rows to answer, by split, and what was left out of gold and why."""

    splits: dict[str, list[Pair]]
    gold_left_out: int = 0
    gold_duplicates: int = 0


def made_from(run: Run, config: CompareConfig, teacher: str) -> dict[str, Any]:
    """What the report depends on, by name."""
    knobs = {name: value for name, value in asdict(config).items() if name != "gold"}
    return {
        **knobs,
        "gold file": digest(config.gold),
        "task.toml": digest(run.task),
        "train.jsonl": digest(run.splits["train"]),
        "test.jsonl": digest(run.splits["test"]),
        "adapter": adapter_digest(run),
        "teacher": teacher,
    }


def adapter_digest(run: Run) -> str | None:
    """A fingerprint of the trained weights and their settings, or None where there are none."""
    files = sorted(path for path in run.adapter.rglob("*") if path.is_file()) if run.adapter.is_dir() else []
    return content_id([(path.name, digest(path)) for path in files]) if files else None


async def compare(
    run: Run, config: CompareConfig, teacher: Teacher, student: Student, base: Student, progress: Progress
) -> dict[str, Any]:
    """Let all three answer the held-out rows and write report.json, which is returned.

    Rows already in answers.jsonl are not answered again. Raises DataError where test rows were trained on or
    gold is wrong, UsageError where there are no rows, what the teacher raises; a failed gate raises nothing.
    """
    task = read_task(run.task)
    held_out = gather_rows(run, config, task)
    run.begin("compare")
    answers = Answers(run.answers, task)
    try:
        asked = {
            "teacher": await ask_teacher(answers, held_out, task, run, teacher, progress),
            "student": await ask_student("student", answers, held_out, run, config, student, progress),
            "base": await ask_student("base", answers, held_out, run, config, base, progress),
        }
        timed = await in_thread(partial(time_student, student, held_out, answer_tokens(run), progress))
        answers.keep_only(asked)
    finally:
        answers.close()
    models = {"teacher": teacher.model, "student": student.model, "base": base.model}
    report = build(
        task,
        config,
        {who: answers.of(who, rows) for who, rows in asked.items()},
        models,
        Spent({who: answers.spent_s(rows) for who, rows in asked.items() if who != "teacher"}, timed),
        prompt=default_prompt(task),
        gold_left_out=held_out.gold_left_out,
        gold_duplicates=held_out.gold_duplicates,
    )
    run.finish("compare", report, made_from(run, config, teacher.identity))
    return report


def gather_rows(run: Run, config: CompareConfig, task: Task) -> HeldOut:
    """The rows to answer, none of which the student was trained on. Raises DataError, UsageError."""
    trained_on = read_split(run, "train") + read_split(run, "valid")
    seen = {normalised(pair.input) for pair in trained_on}
    test = read_split(run, "test")
    if leaked := [pair.id for pair in test if normalised(pair.input) in seen]:
        raise DataError(
            f"{len(leaked)} test rows stand in the training rows too: {', '.join(leaked[:10])}",
            where=str(run.splits["test"]),
            hint="a score on them would mean nothing; take them out of train.jsonl and finetune again",
        )
    splits, left_out, duplicates = {"test": test}, 0, 0
    if config.gold is not None:
        examples = [example.input for example in task.examples]
        examples += [text for label in task.labels for text in label.examples]
        seen |= {normalised(text) for text in examples}
        rows = [
            Pair.make(student_messages(task, row.input), row.output, "gold")
            for row in read_gold(config.gold, task)
        ]
        splits["gold"] = [pair for pair in rows if normalised(pair.input) not in seen]
        left_out, duplicates = len(rows) - len(splits["gold"]), len(rows) - len({pair.id for pair in rows})
        if not splits["gold"]:
            raise DataError(
                "every gold row was trained on or shown to the teacher as an example",
                where=str(config.gold),
                hint="give rows that nobody has seen",
            )
    used = {name: rows[: config.max_rows] for name, rows in splits.items() if rows}
    if not used:
        raise UsageError(
            "there are no rows to compare on",
            where=str(run.splits["test"]),
            hint="generate with --test-share above 0, or pass --gold FILE",
        )
    return HeldOut(used, left_out, duplicates)


def read_split(run: Run, name: Split) -> list[Pair]:
    """The pairs of a split; none where the file is absent."""
    path = run.splits[name]
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []


async def ask_teacher(
    answers: Answers, held_out: HeldOut, task: Task, run: Run, teacher: Teacher, progress: Progress
) -> list[Row]:
    """Have the teacher answer, with its best prompt, what it has not answered yet; returns all its rows."""
    prompt = default_prompt(task)
    room = run.settings().get("generate", {}).get("max_answer_tokens", GenerateConfig.max_answer_tokens)
    ask = partial(answer_request, task, prompt, max_tokens=room)
    rows = [
        Row(split, pair, content_id("teacher", teacher.identity, split, pair.id, ask(pair.input)))
        for split, pairs in held_out.splits.items()
        for pair in pairs
    ]

    async def answer(row: Row) -> None:
        completion = await teacher.complete(ask(row.pair.input))
        said = Said(
            row.key,
            completion.text,
            completion.latency_s,
            completion.cost_usd,
            completion.finish_reason,
        )
        answers.add("teacher", row, said)

    missing = answers.missing(rows)
    progress.begin("teacher answers", len(missing))
    async with aclosing(ordered(missing, answer, AHEAD)) as done:
        async for _ in done:
            progress.advance()
    return rows


async def ask_student(
    who: str,
    answers: Answers,
    held_out: HeldOut,
    run: Run,
    config: CompareConfig,
    student: Student,
    progress: Progress,
) -> list[Row]:
    """Have a student answer, in batches, what it has not answered yet; returns all its rows."""
    room, weights = answer_tokens(run), adapter_digest(run) if who == "student" else None
    rows = [
        Row(split, pair, content_id(who, student.model, weights, room, split, pair.id, pair.messages))
        for split, pairs in held_out.splits.items()
        for pair in pairs
    ]
    missing = answers.missing(rows)
    progress.begin(f"{who} answers", len(missing))

    def work(stop: threading.Event) -> None:
        conversations, began = [row.pair.messages for row in missing], time.perf_counter()
        for place, answer in student.answer(
            conversations, max_new_tokens=room, batch_size=config.answer_batch
        ):
            now = time.perf_counter()
            said = Said(
                missing[place].key,
                answer.text,
                answer.latency_s,
                finish_reason=answer.finish_reason,
                spent_s=now - began,
            )
            answers.add(who, missing[place], said)
            progress.advance()
            began = now
            if stop.is_set():
                return

    if missing:
        await in_thread(work)
    return rows


def time_student(
    student: Student, held_out: HeldOut, room: int, progress: Progress, stop: threading.Event
) -> list[float]:
    """Seconds for each of up to TIMED_ROWS rows, answered one at a time, after one that warms up."""
    pairs = next(iter(held_out.splits.values()))[:TIMED_ROWS]
    progress.begin("timing the student, one row at a time", len(pairs))
    taken: list[float] = []
    for pair in [pairs[0], *pairs]:
        began = time.perf_counter()
        list(student.answer([pair.messages], max_new_tokens=room, batch_size=1))
        taken.append(time.perf_counter() - began)
        if stop.is_set():
            break
        if len(taken) > 1:
            progress.advance()
    return taken[1:]


def answer_tokens(run: Run) -> int:
    """Room for a student's answer: the longest it was trained on, and a little more."""
    return int((run.summary("finetune") or {}).get("answer_tokens_max", 64)) + ROOM_TOKENS


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """`work(stop)` in a thread; when this is cancelled, `stop` is set and the thread is waited for."""
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        raise
