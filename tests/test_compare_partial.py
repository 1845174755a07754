"""compare typed where the teacher is not all there: what is known counts, the rest is asked later."""

import asyncio

import pytest

from distill.config import CompareConfig, FinetuneConfig
from distill.steps.compare import compare as step
from distill.steps.finetune import made_from
from distill.steps.verifying import verify
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Quiet
from tests.teacher.fault_server import FaultServer, chat, error
from tests.test_cli import distill
from tests.test_compare_step import CannedStudent, gold_of, run, teacher_that, wrong_on  # noqa: F401

pytestmark = pytest.mark.slow  # together they take seconds


@pytest.fixture
def place(run, monkeypatch, tmp_path):  # noqa: F811
    """A run that is trained, its students canned; `place.opened` counts how often they were."""
    run.finish(
        "finetune", {"steps": 1, "best_valid_loss": None}, made_from(run, FinetuneConfig(student="local"))
    )
    run.opened = []

    def load(_place):
        run.opened.append(1)
        return CannedStudent(wrong_on([1])), CannedStudent(wrong_on(range(20_000)))

    monkeypatch.setattr("distill.workflow.open_students", load)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return run


def right(_, body):
    content = body["messages"][-1]["content"]
    return chat(gold_of(content[content.index("row ") :]))


def compare(run, *flags):  # noqa: F811
    """The exit code; 3 is a report whose verdict is not yes."""
    return distill("--runs-dir", run.root.parent, "--run", run.name, "compare", *flags)


def told(capsys):
    return " ".join(capsys.readouterr().err.split())


def at(url, *more):
    return ("--teacher", "big", "--base-url", url, "--max-wait-s", "0.2", *more)


def test_a_partial_report_goes_on_when_the_teacher_is_back_and_stands_while_it_is_not(place, capsys):
    gone = []

    def script(number, body):
        return error(404) if gone and gone[0] <= number else right(number, body)

    with FaultServer(script) as server:
        compare(place, *at(server.url, "--ask-twice", 0, "--max-rows", 12))
        gone.append(len(server.asked))
        for _ in range(2):
            assert compare(place, *at(server.url, "--ask-twice", 0)) == 3
            report = place.summary("compare")
            assert (report["rows"]["test"], report["rows"]["without_teacher"]) == (12, {"test": 28})
        assert "the report is partial (28 rows have no answer of the teacher)" in told(capsys)
        distill("--runs-dir", place.root.parent, "--run", place.name, "status")
        assert "Partial: 28 rows have no" in " ".join(capsys.readouterr().out.split())
        gone.clear()
        before = len(server.asked)
        compare(place, *at(server.url, "--ask-twice", 0))
        assert len(server.asked) - before == 28
        report = place.summary("compare")
        assert (report["rows"]["test"], report["rows"].get("without_teacher")) == (40, None)
        opened = len(place.opened)
        compare(place, *at(server.url, "--ask-twice", 0))
        assert "compare is done and nothing changed" in told(capsys)
        assert len(place.opened) == opened


def test_a_ceiling_that_was_lost_is_asked_for_again(place, capsys):
    ill = []
    with FaultServer(lambda *asked: error(418) if ill else right(*asked)) as server:
        compare(place, *at(server.url, "--ask-twice", 0))
        ill.append(1)
        compare(place, *at(server.url, "--ask-twice", 10))
        report = place.summary("compare")
        assert "ceiling" not in report
        assert any("agrees with itself is unknown" in note for note in report["notes"])
        ill.clear()
        before = len(server.asked)
        compare(place, *at(server.url, "--ask-twice", 10))
        assert len(server.asked) - before == 10
    assert place.summary("compare")["ceiling"]["n"] == 10
    assert "the report is partial (10 rows have no second answer)" in told(capsys)


def test_prices_given_later_are_those_of_answers_that_had_none_and_can_be_mended(place, capsys):
    with FaultServer(right) as server:
        flags = at(server.url, "--ask-twice", 0, "--hardware-usd-per-hour", 0)
        compare(place, *flags)
        report = place.summary("compare")
        assert report["economics"]["teacher_usd_per_1000"] is None
        place.ledger("generate").write_bytes(place.ledger("compare").read_bytes())
        asked = len(server.asked)
        for usd in (100, 50):
            compare(place, *flags, "--price-in", usd, "--price-out", usd)
            assert "prices changed" in told(capsys)
            report = place.summary("compare")
            assert report["economics"]["teacher_usd_per_1000"] == pytest.approx(1000 * 12 * usd / 1e6)
            assert report["economics"]["upfront_usd"]["teacher"] == pytest.approx(40 * 12 * usd / 1e6)
            verify(place)
        compare(place, *flags)
        assert "compare is done and nothing changed" in told(capsys)
        assert len(server.asked) == asked


def answered_by(place, identity, rows):
    """A first compare of only the first `rows` rows, whose teacher of that identity is still there."""

    class Was(ScriptedTeacher):
        identity = ""

    Was.identity = identity
    config = CompareConfig(ask_twice=0, max_rows=rows)
    ledger = Ledger(place.ledger("compare"))
    teacher = Ledgered(Was(teacher_that(wrong_on(()))._reply, model="big"), ledger)
    student = CannedStudent(wrong_on([1]))

    async def work():
        try:
            await step(place, config, teacher, student, student, Quiet())
        finally:
            await teacher.close()

    place.folder("compare")
    asyncio.run(work())


RETIRED = [
    ("big @ https://api.openai.com/v1", ("--teacher", "big", "--base-url", "https://api.openai.com/v1"), 4),
    ("local gone.gguf 123", ("--teacher", "local", "--local-model", "models/gone.gguf"), 2),
]


@pytest.mark.parametrize(("identity", "flags", "code"), RETIRED, ids=["no key", "no file"])
def test_a_teacher_that_cannot_be_opened_any_more_is_heard_as_far_as_the_run_knows_it(
    place, capsys, monkeypatch, identity, flags, code
):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert compare(place, *flags) == code
    assert not place.opened
    answered_by(place, identity, 12)
    why = "no API key" if code == 4 else "no such file"
    capsys.readouterr()
    assert compare(place, *flags, "--ask-twice", 5) == 3
    report, said = place.summary("compare"), told(capsys)
    assert (report["rows"]["test"], report["rows"]["without_teacher"]) == (12, {"test": 28})
    assert f"warning: {why}" in said
    assert "warning: 28 teacher answers cannot be had: " in said
    assert any("agrees with itself is unknown" in note for note in report["notes"])
    assert report["systems"][0]["model"] == ("big" if code == 4 else "gone.gguf")
    answered_by(place, identity, 40)
    compare(place, *flags, "--ask-twice", 0)
    assert "without_teacher" not in place.summary("compare")["rows"]
    capsys.readouterr()
    compare(place, *flags, "--ask-twice", 0)
    assert "compare is done and nothing changed" in told(capsys)
    assert not distill("--runs-dir", place.root.parent, "--run", place.name, "status")
    other = ("--teacher", "another", *flags[2:]) if code == 4 else (*flags[:3], "other.gguf")
    assert compare(place, *other) == code
