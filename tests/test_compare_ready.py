"""What compare refuses before a student is loaded: nothing is bought, and the old report stays."""

import json

import pytest

from distill.config import FinetuneConfig
from distill.steps.finetune import made_from
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Task
from tests.teacher.fault_server import FaultServer, chat
from tests.test_cli import distill
from tests.test_compare_step import compared, gold_file, run  # noqa: F401

pytestmark = pytest.mark.slow  # together they take seconds
TEXT = Task(name="fix", kind="text", instruction="Mend the grammar.")


class Loaded(Exception):
    """The student was asked for."""


@pytest.fixture
def place(run, monkeypatch, tmp_path):  # noqa: F811
    """A run that is trained and has a report, where loading the student is told."""

    def load(_place):
        raise Loaded

    compared(run, student=[1])
    run.finish("finetune", {}, made_from(run, FinetuneConfig(student="local")))
    monkeypatch.setattr("distill.workflow.open_students", load)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return run


def refused(run, *flags):  # noqa: F811
    """The exit code of compare with a teacher that must not be asked."""
    before = {path: path.read_bytes() for path in (run.summary_path("compare"), run.html, run.answers)}
    settings = run.settings().get("compare")
    with FaultServer(lambda *_: chat("positive")) as server:
        remote = [] if "--base-url" in flags else ["--base-url", server.url]
        flags = [*([] if "--teacher" in flags else ["--teacher", "big"]), *remote, *flags]
        code = distill("--runs-dir", run.root.parent, "--run", run.name, "compare", *flags)
        assert not server.asked
    assert {path: path.read_bytes() for path in before} == before
    assert run.settings().get("compare") == settings
    return code


def test_what_cannot_be_refused_goes_on_to_load_the_student(place, tmp_path, capsys):
    good = gold_file(tmp_path, range(7000, 7010))
    assert refused_or_loaded(place, "--gold", good, "--also", "local") == "loaded"
    write_task(place.task, TEXT)
    assert (
        refused_or_loaded(place, "--judge", "other", "--judge-base-url", "http://127.0.0.1:9/v1") == "loaded"
    )


def refused_or_loaded(run, *flags):  # noqa: F811
    arguments = ["--debug", "--runs-dir", run.root.parent, "--run", run.name, "compare", "--teacher", "big"]
    try:
        return distill(*arguments, "--base-url", "http://127.0.0.1:9/v1", *flags)
    except Loaded:
        return "loaded"


@pytest.mark.parametrize(
    ("gold", "says"),
    [
        ('{"input": "x y z", "output": "so-so"}\n', "so-so"),
        ('{"input": "x y z", "output": "positive"}\n{"inp', "gold.jsonl:2"),
        ("", "empty"),
        (
            json.dumps({"input": "row 5000 of the made up film reviews", "output": "negative"}),
            "every gold row",
        ),
    ],
    ids=["label", "half JSON", "empty", "trained on"],
)
def test_bad_gold(place, tmp_path, capsys, gold, says):
    (tmp_path / "gold.jsonl").write_text(gold)
    assert refused(place, "--gold", "gold.jsonl") == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_bad_teacher(place, capsys, monkeypatch):
    assert refused(place, "--base-url", "ftp://nowhere") == 2
    assert refused(place, "--teacher", "local", "--local-model", "absent.gguf") == 2
    assert refused(place, "--budget", 1) == 2
    assert "no price is known for big" in capsys.readouterr().err
    monkeypatch.delenv("OPENAI_API_KEY")
    assert refused(place, "--base-url", "https://api.openai.com/v1") == 4
    assert "no API key" in capsys.readouterr().err


def test_a_bad_judge(place, capsys, monkeypatch):
    assert refused(place, "--judge", "other") == 2
    assert "a judge is for open answers" in capsys.readouterr().err
    write_task(place.task, TEXT)
    assert refused(place, "--judge", "other", "--judge-base-url", "ftp://nowhere") == 2
    monkeypatch.delenv("OPENAI_API_KEY")
    capsys.readouterr()
    assert refused(place, "--judge", "other", "--judge-base-url", "https://api.openai.com/v1") == 4
    assert "no API key" in capsys.readouterr().err


def test_a_bad_other(place, tmp_path, capsys):
    assert refused(place, "--also", "./nowhere") == 2
    other = Run.open(place.root.parent, "other", create=True)
    assert refused(place, "--also", "other") == 2
    assert "finetune is not done" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": ')
    assert refused(place, "--also", "./broken") == 2
    assert "--also ./broken: the model cannot be read" in " ".join(capsys.readouterr().err.split())
    assert not other.summary("finetune")


def test_answers_and_rules_that_do_not_fit(place, tmp_path, capsys):
    rules = tmp_path / "rules.py"
    rules.write_text("def keep(answer):\n    retrun answer\n")
    place.record("generate", {"check": str(rules), "check_timeout_s": 10.0})
    assert refused(place, "--max-drop", 4) == 2
    assert "rules.py" in capsys.readouterr().err
    rules.unlink()
    write_task(place.task, TEXT)
    assert refused(place, "--answers", "labels") == 2
    assert "not labels" in capsys.readouterr().err
    jsonl.replace(place.splits["test"], [])
    assert refused(place) == 2
    assert "no rows to compare on" in capsys.readouterr().err
