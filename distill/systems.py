"""Who answers in compare, and how each is asked: teacher, student, base and others, every answer on disk.

Refuses to ask for an answer twice: an answer is known by a key of all that decided it.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from distill.ask import answer_request, default_prompt
from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.failed import failed_checks
from distill.held_out import HeldOut, gold_shots
from distill.results import AGAIN, ASIDE
from distill.store.answers import Answers, Row, Said
from distill.store.run import Run, digest
from distill.store.split import sampled
from distill.student.protocol import Student
from distill.teacher.flow import ordered
from distill.teacher.ledgered import GONE, Ledgered
from distill.teacher.protocol import Teacher
from distill.types import Example, Message, Pair, Prediction, Progress, Request, Task, content_id
from distill.weights import Weights

T = TypeVar("T")
AHEAD = 256
"""Teacher calls handed over at once; how many are sent at once is the teacher's own limit."""
ROOM_TOKENS = 8
"""Room beyond the longest trained answer."""
ANSWERING = 2
"""Raised where what a student says, or says of itself, changes: answers from before are then asked anew."""
Shown = Callable[[Pair], Sequence[Message]]
"""What a student is shown of a row."""


class Other(NamedTuple):
    """A student to score beside the run's: its name in the report, what it is, and how it is opened.

    `only`: the answers that what `open` gives is limited to; () is any. `source` is there where it is a model
    as it comes, no run's student.
    """

    who: str
    model: str
    weights: str | None
    open: Callable[[], Student]
    only: tuple[str, ...] = ()
    source: Weights | None = None


class Teaching(NamedTuple):
    """How the teacher is asked for its answers: its best prompt, room for an answer, generate's seeds."""

    task: Task
    prompt: str
    room: int
    shots: tuple[Example, ...] = ()

    @staticmethod
    def of(run: Run, task: Task) -> "Teaching":
        """As generate asked it."""
        settings = run.settings().get("generate", {})
        room = settings.get("max_answer_tokens", GenerateConfig.max_answer_tokens)
        return Teaching(task, default_prompt(task), room, gold_shots(run))

    def request(self, pair: Pair) -> Request:
        """The whole call for one row, with what was said before it."""
        *before, asked = pair.messages
        said = [message for message in before if message.role != "system"]
        return answer_request(
            self.task, self.prompt, asked.content, max_tokens=self.room, shots=self.shots, before=said
        )

    def shown(self, pair: Pair) -> tuple[Message, ...]:
        """The teacher's prompt for that row, for a student to be asked with."""
        return self.request(pair).messages


def limited(other: Other, only: tuple[str, ...]) -> Other:
    """`other`, which can say nothing but `only`; as it is where that is ()."""
    return other._replace(open=lambda: other.open().limited_to(only), only=only) if only else other


def allowed(task: Task, answers: str) -> tuple[str, ...]:
    """What students may say by `--answers`; () is anything. Raises UsageError where that is no label."""
    if answers == "free":
        return ()
    if task.kind != "label" or task.rationale:
        why = "gives a reason before its label" if task.rationale else f"answers with {task.kind}, not labels"
        raise UsageError(f"the student of this task {why}", where="--answers labels", hint="--answers free")
    return task.label_names


def rows_of(held_out: HeldOut, key: Callable[[str, Pair], str]) -> list[Row]:
    """A row for each held-out pair, split by split."""
    return [
        Row(split, pair, key(split, pair), held_out.clusters[pair.id])
        for split, pairs in held_out.splits.items()
        for pair in pairs
    ]


async def ask_teacher(
    answers: Answers,
    held_out: HeldOut,
    teaching: Teaching,
    teacher: Teacher,
    progress: Progress,
    *,
    again: int = 0,
) -> list[Row]:
    """Have the teacher answer what it has not answered yet; returns the rows that it answered.

    With `again`, the second answers to a sample of that many rows, in place of the first ones. A
    teacher that is gone is heard as far as its answers are known; raises what it raises where none is.
    """
    who, sample = (AGAIN, (1,)) if again else ("teacher", ())
    rows = rows_of(
        held_out,
        lambda split, pair: content_id(
            "teacher", teacher.identity, split, pair.id, teaching.request(pair), *sample
        ),
    )
    if again:
        rows = [rows[place] for place in sampled([row.pair.id for row in rows], again)]

    async def answer(row: Row) -> None:
        completion = await teacher.complete(teaching.request(row.pair), len(sample))
        said = Said(
            row.key,
            completion.text,
            completion.latency_s,
            completion.cost_usd,
            completion.finish_reason,
            tokens=completion.completion_tokens,
        )
        answers.add(who, row, said)

    missing = answers.missing(rows)
    progress.begin(f"{who} answers", len(missing))
    try:
        async with aclosing(ordered(missing, answer, AHEAD)) as done:
            async for _ in done:
                progress.advance()
    except GONE as error:
        await known_answers(answers.missing(rows), answer)
        unknown = {row.key for row in answers.missing(rows)}
        rows = [row for row in rows if row.key not in unknown]
        if not rows:
            raise
        progress.say(f"warning: {len(unknown)} {who} answers cannot be had: {error.message}")
    if isinstance(teacher, Ledgered):
        for row in rows:
            answers.price(row.key, teacher.price(teaching.request(row.pair), len(sample)))
    return rows


