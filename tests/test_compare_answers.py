"""compare --answers labels: students say nothing but labels, by another key, and the report says so."""

import asyncio
import dataclasses

import pytest

from distill.config import CompareConfig
from distill.errors import UsageError
from distill.steps.compare import compare
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.store.taskfile import read_task, write_task
from distill.student.protocol import Answer
from distill.systems import Other
from distill.types import Prediction, Quiet, Task
from tests.test_compare_step import ONCE, gold_of, run, teacher_that, wrong_on  # noqa: F401

pytestmark = pytest.mark.slow  # together they take seconds
LIMITED = dataclasses.replace(ONCE, answers="labels")


class Wordy:
    """Says more than a label, unless it is limited to labels; counts what it answered."""

    model = "wordy"

    def __init__(self, only=(), asked=None):
        self.only, self.asked = only, asked if asked is not None else []

    def limited_to(self, only):
        return Wordy(only, self.asked)

    def answer(self, conversations, *, max_new_tokens, batch_size):
        for place, messages in enumerate(conversations):
            self.asked += [messages[-1].content] if batch_size > 1 else []
            said = gold_of(messages[-1].content[messages[-1].content.index("row ") :])
            text = said if said in self.only else f"{said}, or is it? positive or negative"
            yield place, Answer(text, "stop", 0.01, 1)


def compared(run, student, config, others=()):  # noqa: F811
    teacher = teacher_that(wrong_on(()))
    return asyncio.run(compare(run, config, teacher, student, Wordy(), Quiet(), others))


def off_label(report):
    return {s["who"]: s["value"] for s in report["scores"] if s["metric"] == "off_label_rate"}


def test_all_students_are_limited_by_a_key_of_its_own_and_the_report_says_so(run):  # noqa: F811
    student, other = Wordy(), Wordy()
    others = [Other("other", "wordy", None, lambda: other)]
    free = compared(run, student, ONCE, others)
    assert off_label(free) == {"teacher": 0, "student": 1, "base": 1, "prompted base": 1, "other": 1}
    assert not any("--answers labels" in note for note in free["notes"])
    asked = len(student.asked)
    limited = compared(run, student, LIMITED, others)
    assert off_label(limited) == dict.fromkeys(off_label(free), 0)
    assert len(student.asked) == 2 * asked == len(other.asked)
    assert any("--answers labels" in note for note in limited["notes"])
    assert "--answers labels" in run.html.read_text()
    assert run.summary("compare")["made_from"]["answers"] == "labels"
    assert verify(run)["notes"] == limited["notes"]
    compared(run, student, LIMITED, others)
    assert len(student.asked) == 2 * asked
    texts = {row.text for _, row in jsonl.read(run.answers, Prediction) if row.who != "teacher"}
    assert texts == {"positive", "negative"}


@pytest.mark.parametrize("changes", [{"kind": "text", "labels": ()}, {"rationale": True}])
def test_refused_where_the_student_has_more_to_say_before_anybody_is_asked(run, changes):  # noqa: F811
    task = {name: getattr(read_task(run.task), name) for name in ("name", "kind", "instruction", "labels")}
    write_task(run.task, Task(**{**task, **changes}))
    student = Wordy()
    with pytest.raises(UsageError, match=r"not labels|reason before"):
        compared(run, student, LIMITED)
    assert not student.asked
    assert not run.answers.exists()


def test_the_default_is_free():
    assert CompareConfig().answers == "free"
