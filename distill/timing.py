"""How long a single answer takes a student: rows one at a time, as one caller would have them.

Refuses to take long: a slow student is timed on few rows.
"""

import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from distill.errors import DistillError
from distill.held_out import HeldOut
from distill.store.answers import Row
from distill.store.run import Run
from distill.student.protocol import Student
from distill.systems import Other, Shown, asked, in_thread, limited
from distill.types import Pair, Progress, content_id

TIMED_ROWS, FEW_TIMED = 20, 3
TIMED_S = 10.0
KNOWN = "answer_times"
"""The run's setting with the seconds of `--also` students: they are not opened again to be timed."""


class Kept:
    """Opens a student when first asked for it, and then gives the same."""

    def __init__(self, opens: Callable[[], Student]) -> None:
        self._opens, self._student = opens, list[Student]()

    def __call__(self) -> Student:
        """The student."""
        if not self._student:
            self._student.append(self._opens())
        return self._student[0]


async def ask_others(
    run: Run,
    ask: Callable[[Other], Awaitable[list[Row]]],
    own: Sequence[tuple[Other, Shown | None]],
    others: Sequence[Other],
    held_out: HeldOut,
    room: int,
    progress: Progress,
) -> tuple[dict[str, list[Row]], dict[str, tuple[float, ...]]]:
    """(who -> its rows, who -> seconds a row) of `others`; the seconds of the run's open `own` are there too.

    One of the others is in memory at a time, limited to what the run's student may say, and opened only where
    a row is missing or it was never timed here. One that cannot be opened for its time alone goes without.
    """
    (tuned, _), *_ = own
    rows: dict[str, list[Row]] = {}
    known: dict[str, list[float]] = {}
    times = await time_students(own, held_out, room, progress)
    before = run.settings().get(KNOWN, {})
    for other in others:
        one = limited(other._replace(open=Kept(other.open)), tuned.only)
        rows[one.who] = await ask(one)
        key = content_id(one.who, one.model, one.weights, room, *one.only)
        if key not in before:
            try:
                times |= await time_students([(one, None)], held_out, room, progress)
            except DistillError as error:
                progress.say(f"{one.who} is not timed: {error.message}")
                continue
        times.setdefault(one.who, tuple(before.get(key, ())))
        known[key] = list(times[one.who])
    if others:
        run.record(KNOWN, known)
    return rows, times


async def time_students(
    students: Sequence[tuple[Other, Shown | None]], held_out: HeldOut, room: int, progress: Progress
) -> dict[str, tuple[float, ...]]:
    """Who -> seconds for each of up to TIMED_ROWS rows, answered one at a time, by students that are open."""
    pairs = next(iter(held_out.splits.values()))[:TIMED_ROWS]
    return {
        other.who: tuple(await in_thread(partial(time_student, other, shown or asked, pairs, room, progress)))
        for other, shown in students
    }


def time_student(
    other: Other, shown: Shown, pairs: Sequence[Pair], room: int, progress: Progress, stop: threading.Event
) -> list[float]:
    """Seconds for each of `pairs`, after one that warms up; FEW_TIMED of them where they take TIMED_S."""
    progress.begin(f"timing {other.who}, one row at a time", len(pairs))
    student, taken = other.open(), list[float]()
    for pair in [pairs[0], *pairs]:
        began = time.perf_counter()
        list(student.answer([shown(pair)], max_new_tokens=room, batch_size=1))
        taken.append(time.perf_counter() - began)
        if stop.is_set() or (len(taken) > FEW_TIMED and math.fsum(taken) > TIMED_S):
            break
        if len(taken) > 1:
            progress.advance()
    return taken[1:]
