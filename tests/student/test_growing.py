"""`--learning-curve` on a real tiny student: trained once a share, resumed, told, drawn."""

import gc
import importlib
import json

import pytest

from distill.config import FinetuneConfig
from distill.errors import DataError, Interrupted, UsageError
from distill.steps import growing
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Label, Quiet, Task
from tests.student.tiny import few_pairs, pair
from tests.test_cli import distill

pytestmark = pytest.mark.slow
TASK = Task("letters", "label", "Say if it is good or bad.", labels=(Label("good"), Label("bad")))
FLAGS = {"batch_size": 8, "max_steps": 30, "learning_rate": 1e-2, "evaluations": 1, "engine": "loop"}


@pytest.fixture
def run(tmp_path):
    made = Run.open(tmp_path / "runs", "r", create=True)
    pairs = list({pair.id: pair for pair in few_pairs(200)}.values())
    write_task(made.task, TASK)
    jsonl.replace(made.splits["train"], pairs[:24])
    jsonl.replace(made.splits["valid"], pairs[24:46])
    made.finish("generate", {}, {})
    return made


def config_of(folder, **changes):
    flags = {"student": str(folder), "device": "cpu", "dtype": "float32", "learning_curve": True}
    return FinetuneConfig(**{**flags, **FLAGS, **changes})


class Counted:
    """The finetune step, and what it was called with."""

    def __init__(self, *, breaks_at=None):
        self.sizes, self.breaks_at = [], breaks_at

    def __call__(self, run, config, progress):
        self.sizes.append(len(growing.read(run, "train")))
        if len(self.sizes) == self.breaks_at:
            raise Interrupted("interrupted")
        return finetune(run, config, progress)


def test_each_share_is_trained_once_and_told(run, student_folder):
    config, fit = config_of(student_folder), Counted()
    trained = finetune(run, config, Quiet())
    before = (run.adapter / "adapter_model.safetensors").read_bytes()
    summary = growing.learning_curve(run, config, Quiet(), fit)
    assert fit.sizes == [6, 12]  # of 24: an eighth is too small, the whole is the run itself
    curve = summary["learning_curve"]
    assert [point["n"] for point in curve["points"]] == [6, 12, 24]
    assert {point["metric"] for point in curve["points"]} == {"accuracy"}
    assert all(point["low"] <= point["value"] <= point["high"] for point in curve["points"])
    assert curve["points"][-1]["loss"] == trained["best_valid_loss"]
    assert set(curve["doubling"]) == {"points", "low", "high"}
    assert str(curve["rows"]) in curve["sentence"] or "doubling" in curve["sentence"]
    assert run.summary("finetune")["learning_curve"] == curve
    assert run.summary("finetune")["best_valid_loss"] == trained["best_valid_loss"]
    assert (run.adapter / "adapter_model.safetensors").read_bytes() == before
    assert run.curve_plot.read_bytes().startswith(b"\x89PNG")
    assert not run.curve.exists()


def test_after_an_interrupt_only_what_is_missing_is_trained_and_scored(run, student_folder, monkeypatch):
    config = config_of(student_folder)
    finetune(run, config, Quiet())
    with pytest.raises(Interrupted):
        growing.learning_curve(run, config, Quiet(), Counted(breaks_at=2))
    assert "learning_curve" not in run.summary("finetune")
    again, scored, real = Counted(), [], growing.values_of

    def counted(place, *rest):
        scored.append(len(growing.read(place, "train")))
        return real(place, *rest)

    monkeypatch.setattr(growing, "values_of", counted)
    curve = growing.learning_curve(run, config, Quiet(), again)["learning_curve"]
    assert again.sizes == [12]
    assert scored == [12, 24]
    assert [point["n"] for point in curve["points"]] == [6, 12, 24]


