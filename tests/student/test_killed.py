"""A student killed while it answers (`kill -9`): what it said is on disk, and no row is answered twice."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distill.ask import student_messages
from distill.held_out import HeldOut
from distill.store import jsonl
from distill.store.answers import Answers
from distill.systems import Other, ask_student
from distill.types import Label, Pair, Prediction, Quiet, Task
from tests.student.tiny import byte_tokenizer, tiny_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TASK = Task(name="t", kind="label", instruction="Say.", labels=(Label("a"), Label("b")))
COUNT = 600


def rows(count=COUNT):
    pairs = [Pair.make(student_messages(TASK, f"row {n} {'x' * (n % 40)}"), "a", "t") for n in range(count)]
    return HeldOut({"test": pairs}, {pair.id: pair.id for pair in pairs})


class Counting:
    """A real tiny student that notes what it was asked."""

    model = "tiny"

    def __init__(self):
        from distill.student.causal import CausalStudent
        from distill.student.chat import open_chat
        from distill.student.device import pick
        from distill.student.forward import open_net

        net = open_net(tiny_model())
        self.student = CausalStudent("tiny", net, open_chat(byte_tokenizer()), pick("cpu", "float32"))
        self.asked = []

    def answer(self, conversations, **more):
        self.asked += [messages[-1].content for messages in conversations]
        return self.student.answer(conversations, **more)


class Waiting(Counting):
    """After so many answers it waits to be killed, however long that takes."""

    def answer(self, conversations, **more):
        for count, answer in enumerate(super().answer(conversations, **more), start=1):
            yield answer
            if count == 80:
                threading.Event().wait()


def answer_all(path, student):
    """Have it answer what is missing in `path`."""
    answers = Answers(path, TASK)
    other = Other("student", "tiny", None, lambda: student)
    try:
        asyncio.run(ask_student(answers, other, Quiet(), rows=rows(), room=6, batch_size=8))
    finally:
        answers.close()


class Weighing(Quiet):
    """Notes the memory this process takes, in MB, at every thousandth answer."""

    def __init__(self):
        self.done, self.seen = 0, []

    def advance(self, count=1, note=""):
        self.done += count
        if self.done % 1000 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_over_many_rows(tmp_path):
    answers, weighing = Answers(tmp_path / "answers.jsonl", TASK), Weighing()
    student = Counting()
    other = Other("student", "tiny", None, lambda: student)
    asyncio.run(ask_student(answers, other, weighing, rows=rows(4000), room=4, batch_size=32))
    answers.close()
    assert len(weighing.seen) == 4
    assert weighing.seen[-1] - weighing.seen[0] < 20  # of some 400


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_twice_and_no_row_is_answered_twice(tmp_path):
    path = tmp_path / "answers.jsonl"
    code = (
        "from pathlib import Path; from tests.student.test_killed import Waiting, answer_all\n"
        f"answer_all(Path({str(path)!r}), Waiting())"
    )
    before = 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        until = time.monotonic() + 300
        while lines(path) < before + 40 and time.monotonic() < until:
            assert child.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert before + 40 <= lines(path) < COUNT
        before = lines(path)

    with path.open("ab") as file:
        file.write(b'{"key": "torn')  # as a kill in the middle of a write leaves it
    student = Counting()
    answer_all(path, student)
    assert len(student.asked) == COUNT - before
    found = [row for _, row in jsonl.read(path, Prediction)]
    assert len(found) == COUNT == len({row.row for row in found})
    again = Counting()
    answer_all(path, again)
    assert not again.asked
