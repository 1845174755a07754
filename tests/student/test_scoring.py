"""Weights are kept by the task's own metric, and measuring it in between changes nothing that is learned."""

from dataclasses import replace

import msgspec
import pytest

from distill.config import FinetuneConfig
from distill.store import jsonl
from distill.store.taskfile import write_task
from distill.types import AnswerField, Label, Pair, Quiet, Task
from tests.student.engines import QUICK, curve, fitted, recipe_of, rows_of, weights_of
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow

TEXT = Task("letters", "text", "Say if it is good or bad.")
LABEL = Task("letters", "label", "Say if it is good or bad.", labels=(Label("good"), Label("bad")))


class Scripted:
    """A metric that says what it is told to."""

    def __init__(self, values, rows=100):
        self.values, self.rows, self.seen = list(values), rows, []

    def measure(self, learner):
        self.seen.append(weights_of(learner))
        return self.values[len(self.seen) - 1]


class Told(Quiet):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def trained(run, folder, progress=None, **flags):
    from distill.steps.finetune import finetune

    config = FinetuneConfig(student=str(folder), **{**QUICK, **flags})
    summary = finetune(run, config, progress or Quiet())
    return summary, [record for _, record in jsonl.read(run.metrics, dict)]


def test_the_metric_decides_beyond_chance_and_the_loss_within():
    from distill.student.loop import Measured
    from distill.student.session import is_better

    def measured(loss, exact, score):
        return Measured(loss, exact, score, 100)

    assert is_better(measured(0.9, 0.0, 0.80), measured(0.5, 0.9, 0.60), 10_000)
    assert not is_better(measured(0.5, 0.9, 0.60), measured(0.9, 0.0, 0.80), 10_000)
    assert is_better(measured(0.5, 0.0, 0.79), measured(0.9, 0.9, 0.80), 10_000)
    assert is_better(Measured(0.9, 0.8), measured(0.5, 0.1, 0.9), 100)  # not measured now: exact answers


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_the_weights_with_the_best_score_are_in_at_the_end(chat, learner_of, engine):
    _, learner = learner_of()
    rows, metric = rows_of(chat, 12), Scripted([0.1, 0.2, 0.9, 0.5, 0.3, 0.2])
    falls = recipe_of(epochs=3, engine=engine)
    summary, records = fitted(replace(learner, metric=metric), rows[:8], rows[8:], falls)
    assert curve(records, "valid_score") == [0.1, 0.2, 0.9, 0.5, 0.3, 0.2]
    assert (summary.best_step, summary.best_valid_score) == (3, 0.9)
    assert records[-1]["valid_loss"] < records[2]["valid_loss"]  # by loss the last would have been kept
    assert weights_of(learner).equal(metric.seen[2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_answering_in_between_changes_nothing_that_is_learned(run, student_folder, engine, dtype):
    flags = {"engine": engine, "dtype": dtype, "lora_dropout": 0.1 if engine == "loop" else 0.0, "epochs": 3}
    _, without = trained(run, student_folder, **flags)
    write_task(run.task, TEXT)
    summary, scored = trained(run, student_folder, **flags)
    for name in ("loss", "grad_norm", "valid_loss", "valid_exact"):
        assert curve(scored, name) == curve(without, name)
    assert [each["valid_score"] is None for each in scored] == [each["valid_loss"] is None for each in scored]
    assert summary["kept_by"] == "token_f1"


def test_what_was_measured_is_what_the_saved_student_scores(run, student_folder):
    from distill.score.metrics import scores
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights
    from distill.student.stopping import audited

    write_task(run.task, msgspec.structs.replace(TEXT, verify="exact"))
    told = Told()
    summary, records = trained(run, student_folder, told, epochs=12, learning_rate=1e-2)
    assert any(
        "weights are kept by exact of greedy answers to 8 validation rows" in line for line in told.lines
    )
    valid = [pair for _, pair in jsonl.read(run.splits["valid"], Pair)]
    student = open_student(
        trained_weights(str(student_folder), "causal", run.adapter), pick("cpu", "float32"), run.adapter
    )
    asked, room = audited(student, valid)
    said = [""] * len(asked)
    for at, answer in student.answer([each.messages for each in asked], max_new_tokens=room, batch_size=8):
        said[at] = answer.text
    values = scores(TEXT, asked, said)
    assert summary["best_valid_score"] == pytest.approx(sum(values) / len(values))
    assert summary["best_valid_score"] == records[summary["best_step"] - 1]["valid_score"] > 0.5
    assert f"exact {summary['best_valid_score']:.3f}" in (run.adapter / "README.md").read_text()


@pytest.mark.parametrize(
    ("task", "kept_by"),
    [
        (LABEL, "exact"),
        (msgspec.structs.replace(LABEL, rationale=True), "accuracy"),
        (msgspec.structs.replace(TEXT, verify="number"), "same_number"),
        (Task("letters", "json", "Give the mood.", fields=(AnswerField("mood"),)), "exact"),
        (None, "exact"),
    ],
)
def test_each_kind_of_task_is_kept_by_its_metric(run, chat, task, kept_by):
    from distill.student.scoring import metric_of

    if task:
        write_task(run.task, task)
    metric = metric_of(run, chat, "tiny", few_pairs(4), Told().say)
    assert (metric.name if metric else "exact") == kept_by
    assert (metric is None) == (task is None or task == LABEL)
    assert metric_of(run, chat, "tiny", [], Told().say) is None


def test_reasons_are_no_part_of_what_is_scored():
    from distill.student.data import with_reason
    from distill.student.scoring import gold

    pair = msgspec.structs.replace(few_pairs(1)[0], rationale="It has an a.")
    said = with_reason(pair)
    assert said.answer != pair.answer
    assert gold(msgspec.structs.replace(LABEL, rationale=True), said).answer == pair.answer


def test_rows_without_room_and_memory_that_runs_out_leave_the_loss_to_decide(
    run, student_folder, monkeypatch
):
    from distill.errors import DeviceError
    from distill.student import scoring

    write_task(run.task, TEXT)
    monkeypatch.setattr(scoring.stopping, "ROOM", 1000)
    told = Told()
    summary, records = trained(run, student_folder, told)
    assert summary["best_valid_score"] is None
    assert curve(records, "valid_score") == [None] * len(records)
    assert (
        sum("leaves room for an answer: weights are kept by their loss" in line for line in told.lines) == 1
    )

    def too_large(*_):
        raise DeviceError("out of memory: 9 GB")

    monkeypatch.undo()
    monkeypatch.setattr(scoring, "answers", too_large)
    told = Told()
    summary, _ = trained(run, student_folder, told, epochs=4)
    assert summary["best_valid_score"] is None
    assert sum("out of memory: 9 GB" in line for line in told.lines) == 1
