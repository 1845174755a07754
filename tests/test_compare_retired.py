"""compare with a teacher that is gone: what it answered counts, what it did not is left out, loudly."""

import asyncio

import pytest

from distill.config import CompareConfig, TeacherConfig
from distill.errors import CredentialsError, TeacherGone, UsageError
from distill.steps.compare import compare
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.teacher.opening import open_teacher
from distill.types import Prediction, Quiet
from tests.report.test_html import rows_of
from tests.teacher.fault_server import FaultServer, chat, error
from tests.test_compare_step import CannedStudent, gold_file, gold_of, run, shown, wrong_on  # noqa: F401

pytestmark = pytest.mark.slow  # together they take seconds


class Listens(Quiet):
    def __init__(self):
        self.told = []

    def say(self, text):
        self.told.append(text)


def right(_, body):
    content = body["messages"][-1]["content"]
    return chat(gold_of(content[content.index("row ") :]))


def ask(run, url, config, students=None):  # noqa: F811
    """(report, what was said) of a compare whose teacher is at `url`."""
    student, base = students or (CannedStudent(wrong_on([1])), CannedStudent(wrong_on(range(20_000))))
    heard = Listens()

    async def work():
        told = TeacherConfig(teacher="big", base_url=url, max_wait_s=0.2)
        teacher = open_teacher(told, run, "compare")
        try:
            return await compare(run, config, teacher, student, base, heard)
        finally:
            await teacher.close()

    return asyncio.run(work()), heard.told


def bought(run, url, rows):  # noqa: F811
    """A first compare of only the first `rows` rows, whose teacher is still there."""
    return ask(run, url, CompareConfig(ask_twice=0, max_rows=rows))


@pytest.mark.parametrize("gone", [error(404), error(401), None], ids=["404", "401", "no endpoint"])
def test_rows_that_a_retired_teacher_answered_are_compared_and_the_others_counted(run, gone):  # noqa: F811
    retired = []
    with FaultServer(lambda *asked: gone if retired else right(*asked)) as server:
        bought(run, server.url, 12)
        retired.append(True)
        before = len(server.asked)
        if gone is None:
            server.__exit__(None, None, None)
        report, told = ask(run, server.url, CompareConfig(ask_twice=10))
        assert len(server.asked) - before <= 40 + 10
    assert report["rows"]["test"] == 12
    assert report["rows"]["without_teacher"] == {"test": 28}
    assert {each["n"] for each in (*report["scores"], *report["paired"])} == {12}
    assert any(line.startswith("warning: 28 teacher answers cannot be had: ") for line in told)
    assert report["notes"][0].startswith("The teacher is gone: it has no answer to 28 test rows.")
    assert "it has no answer to 28 test rows" in shown(report, width=160)
    page = run.html.read_text()
    assert "no answer to 28 test rows" in page.split("</h1>")[1].split("</section>")[0]
    assert len(rows_of(page)["rows"]) == 12
    answers = [row for _, row in jsonl.read(run.answers, Prediction)]
    assert {row.who for row in answers} >= {"teacher", "student", "base"}
    assert len({row.row for row in answers}) == 12
    verify(run)


def test_answers_that_other_steps_bought_are_heard_though_the_teacher_is_gone(run):  # noqa: F811
    with FaultServer(right) as server:
        bought(run, server.url, 40)
        url = server.url
    run.answers.unlink()
    run.ledger("generate").parent.mkdir(exist_ok=True)
    run.ledger("compare").rename(run.ledger("generate"))
    report, _ = ask(run, url, CompareConfig(ask_twice=0))
    assert report["rows"]["test"] == 40
    assert "without_teacher" not in report["rows"]


def test_answers_known_behind_one_that_is_not_are_heard_too(run, monkeypatch):  # noqa: F811
    whole = list(jsonl.read(run.splits["test"], dict))
    with FaultServer(right) as server:
        jsonl.replace(run.splits["test"], [row for _, row in whole[20:]])
        bought(run, server.url, 40)
        url = server.url
    jsonl.replace(run.splits["test"], [row for _, row in whole])
    run.answers.unlink()
    monkeypatch.setattr("distill.systems.AHEAD", 2)
    report, _ = ask(run, url, CompareConfig(ask_twice=0))
    assert report["rows"]["test"] == 20
    assert report["rows"]["without_teacher"] == {"test": 20}


@pytest.mark.parametrize(
    ("gone", "kind"), [(error(404), UsageError), (error(401), CredentialsError), (None, TeacherGone)]
)
def test_a_teacher_that_never_answered_stops_it(run, gone, kind):  # noqa: F811
    with FaultServer(lambda *_: gone) as server:
        if gone is None:
            server.__exit__(None, None, None)
        with pytest.raises(kind):
            ask(run, server.url, CompareConfig(ask_twice=0))
    assert run.summary("compare") is None


def test_a_split_that_lost_all_its_rows_is_not_reported(run, tmp_path):  # noqa: F811
    retired = []
    gold = gold_file(tmp_path, range(10_000, 10_030))
    with FaultServer(lambda *asked: error(404) if retired else right(*asked)) as server:
        bought(run, server.url, 12)
        retired.append(True)
        report, _ = ask(run, server.url, CompareConfig(ask_twice=0, gold=gold))
    assert report["split"] == "test"
    assert report["rows"]["without_teacher"] == {"test": 28, "gold": 30}
    assert "agreement with the teacher" in report["verdict"]["sentence"]


def test_one_row_that_is_refused_is_no_retired_teacher(run):  # noqa: F811
    def script(_, body):
        return error(418) if "row 30 " in body["messages"][-1]["content"] else right(_, body)

    with FaultServer(script) as server, pytest.raises(Exception, match="418"):
        ask(run, server.url, CompareConfig(ask_twice=0))
    assert run.summary("compare") is None
