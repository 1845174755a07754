"""The run folder: names that may become paths, the current run, done and stale, the lock."""

import pytest

from distill.errors import RunLocked, UsageError
from distill.store.run import STEPS, Run, check_name, digest


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a..b", "-x", "x" * 65, "a b", "a\x00", "é"])
def test_unfit_names_never_become_paths(name, tmp_path):
    with pytest.raises(UsageError, match="cannot be a run name"):
        check_name(name)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "current").write_text(name)
    with pytest.raises(UsageError):
        Run.open(tmp_path / "runs", None)


def test_last_used_run_is_the_current_one(tmp_path):
    Run.open(tmp_path, "one", create=True)
    Run.open(tmp_path, "two", create=True)
    assert Run.open(tmp_path, None).name == "two"
    Run.open(tmp_path, "one")
    assert Run.open(tmp_path, None).name == "one"
    with pytest.raises(UsageError, match="no run 'three'") as caught:
        Run.open(tmp_path, "three")
    assert "one, two" in caught.value.hint


def test_step_is_done_only_between_finish_and_begin(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    assert run.summary("generate") is None
    with pytest.raises(UsageError, match="not done"):
        run.changed("generate", {})
    run.begin("generate")
    run.finish("generate", {"accepted": 3}, {"n": 3, "file": None})
    assert run.summary("generate")["accepted"] == 3
    assert run.changed("generate", {"n": 3, "file": None}) == []
    assert run.changed("generate", {"n": 4, "other": 1}) == ["n", "other"]
    # A knob of a newer distill, left alone, makes nothing stale.
    newer = {"n": 3, "file": None, "weight": 0.5, "folder": "a"}
    assert run.changed("generate", newer, {"weight": 0.5, "folder": None, "n": 9}) == ["folder"]
    run.begin("generate")
    assert run.summary("generate") is None


def test_sections_of_run_json_are_kept_apart(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    run.record("a", {"x": 1})
    run.record("b", 2)
    run.record("a", {"x": 3})
    assert run.settings() == {"schema": 1, "a": {"x": 3}, "b": 2}
    run.config.write_text("{")
    with pytest.raises(UsageError, match="damaged") as caught:
        run.settings()
    assert str(run.config) in caught.value.where


def test_two_at_once_are_kept_off_one_run(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    with run.locked(), pytest.raises(RunLocked), Run.open(tmp_path, "r").locked():
        pass
    with run.locked():
        pass


def test_every_steps_ledger_is_seen(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    for step in STEPS:
        run.folder(step)
        run.ledger(step).touch()
    assert len(run.ledgers()) == len(STEPS)


def test_digest_is_of_the_bytes(tmp_path):
    assert digest(None) is None
    assert digest(tmp_path / "absent") is None
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert len(digest(tmp_path / "a")) == 16
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b").write_text("2")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")
