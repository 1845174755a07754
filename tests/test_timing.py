"""Single answers are timed, of every student, and a slow one costs no patience."""

import asyncio

import pytest

from distill import timing
from distill.held_out import HeldOut
from distill.student.protocol import Answer
from distill.systems import Other
from distill.timing import time_students
from distill.types import Message, Pair, Quiet


class Slow:
    model = "slow"

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.shown = clock, seconds, []

    def answer(self, conversations, *, max_new_tokens, batch_size):
        assert (len(conversations), batch_size, max_new_tokens) == (1, 1, 9)
        self.shown.append(conversations[0])
        self.clock[0] += self.seconds
        yield 0, Answer("yes", "stop", self.seconds, 1)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("seconds", "rows"), [(0.25, 20), (1.0, 10), (60.0, 3)])
def test_a_slow_student_is_timed_on_few_rows(clock, seconds, rows):
    pairs = [Pair.make((Message("user", f"row {number}"),), "yes", "t") for number in range(30)]
    fast, slow = Slow(clock, 0.1), Slow(clock, seconds)
    prompt = (Message("user", "as the teacher is asked"),)
    students = [
        (Other("student", "a", None, lambda: fast), None),
        (Other("base", "b", None, lambda: slow), lambda pair: prompt),
    ]
    held_out = HeldOut({"gold": pairs, "test": []}, {})
    found = asyncio.run(time_students(students, held_out, 9, Quiet()))
    assert found == {
        "student": pytest.approx((0.1,) * 20),
        "base": pytest.approx((seconds,) * rows),
    }
    assert fast.shown == [pairs[0].messages, *(pair.messages for pair in pairs[:20])]
    assert set(slow.shown) == {prompt}
