"""compare asks the student about the validation rows too, and leaves what serving a cascade takes."""

import io
import json

import msgspec
import pytest

from distill.errors import DataError
from distill.report.terminal import report as rendered
from distill.results import VALID
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.store.answers import Said
from distill.store.run import read_json
from distill.student.protocol import Answer
from distill.types import Prediction
from tests.test_compare_step import CannedStudent, compared, run, write_split, wrong_on  # noqa: F401

pytestmark = pytest.mark.slow


class SureStudent(CannedStudent):
    """Wrong on the named rows, and unsure of those."""

    def answer(self, conversations, **more):
        for place, said in super().answer(conversations, **more):
            number = int(conversations[place][-1].content.split()[1])
            sure = (
                0.6
                if self.reply(conversations[place][-1].content)
                != wrong_on(())(conversations[place][-1].content)
                else 0.9 + number % 7 / 100
            )
            yield place, Answer(said.text, said.finish_reason, said.latency_s, 2, sure)


def with_cascade(run):  # noqa: F811
    write_split(run, "valid", range(7000, 7030))
    wrong = {*range(8), *range(7000, 7004)}
    return compared(run, student=SureStudent(wrong_on(wrong)))


def test_the_cascade_is_reported_written_down_and_verified(run):  # noqa: F811
    found = with_cascade(run)["cascade"]
    assert found["calibration"]["n"] == 30
    assert found["points"][0]["value"] == 0.8
    sent = next(point for point in found["points"] if point["value"] == 1)
    assert sent["share_to_teacher"] == pytest.approx(0.2)
    assert found["target"]["value"] == 1
    assert found["target"]["share_to_teacher"] == pytest.approx(0.2)
    served = read_json(run.cascade)
    assert served["target"]["threshold"] == found["target"]["threshold"]
    assert served["calibration"] == found["calibration"]
    assert verify(run)["cascade"] == json.loads(json.dumps(found))

    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rendered(run.summary("compare")))
    assert "Send the 20% least sure to the teacher" in console.export_text()


def test_answers_to_validation_rows_are_kept_once_and_score_nothing(run):  # noqa: F811
    report = with_cascade(run)
    rows = [row for _, row in jsonl.read(run.answers, Prediction)]
    valid = [row for row in rows if row.who == VALID]
    assert (len(valid), {row.split for row in valid}) == (30, {"valid"})
    assert all(row.confidence for row in valid)
    assert VALID not in {each["who"] for each in report["systems"]}
    again = SureStudent(wrong_on({*range(8), *range(7000, 7004)}))
    assert compared(run, student=again)["cascade"] == report["cascade"]
    assert not again.asked


def test_a_changed_confidence_is_found_by_verify(run):  # noqa: F811
    with_cascade(run)
    rows = [record for _, record in jsonl.read(run.answers, dict)]
    row = next(row for row in rows if row["who"] == "student" and row["confidence"] == 0.6)
    row["confidence"] = 0.99
    jsonl.replace(run.answers, rows)
    with pytest.raises(DataError, match="cascade"):
        verify(run)


def test_a_run_without_validation_rows_or_confidence_has_no_cascade_file(run):  # noqa: F811
    with_cascade(run)
    assert run.cascade.exists()
    run.answers.unlink()
    assert "cascade" not in compared(run, student=CannedStudent(wrong_on(range(8))))
    assert not run.cascade.exists()


def test_the_students_folder_takes_the_cascade_along_and_is_no_other_student_for_it(run):  # noqa: F811
    from distill.systems import adapter_digest

    before = adapter_digest(run)
    assert before is not None
    with_cascade(run)
    assert read_json(run.adapter / "cascade.json") == read_json(run.cascade)
    assert adapter_digest(run) == before
    run.answers.unlink()
    compared(run, student=CannedStudent(wrong_on(range(8))))
    assert not (run.adapter / "cascade.json").exists()


def test_answers_from_before_confidence_was_logged_are_read():
    old = b'{"key": "k", "text": "a", "spent_s": 0.5, "tokens": 2, "who": "student"}'
    assert msgspec.json.decode(old, type=Said).confidence is None
