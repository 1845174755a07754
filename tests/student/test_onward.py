"""Training that goes on from a trained student: its very weights are the start, or it is refused."""

import shutil

import pytest
from msgspec.structs import replace

from distill.cli import main
from distill.errors import UsageError
from distill.steps.finetune import finetune, made_from
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Label, Pair, Quiet
from tests.student.test_classifier import TASK
from tests.student.test_classifier import config_of as head_config
from tests.student.test_finetune_step import config_of
from tests.student.tiny import byte_tokenizer, tiny_model
from tests.student.tiny_encoder import labelled, save_encoder

pytestmark = pytest.mark.slow


@pytest.fixture
def run(run):
    run.finish("generate", {"accepted": 24}, {})
    return run


@pytest.fixture
def trained(run, student_folder):
    """(run, its config) with a student in it."""
    config = config_of(student_folder, learning_rate=5e-3, lora_rank=4)
    finetune(run, config, Quiet())
    return run, config


def loss_of(run, config):
    """Nats per target token of the run's student on its training rows, opened as anybody opens it."""
    import torch

    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.student.encode import encode
    from distill.student.loss import loss_sum
    from distill.weights import student_weights

    student = open_student(student_weights(config.student), pick("cpu", "float32"), run.adapter)
    pairs = [pair for _, pair in jsonl.read(run.splits["train"], Pair)]
    rows = encode(student.chat, pairs, 256)
    with torch.no_grad():
        return loss_sum(student.net, rows, student.chat.pad).item() / sum(row.target_tokens for row in rows)


@pytest.mark.parametrize("method", ["lora", "dora", "rslora"])
@pytest.mark.parametrize("engine", ["trainer", "loop"])
def test_the_first_loss_is_that_of_the_student_there_was(run, student_folder, method, engine):
    told = []
    config = config_of(student_folder, learning_rate=5e-3, lora_rank=4, method=method, engine=engine)
    fresh = finetune(run, config, Quiet())
    was = loss_of(run, config)
    assert was < 0.9 * fresh["first_loss"]
    on = {"method": method, "engine": engine, "from_adapter": "last", "batch_size": 16, "max_steps": 1}
    progress = Quiet()
    progress.say = told.append
    summary = finetune(run, config_of(student_folder, **on), progress)
    assert summary["first_loss"] == pytest.approx(was, abs=1e-5)
    assert summary["from_adapter"]["given"] == "last"
    assert any(f"{method}, rank 4, alpha" in text for text in told)
    assert not any("--lora-rank" in text for text in told)


def test_a_folder_does_too_and_dropout_does_not_hide_it(trained, tmp_path, student_folder):
    run, config = trained
    was = loss_of(run, config)
    shutil.copytree(run.adapter, tmp_path / "kept")
    shutil.rmtree(run.adapter)
    onward = config_of(student_folder, from_adapter=str(tmp_path / "kept"), batch_size=16, max_steps=1)
    assert finetune(run, onward, Quiet())["first_loss"] == pytest.approx(was, abs=1e-5)
    blurred = config_of(student_folder, **{**vars(onward), "lora_dropout": 0.05})
    assert finetune(run, blurred, Quiet())["first_loss"] == pytest.approx(was, rel=0.2)


