"""A comparison that is made anew and fails: the report before it, its page and its answers stay whole."""

import asyncio
from pathlib import Path

import pytest

from distill import views
from distill.cli import main
from distill.config import CompareConfig
from distill.errors import DistillError, StorageError, TeacherError, UsageError
from distill.report.renewed import aside, finish
from distill.steps.compare import compare, made_from
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.systems import changed_since
from distill.types import Quiet
from tests.test_compare_step import (  # noqa: F401
    ONCE,
    CannedStudent,
    compared,
    gold_file,
    gold_of,
    run,
    teacher_that,
    wrong_on,
)

pytestmark = pytest.mark.slow  # together they take seconds


def whole(run):  # noqa: F811
    """Every file of a finished comparison, by name."""
    paths = (run.summary_path("compare"), run.html, run.answers, run.judged, run.cascade, run.rounds)
    return {path.name: path.read_bytes() for path in paths if path.exists()}


@pytest.fixture
def stale(run):  # noqa: F811
    """A compared run whose student is another now; verdicts and a cascade stand for what others left."""
    compared(run, student=[1, 2])
    run.cascade.write_text("{}")
    run.judged.write_text("")
    (run.adapter / "adapter_model.safetensors").write_bytes(b"better weights")
    return run


def test_a_finished_compare_says_what_to_do_next_and_so_does_status(run):  # noqa: F811
    report = compared(run, student=[1, 2])
    *_, last = views.compared(run, report)
    assert last.startswith("Next: distill compare --gold FILE")
    found = views.following(run, missing=[])
    assert last == f"Next: {found}"


def teacher_gone(stale, tmp_path, monkeypatch):
    def reply(shown):
        if shown.startswith("row 10005 "):
            raise TeacherError("gone")
        return gold_of(shown)

    config = CompareConfig(gold=gold_file(tmp_path, range(10_000, 10_010)), ask_twice=0)
    monkeypatch.setattr("distill.systems.GONE", ())
    compared(stale, teacher=teacher_that(reply), config=config)


def student_killed(stale, tmp_path, monkeypatch):
    compared(stale, student=CannedStudent(wrong_on(()), fail_after=13))


def disk_full(stale, tmp_path, monkeypatch):
    real = jsonl.replace_json

    def replace_json(path, value):
        if path.name == "report.json":
            raise jsonl.full_disk(path, OSError(28, "No space left on device"))
        real(path, value)

    monkeypatch.setattr(jsonl, "replace_json", replace_json)
    compared(stale)


def interrupted(stale, tmp_path, monkeypatch):
    class Stops(Quiet):
        def begin(self, what, total):
            if what == "base answers":
                raise asyncio.CancelledError

    student = CannedStudent(wrong_on(()))
    asyncio.run(compare(stale, ONCE, teacher_that(wrong_on(())), student, student, Stops()))


@pytest.mark.parametrize("fails", [teacher_gone, student_killed, disk_full, interrupted])
def test_the_old_report_stays_whole_and_verifies_until_the_new_one_is_there(
    stale, tmp_path, monkeypatch, fails
):
    before = whole(stale)
    with monkeypatch.context() as patch, pytest.raises((DistillError, RuntimeError, asyncio.CancelledError)):
        fails(stale, tmp_path, patch)
    assert whole(stale) == before
    stale.judged.unlink()
    assert verify(stale)["verdict"] == stale.summary("compare")["verdict"]
    assert changed_since(stale, stale.summary("compare")) == ["adapter"]
    assert [each["state"] for each in views.standing(stale)["steps"] if each["step"] == "compare"] == [
        "stale"
    ]
    assert stale.summary("compare")["paired"][0]["losses"] == 2
    compared(stale)
    assert verify(stale)["paired"][0]["losses"] == 0
    assert changed_since(stale, stale.summary("compare")) == []
    assert not stale.cascade.exists()
    assert not [path for path in stale.folder("compare").rglob("*") if path.is_dir()]


