"""How long a single answer takes a student: rows one at a time, as one caller would have them.

Refuses to take long: a slow student is timed on few rows.
"""

import math
import threading
import time
from collections.abc import Sequence
from functools import partial

from distill.held_out import HeldOut
from distill.systems import Other, Shown, asked, in_thread
from distill.types import Pair, Progress

TIMED_ROWS, FEW_TIMED = 20, 3
TIMED_S = 10.0


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