def test_what_it_went_on_from_makes_a_step_stale_unless_it_replaced_it(trained, tmp_path, student_folder):
    run, _ = trained
    last = config_of(student_folder, from_adapter="last", max_steps=2)
    finetune(run, last, Quiet())
    assert run.changed("finetune", made_from(run, last)) == []
    kept = tmp_path / "kept"
    shutil.copytree(run.adapter, kept)
    named = config_of(student_folder, from_adapter=str(kept), max_steps=2)
    finetune(run, named, Quiet())
    assert run.changed("finetune", made_from(run, named)) == []
    shutil.copy(run.adapter / "adapter_model.safetensors", kept)
    assert run.changed("finetune", made_from(run, named)) == ["from_adapter_weights"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lora_rank": 8}, "trained with --lora-rank 4, not 8"),
        ({"lora_alpha": 3}, "trained with --lora-alpha 8, not 3"),
        ({"method": "dora"}, "trained with --method lora, not dora"),
        ({"method": "full"}, "trained with --method lora, not full"),
        ({"lora_targets": "q_proj,v_proj"}, "not on the layers of --lora-targets q_proj,v_proj"),
        ({"student": "other"}, "whose weights are not those of"),
        ({"student_kind": "classifier"}, "a language model's"),
        ({"student_kind": "auto"}, "nothing to choose"),
        ({"learning_curve": True}, "says nothing"),
        ({"from_adapter": "nowhere"}, "no adapter here"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_student_stays(trained, tmp_path, student_folder, changes, says):
    run, config = trained
    if changes.get("student") == "other":
        tiny_model(initializer_range=0.1).save_pretrained(tmp_path / "other")
        byte_tokenizer().save_pretrained(tmp_path / "other")
        changes = {"student": str(tmp_path / "other")}
    if changes.get("student_kind") == "classifier":
        changes = {**changes, "student": str(save_encoder(tmp_path / "encoder"))}
        write_task(run.task, TASK)
    with pytest.raises(UsageError, match=says):
        finetune(run, config_of(**{"folder": student_folder, "from_adapter": "last", **changes}), Quiet())
    assert run.summary("finetune") is not None
    assert run.changed("finetune", made_from(run, config)) == []
    assert loss_of(run, config) > 0


def test_a_model_of_which_all_was_trained_is_no_adapter(run, student_folder):
    finetune(run, config_of(student_folder, method="full", max_steps=1), Quiet())
    with pytest.raises(UsageError, match="a model, not an adapter") as caught:
        finetune(run, config_of(student_folder, method="full", from_adapter="last"), Quiet())
    assert "--student" in caught.value.hint


def test_the_command_records_it(trained, student_folder, capsys):
    run, _ = trained
    flags = ["--student", str(student_folder), "--from-adapter", "last", "--max-steps", "1"]
    with pytest.raises(SystemExit) as left:
        main(["--runs-dir", str(run.root.parent), "--run", "r", "finetune", *flags, "--dtype=float32"])
    assert left.value.code in (0, 3)
    assert "going on from the adapter in" in capsys.readouterr().err
    assert run.settings()["finetune"]["from_adapter"] == "last"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_classifier_goes_on_with_its_head(tmp_path, method):
    run = Run.open(tmp_path / "runs", "r", create=True)
    write_task(run.task, TASK)
    jsonl.replace(run.splits["train"], labelled(51)[:39])
    jsonl.replace(run.splits["valid"], labelled(51)[39:])
    still = {"head_dropout": 0.0, "method": method}
    config = head_config(save_encoder(tmp_path / "encoder"), **still)
    first = finetune(run, config, Quiet())
    whole = {"from_adapter": "last", "batch_size": 39, "max_steps": 1, "learning_rate": 1e-7}
    summary = finetune(run, head_config(config.student, **still, **whole), Quiet())
    assert summary["first_loss"] < 0.5 * first["first_loss"]
    assert summary["best_valid_loss"] == pytest.approx(first["best_valid_loss"], abs=1e-4)
    with pytest.raises(UsageError, match="a classifier"):
        finetune(run, head_config(config.student, from_adapter="last", student_kind="causal"), Quiet())
    other = save_encoder(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="another encoder"):
        finetune(run, head_config(other, method=method, from_adapter="last"), Quiet())
    with pytest.raises(UsageError, match="another pooling"):
        finetune(run, head_config(config.student, method=method, from_adapter="last", pooling="cls"), Quiet())
    write_task(run.task, replace(TASK, labels=(*TASK.labels, Label("awful"))))
    with pytest.raises(UsageError, match="another labels"):
        finetune(run, head_config(config.student, method=method, from_adapter="last"), Quiet())
    assert run.summary("finetune") is not None