async def known_answers(missing: Sequence[Row], answer: Callable[[Row], Awaitable[None]]) -> None:
    """The answers of a teacher that is gone which were bought before, in whatever step."""
    for row in missing:
        with suppress(*GONE):
            await answer(row)


async def ask_student(
    answers: Answers,
    other: Other,
    progress: Progress,
    *,
    rows: HeldOut,
    room: int,
    batch_size: int,
    shown: Shown | None = None,
) -> list[Row]:
    """Have a student answer, in batches, what it has not answered yet; returns all its rows.

    It is opened only where a row is missing. `shown`: what it sees of a row, in place of the row's messages.
    """
    who, see = other.who, shown or asked
    wanted = rows_of(
        rows,
        lambda split, pair: content_id(
            ANSWERING, who, other.model, other.weights, room, split, pair.id, see(pair), *other.only
        ),
    )
    missing = answers.missing(wanted)
    progress.begin(f"{who} answers", len(missing))

    def work(stop: threading.Event) -> None:
        conversations, student = [see(row.pair) for row in missing], other.open()
        began = time.perf_counter()
        for place, answer in student.answer(conversations, max_new_tokens=room, batch_size=batch_size):
            now = time.perf_counter()
            said = Said(
                missing[place].key,
                answer.text,
                answer.latency_s,
                finish_reason=answer.finish_reason,
                spent_s=now - began,
                tokens=answer.tokens,
                confidence=answer.confidence,
            )
            answers.add(who, missing[place], said)
            progress.advance()
            began = now
            if stop.is_set():
                return

    if missing:
        await in_thread(work)
    return wanted


def own_rules(run: Run, predictions: Mapping[str, Sequence[Prediction]]) -> dict[str, dict[str, int]]:
    """What the rules that generate was given (--check) say of these answers; {} where there are none."""
    settings, path = run.settings().get("generate", {}), rules_file(run)
    if path is None or not path.is_file():
        return {}
    systems = {who: rows for who, rows in predictions.items() if who not in ASIDE}
    return failed_checks(path, settings.get("check_timeout_s", GenerateConfig.check_timeout_s), systems)


def rules_file(run: Run) -> Path | None:
    """Where the rules of generate (--check) were; None where it was given none."""
    check = run.settings().get("generate", {}).get("check")
    return Path(check) if check else None


def asked(pair: Pair) -> Sequence[Message]:
    """What a student is shown of a row."""
    return pair.messages


def answer_tokens(run: Run) -> int:
    """Room for a student's answer: the longest it was trained on, and a little more."""
    return int((run.summary("finetune") or {}).get("answer_tokens_max", 64)) + ROOM_TOKENS


def files_of(run: Run) -> dict[str, str | None]:
    """A digest of each file of the run that a report rests on, by name; None where it is absent."""
    splits = {f"{name}.jsonl": digest(path) for name, path in run.splits.items()}
    prints = {"task.toml": digest(run.task), **splits, "adapter": adapter_digest(run)}
    return prints | ({"check file": digest(rules)} if (rules := rules_file(run)) else {})


def changed_since(run: Run, report: Mapping[str, Any]) -> list[str]:
    """The files of the run that are others now than those this report was made from, by name."""
    before = report.get("made_from", {})
    return [name for name, now in files_of(run).items() if before.get(name, now) != now]


def adapter_digest(run: Run) -> str | None:
    """A fingerprint of the trained weights and their settings, or None where there are none.

    What compare left beside them counts for nothing.
    """
    found = run.adapter.rglob("*") if run.adapter.is_dir() else ()
    files = sorted(path for path in found if path.is_file() and path != run.exported_cascade)
    return content_id([(path.name, digest(path)) for path in files]) if files else None


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
