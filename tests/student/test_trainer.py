"""transformers' Trainer and the hand-written loop are one training: curves, weights, what is left alone."""

import pytest

from distill.errors import DistillError, UsageError
from tests.student.engines import curve, fitted, recipe_of, rows_of, weights_of
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow

ENGINES = ["trainer", "loop"]


@pytest.mark.parametrize(
    "changes",
    [{"schedule": "cosine"}, {"lora_dropout": 0.1, "weight_decay": 0.1}, {"micro_batch": 1, "epochs": 1.5}],
    ids=lambda changes: "-".join(changes),
)
def test_loop_and_trainer_are_one_curve(chat, learner_of, changes):
    runs = []
    for engine in ENGINES:
        _, learner = learner_of(dropout=changes.get("lora_dropout", 0.0))
        rows = rows_of(chat, 26)
        trained, records = fitted(learner, rows[:18], rows[18:], recipe_of(engine=engine, **changes))
        runs.append((trained, records, weights_of(learner)))
    (first, records, weights), (second, others, other_weights) = runs
    assert len(records) == first.steps == second.steps > 5
    for name in ("loss", "lr", "grad_norm", "step", "epoch"):
        assert curve(records, name) == pytest.approx(curve(others, name), abs=1e-5), name
    validated = [pair for pair in zip(records, others, strict=True) if pair[0]["valid_loss"] is not None]
    assert len(validated) >= 3
    assert all(
        left["valid_loss"] == pytest.approx(right["valid_loss"], abs=1e-5) for left, right in validated
    )
    assert (weights - other_weights).abs().max() < 1e-5
    assert first.best_step == second.best_step


def test_loop_and_trainer_are_one_curve_in_bfloat16_near_that_of_float32(chat, learner_of):
    import torch

    rows, runs = rows_of(chat, 26), []
    for engine, dtype in [("trainer", "bfloat16"), ("loop", "bfloat16"), ("loop", "float32")]:
        wrapped, learner = learner_of(dtype=dtype)
        _, records = fitted(learner, rows[:18], rows[18:], recipe_of(engine=engine))
        assert {weight.dtype for weight in learner.parameters} == {torch.float32}
        assert wrapped.get_input_embeddings().weight.dtype == getattr(torch, dtype)
        runs.append((records, weights_of(learner)))
    (first, weights), (second, other_weights), (exact, _) = runs
    for name in ("loss", "grad_norm"):
        assert curve(first, name) == pytest.approx(curve(second, name), abs=1e-5), name
    assert (weights - other_weights).abs().max() < 1e-5
    assert curve(first, "loss") != curve(exact, "loss")
    assert curve(first, "loss") == pytest.approx(curve(exact, "loss"), rel=0.05)


