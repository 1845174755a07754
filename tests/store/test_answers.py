"""answers.jsonl: nothing lost, nothing asked for twice."""

import pytest

from distill.errors import DataError
from distill.store import jsonl
from distill.store.answers import Answers, Row, Said
from distill.types import Label, Message, Pair, Prediction, Task

TASK = Task(name="t", kind="label", instruction="?", labels=(Label("yes"), Label("no")))
PAIR = Pair.make((Message("user", "is it?"),), "yes", "gold")
ROW = Row("gold", PAIR, "k1")


def test_what_was_added_is_known_after_a_torn_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers = Answers(path, TASK)
    assert answers.missing([ROW, ROW]) == [ROW]
    answers.add("student", ROW, Said("k1", "Yes!", 0.5, None, "stop", 0.1))
    answers.close()
    with path.open("ab") as file:
        file.write(b'{"key": "k2", "te')

    again = Answers(path, TASK)
    assert again.missing([ROW, Row("gold", PAIR, "k2")]) == [Row("gold", PAIR, "k2")]
    (prediction,) = again.of("student", [ROW])
    assert (prediction.answer, prediction.gold, prediction.latency_s) == ("yes", "yes", 0.5)
    assert prediction.spent_s == 0.1
    again.close()


def test_the_file_ends_with_exactly_the_rows_of_the_report(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers = Answers(path, TASK)
    stale = Row("gold", PAIR, "old")
    for row in (stale, ROW):
        answers.add("student", row, Said(row.key, "no"))
    answers.keep_only({"student": [ROW, ROW]})
    ((_, record),) = jsonl.read(path, Prediction)
    assert (record.row, record.who, record.answer, record.gold) == (PAIR.id, "student", "no", "yes")


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"key": "a", "text": "yes"}\nnonsense\n')
    with pytest.raises(DataError) as error:
        Answers(path, TASK)
    assert error.value.where == f"{path}:2"