def test_a_comparison_that_failed_goes_on_and_asks_nobody_twice(stale):
    dying = CannedStudent(wrong_on(()), fail_after=13)
    with pytest.raises(RuntimeError, match="killed"):
        compared(stale, student=dying)
    teacher, student, base = (
        teacher_that(wrong_on(())),
        CannedStudent(wrong_on(())),
        CannedStudent(wrong_on(())),
    )
    compared(stale, teacher=teacher, student=student, base=base)
    assert (len(teacher.requests), len(student.asked), len(base.asked)) == (0, 27, 0)


def test_a_first_comparison_that_fails_leaves_no_report(run):  # noqa: F811
    with pytest.raises(RuntimeError, match="killed"):
        compared(run, student=CannedStudent(wrong_on(()), fail_after=1))
    assert run.summary("compare") is None
    assert not run.html.exists()


def test_a_report_that_cannot_be_moved_in_place_is_told(stale):
    path = stale.summary_path("compare")

    class Blocks(Quiet):
        def begin(self, what, total):
            if what.startswith("timing student"):
                path.unlink()
                path.mkdir()

    student = CannedStudent(wrong_on(()))
    with pytest.raises(StorageError) as error:
        asyncio.run(compare(stale, ONCE, teacher_that(wrong_on(())), student, student, Blocks()))
    assert error.value.where == str(path)


@pytest.mark.parametrize("moved", range(3))
def test_a_report_that_died_between_its_moves_is_put_in_place_by_the_next_command(stale, monkeypatch, moved):
    real, done = Path.replace, []

    def replace(new, old):
        if "unfinished" in new.parts and new.parent.parent.name == "unfinished" and new.suffix != ".tmp":
            if not new.name.endswith(("jsonl", "report.json")) or new.parent == Path(old).parent:
                return real(new, old)
            if len(done) == moved:
                raise KeyboardInterrupt
            done.append(new)
        return real(new, old)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            compared(stale)
    assert len(done) == moved
    finish(stale)
    assert verify(stale)["paired"][0]["losses"] == 0
    assert not stale.cascade.exists()
    assert not stale.judged.exists()
    finish(stale)
    assert verify(stale)["paired"][0]["losses"] == 0


def test_what_was_moved_before_is_not_taken_for_what_was_never_made(stale):
    """Died after verdicts and cascade were in place: the report that is still aside tells of them."""
    making = aside(stale)
    report = {**stale.summary("compare"), "judged": {}, "cascade": {}}
    jsonl.replace_json(making.summary_path("compare"), report)
    stale.judged.write_text("verdicts")
    stale.cascade.write_text("threshold")
    finish(stale)
    assert (stale.judged.read_text(), stale.cascade.read_text()) == ("verdicts", "threshold")
    assert stale.summary("compare") == report


def test_a_report_of_an_earlier_scoring_is_too_old_and_made_again_from_its_answers(stale):
    report = stale.summary("compare")
    del report["made_from"]["scoring"]
    jsonl.replace_json(stale.summary_path("compare"), report)
    with pytest.raises(UsageError, match="too old"):
        verify(stale)
    assert "scoring" in stale.changed("compare", made_from(stale, ONCE, "teacher"))


def test_verifying_a_stale_report_says_so(stale, capsys):
    stale.judged.unlink()
    with pytest.raises(SystemExit):
        main(["--runs-dir", str(stale.root.parent), "--run", stale.name, "compare", "--verify"])
    assert "the report is stale: adapter changed since it was made" in " ".join(
        capsys.readouterr().err.split()
    )


def test_status_and_verify_agree_on_what_makes_a_report_stale(run):  # noqa: F811
    compared(run)
    before = run.task.read_text()
    assert not views.outdated(run, run.summary("compare"))
    run.task.write_text(before + "\n# a word more\n")
    assert changed_since(run, run.summary("compare")) == ["task.toml"]
    assert views.outdated(run, run.summary("compare"))