def test_a_share_trained_but_not_scored_is_not_trained_again(run, student_folder, monkeypatch):
    config = config_of(student_folder)
    finetune(run, config, Quiet())
    real = growing.values_of

    def stopped(place, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(growing, "values_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        growing.learning_curve(run, config, Quiet(), Counted())
    monkeypatch.setattr(growing, "values_of", real)
    again = Counted()
    growing.learning_curve(run, config, Quiet(), again)
    assert again.sizes == [12]


def test_other_pairs_are_other_points(run, student_folder):
    config = config_of(student_folder)
    finetune(run, config, Quiet())
    with pytest.raises(Interrupted):
        growing.learning_curve(run, config, Quiet(), Counted(breaks_at=2))
    jsonl.replace(run.splits["valid"], growing.read(run, "valid")[:21])
    finetune(run, config, Quiet())
    again = Counted()
    growing.learning_curve(run, config, Quiet(), again)
    assert again.sizes == [6, 12]


def test_the_command_adds_the_curve_to_a_finished_run_without_training_it_again(run, student_folder, capsys):
    words = [f"--{name.replace('_', '-')}" for name in FLAGS]
    flags = [word for pair in zip(words, FLAGS.values(), strict=True) for word in pair]
    typed = ["--runs-dir", run.root.parent, "finetune", "--student", student_folder, *flags]
    typed += ["--device", "cpu", "--dtype", "float32"]
    distill(*typed)
    trained_at = run.metrics.stat().st_mtime_ns
    capsys.readouterr()
    distill(*typed, "--learning-curve")
    shown = capsys.readouterr()
    assert "finetune is done and nothing changed" in shown.err
    assert "Learning curve: " in shown.out
    assert "learning-curve.png" in " ".join(shown.out.split())
    assert run.metrics.stat().st_mtime_ns == trained_at
    assert len(run.summary("finetune")["learning_curve"]["points"]) == 3
    distill("--json", *typed)
    kept = json.loads(capsys.readouterr().out)["learning_curve"]
    assert kept == run.summary("finetune")["learning_curve"]


def test_without_rows_to_score_nothing_is_trained(run, student_folder, capsys):
    run.splits["valid"].unlink()
    with pytest.raises(UsageError, match="no validation pairs"):
        growing.check(run, config_of(student_folder))
    with pytest.raises(UsageError, match="raw texts"):
        growing.check(run, config_of(student_folder, stage="pt"))
    assert distill("--runs-dir", run.root.parent, "finetune", "--learning-curve") == 2
    assert "--learning-curve" in capsys.readouterr().err
    assert not run.adapter.exists()


def test_few_rows_say_that_they_are_few(run, student_folder):
    jsonl.replace(run.splits["valid"], growing.read(run, "valid")[:8])
    config = config_of(student_folder, max_steps=2)
    finetune(run, config, Quiet())
    fit = Counted()
    curve = growing.learning_curve(run, config, Quiet(), fit)["learning_curve"]
    assert fit.sizes == []  # no share is trained for an answer that is known beforehand
    assert [point["n"] for point in curve["points"]] == [24]
    assert curve["doubling"] is None
    assert curve["sentence"].startswith("cannot tell with 8 valid rows")


def test_the_curve_is_of_the_kind_that_auto_picked(monkeypatch):
    choosing = importlib.import_module("distill.student.choosing")
    monkeypatch.setattr(choosing, "name_for", lambda config, kind: f"a {kind}")
    summary = {"choice": {"picked": "classifier"}}
    config = growing.same_kind(FinetuneConfig(student="auto", report_to="wandb"), summary)
    assert (config.student, config.student_kind, config.report_to) == ("a classifier", "classifier", "none")


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_one_model_is_held_at_a_time(run, student_folder, monkeypatch, engine):
    """Each is let go before the next is loaded, though Python would not have collected it yet."""
    from distill.student import causal

    alive, real = [], causal.load

    def counted(*given, **named):
        alive.append(sum(type(each).__name__ == "LlamaForCausalLM" for each in gc.get_objects()))
        return real(*given, **named)

    monkeypatch.setattr(causal, "load", counted)
    config = config_of(student_folder, max_steps=2, engine=engine)
    gc.collect()
    gc.disable()
    try:
        finetune(run, config, Quiet())
        growing.learning_curve(run, config, Quiet(), finetune)
    finally:
        gc.enable()
    assert alive == [alive[0]] * 6  # the whole, two shares, and each of the three to be scored


def test_rows_that_leave_no_room_are_left_out_by_all(run, student_folder):
    """A validation row that --on-long drops is not answered, and one whose answer would not fit is not."""
    valid = [*growing.read(run, "valid")[:20], pair("x" * 400, "good"), pair("y" * 190, "good")]
    jsonl.replace(run.splits["valid"], valid)
    config, told = config_of(student_folder, max_steps=2, on_long="drop"), Quiet()
    said = []
    told.say = said.append
    finetune(run, config, Quiet())
    assert run.summary("finetune")["rows"]["valid"] == 21
    curve = growing.learning_curve(run, config, told, finetune)["learning_curve"]
    assert curve["rows"] == 20
    assert [point["n"] for point in curve["points"]] == [6, 12, 24]
    assert said.count("2 validation pairs are too long to be answered: left out") == 3


def test_where_no_row_has_room_it_is_said(run, student_folder):
    jsonl.replace(run.splits["valid"], [pair("y" * 190, "good")])
    config = config_of(student_folder, max_steps=1)
    finetune(run, config, Quiet())
    with pytest.raises(DataError, match="every validation pair is too long"):
        growing.learning_curve(run, config, Quiet(), finetune)
    assert "learning_curve" not in run.summary("finetune")


def test_all_are_given_the_same_room_and_a_scored_share_leaves_no_weights(run, student_folder, monkeypatch):
    rooms, left, real = [], [], growing.values_of

    def noted(place, config, task, valid, room, progress):
        rooms.append(room)
        left.append([*run.curve.rglob("*.safetensors")])
        return real(place, config, task, valid, room, progress)

    monkeypatch.setattr(growing, "values_of", noted)
    train = growing.read(run, "train")
    longest = [pair("z" * 9, "good or " * 3 + "bad"), *train[1:]]  # the shares may not hold it
    write_task(run.task, Task("letters", "text", "Say if it is good or bad."))
    jsonl.replace(run.splits["train"], longest)
    config = config_of(student_folder, max_steps=2)
    summary = finetune(run, config, Quiet())
    growing.learning_curve(run, config, Quiet(), finetune)
    assert rooms == [summary["answer_tokens_max"] + growing.ROOM_TOKENS] * 3
    assert [len(each) for each in left] == [1, 1, 0]  # its own, then none: the whole lies in the run


def test_max_steps_validate_a_share_no_more_often_than_the_whole():
    config = FinetuneConfig(max_steps=300, evaluations=8)
    assert [growing.of_share(config, share).evaluations for share in (1 / 8, 1 / 4, 1 / 2, 1)] == [1, 2, 4, 8]
    assert (
        growing.of_share(FinetuneConfig(evaluations=8), 1 / 8).evaluations == 8
    )  # epochs do so by themselves