def test_loop_and_trainer_are_one_curve_on_the_real_model(smollm2, float32):
    """SmolLM2-135M in 30 layers, tied embeddings and its own template: three steps, validated after each."""
    from copy import deepcopy

    from distill.student import forward, lora
    from distill.student.chat import open_chat
    from distill.student.encode import encode
    from distill.student.loop import Learner

    chat, runs = open_chat(smollm2[1]), []
    rows = encode(chat, few_pairs(16), 256)
    for engine in ENGINES:
        model = deepcopy(smollm2[0])
        wrapped = lora.attach(model, lora.LoraShape(4, 8), 0)
        learner = Learner(forward.open_net(model), lora.trainable(wrapped), chat.pad, float32, wrapped)
        recipe = recipe_of(rows=16, width=576, engine=engine, batch_size=6, epochs=1, learning_rate=1e-3)
        trained, records = fitted(learner, rows, rows[:2], recipe)
        runs.append((trained, records, weights_of(learner)))
    (first, records, weights), (second, others, other_weights) = runs
    assert first.steps == second.steps == 3
    assert first.last_loss < 0.8 * first.first_loss
    for name in ("loss", "lr", "grad_norm", "valid_loss"):
        assert curve(records, name) == pytest.approx(curve(others, name), abs=1e-5), name
    assert (weights - other_weights).abs().max() < 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_only_what_should_change_changes(chat, learner_of, engine):
    wrapped, learner = learner_of()
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    use_cache = wrapped.config.use_cache
    fitted(learner, rows_of(chat, 8), [], recipe_of(engine=engine))
    changed = {name for name, value in wrapped.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert wrapped.config.use_cache == use_cache


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_not_finite_names_the_row(chat, learner_of, engine):
    from dataclasses import replace

    from distill.student.loss import loss_sum

    _, learner = learner_of()
    rows = rows_of(chat, 8)

    def poisoned(net, batch, pad):
        bad = any(row.id == rows[5].id for row in batch)
        return loss_sum(net, batch, pad) * (float("nan") if bad else 1.0)

    with pytest.raises(DistillError, match="training loss is not finite") as caught:
        fitted(replace(learner, loss=poisoned), rows, [], recipe_of(engine=engine))
    assert caught.value.where == f"rows {rows[5].id}"
    assert "--learning-rate" in caught.value.hint


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_that_is_not_finite_stops_the_run(chat, learner_of, engine):
    _, learner = learner_of()
    learner.parameters[0].register_hook(lambda grad: grad * float("inf"))
    records = []
    with pytest.raises(DistillError, match="gradient is not finite"):
        fitted(learner, rows_of(chat, 8), [], recipe_of(engine=engine), say=records.append)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_stops_early(chat, learner_of, engine):
    """Two validations in a row without a lower loss, the one before them not counted."""
    from dataclasses import replace

    _, learner = learner_of()
    rows, said, script = rows_of(chat, 12), [], iter([5.0, 6.0, 4.0, 4.0, 4.5, 1.0])
    judged = replace(learner, judge=lambda net, piece, pad: (next(script), 0))
    recipe = recipe_of(engine=engine, epochs=20, early_stopping=2)
    trained, records = fitted(judged, rows[:8], rows[8:], recipe, say=said.append)
    assert trained.steps == len(records) == 5
    assert trained.best_step == 3
    assert said == ["stopping early at step 5: 2 validations without a lower loss"]


def test_reports_are_off_unless_asked_for_and_possible(chat, learner_of, monkeypatch):
    _, learner = learner_of()
    rows = rows_of(chat, 4)
    with pytest.raises(UsageError, match="wandb is not installed"):
        fitted(learner, rows, [], recipe_of(report_to="wandb"))
    with pytest.raises(UsageError, match="sends no reports"):
        fitted(learner, rows, [], recipe_of(engine="loop", report_to="wandb"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        fitted(learner, rows, [], recipe_of())


def test_trainer_leaves_nothing_behind_and_prints_nothing(chat, learner_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, learner = learner_of()
    fitted(learner, rows_of(chat, 4), [], recipe_of())
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("knows", [True, False])
def test_only_what_this_release_of_transformers_knows_is_told(chat, learner_of, monkeypatch, knows):
    """trackio's public page is an argument of newer ones alone."""
    from dataclasses import make_dataclass

    from distill.student import trainer

    told = []

    class Deaf(trainer.Engine):
        def __init__(self, session, arguments):
            told.append(arguments.given)

        def train(self, **_):
            pass

    def remember(self, **given):
        self.given, self.n_gpu = given, 0

    names = ["output_dir", *(["trackio_static_space_id"] if knows else [])]
    monkeypatch.setattr(
        trainer,
        "TrainingArguments",
        make_dataclass("Arguments", names, init=False, namespace={"__init__": remember}),
    )
    monkeypatch.setattr(trainer, "Engine", Deaf)
    _, learner = learner_of()
    fitted(learner, rows_of(chat, 4), [], recipe_of())
    assert told[0].get("trackio_static_space_id") is (False if knows else None)
    assert ("trackio_static_space_id" in told[0]) == knows
