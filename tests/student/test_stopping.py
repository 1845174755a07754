"""The stop audit: on real tiny students that end their answers, and on those that do not."""

import json

import pytest

from distill.config import FinetuneConfig
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.student import stopping
from distill.types import Quiet
from tests.student.tiny import few_pairs, pair
from tests.test_cli import distill

pytestmark = pytest.mark.slow
QUICK = {"batch_size": 4, "dtype": "float32", "device": "cpu", "engine": "loop"}
TAUGHT = {"epochs": 12, "learning_rate": 1e-2, "evaluations": 1}


def trained(run, folder, **flags):
    return finetune(run, FinetuneConfig(student=str(folder), **{**QUICK, **flags}), Quiet())


def typed(run, folder, *flags):
    run.finish("generate", {}, {})
    words = ["--student", folder, "--batch-size", 4, "--dtype", "float32", "--device", "cpu", *flags]
    return distill("--runs-dir", run.root.parent, "finetune", *words)


def test_a_student_that_learned_to_stop_passes_and_says_so(run, student_folder, capsys):
    taught = [word for name, value in TAUGHT.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert typed(run, student_folder, *taught) == 0
    stops = run.summary("finetune")["stops"]
    assert (stops["n"], stops["split"]) == (8, "valid")
    assert stops["share"] == 1.0
    assert stops["low"] < 1.0 == stops["high"]
    assert 0.8 < stops["length_ratio"] < 1.3
    shown = " ".join(capsys.readouterr().out.split())
    assert "100.0% of the answers to 8 valid rows end by themselves" in shown
    assert "Next: distill compare" in shown
    assert "Stop audit: 100.0% of the answers" in (run.adapter / "README.md").read_text()


def test_one_that_runs_on_fails_with_everything_written(run, student_folder, capsys):
    for _ in range(2):  # done is done, and the verdict stays
        assert typed(run, student_folder, "--max-steps", 1) == 3
        stops = run.summary("finetune")["stops"]
        assert stops["share"] < 0.95
        assert stops["length_ratio"] > 1
        shown = " ".join(capsys.readouterr().out.split())
        assert "Too few answers end by themselves: 95% must" in shown
        assert "--epochs" in shown
        assert "Next: distill compare" not in shown
    assert (run.adapter / "adapter_model.safetensors").exists()
    assert "Stop audit:" in (run.adapter / "README.md").read_text()
    assert json.loads(run.metrics.read_text())["step"] == 1


def test_without_validation_rows_training_rows_are_asked(run, student_folder):
    run.splits["valid"].unlink()
    stops = trained(run, student_folder, max_steps=1)["stops"]
    assert (stops["n"], stops["split"]) == (16, "train")


def test_the_share_is_that_of_answers_that_the_student_itself_ends(run, student_folder):
    """Counted again by hand, on the student as it is opened from disk."""
    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.weights import student_weights

    stops = trained(run, student_folder, max_steps=24, learning_rate=5e-3)["stops"]
    student = open_student(student_weights(str(student_folder)), pick("cpu", "float32"), run.adapter)
    asked = [each.messages for each in few_pairs(24)[16:]]
    answers = dict(student.answer(asked, max_new_tokens=stops["room_tokens"], batch_size=3))
    ended = sum(answer.finish_reason == "stop" for answer in answers.values())
    assert stops["share"] == ended / 8
    assert stops["room_tokens"] == 2 * len("good<") + 16
    taught = sum(len(each.answer) + 1 for each in few_pairs(24)[16:])
    assert stops["length_ratio"] == pytest.approx(sum(a.tokens for a in answers.values()) / taught)


def test_dropout_is_off_while_answers_are_counted(run, student_folder):
    flags = {"max_steps": 24, "learning_rate": 5e-3, "lora_dropout": 0.5}
    first, second = (trained(run, student_folder, **flags)["stops"] for _ in range(2))
    assert first == second
    from distill.student.causal import open_student
    from distill.student.device import pick
    from distill.weights import student_weights

    student = open_student(student_weights(str(student_folder)), pick("cpu", "float32"), run.adapter)
    rows = few_pairs(24)
    assert stopping.audit(student, rows[:16], rows[16:]).length_ratio == pytest.approx(first["length_ratio"])


def test_rows_without_room_are_no_evidence(run, student_folder):
    long = [pair("x" * 150 + str(place), "good" * 12) for place in range(4)]
    long += [pair("y" * 150 + str(place), "bad" * 12) for place in range(4)]
    jsonl.replace(run.splits["train"], long)
    run.splits["valid"].unlink()
    summary = trained(run, student_folder, max_steps=1)
    assert summary["stops"]["share"] is None
    assert "room" in summary["stops"]["skipped"]
    assert not stopping.failed(summary)
    assert "not applicable" in (run.adapter / "README.md").read_text()


def test_raw_texts_have_no_answers_to_end(run, student_folder, tmp_path):
    (tmp_path / "text.txt").write_text("some words about nothing.\n\n" * 40)
    summary = trained(run, student_folder, stage="pt", texts=str(tmp_path / "text.txt"), max_steps=1)
    assert "no answers" in summary["stops"]["skipped"]
    assert not stopping.failed(summary)


def test_rows_are_spread_over_their_order():
    assert [*stopping.spread(range(10), 3)] == [0, 3, 6]
    assert [*stopping.spread(range(2), 3)] == [0, 1]
    assert len(stopping.spread(range(65), 64)) == 64


def test_the_audit_answers_by_attention_that_has_a_shared_start(chat, learner_of, monkeypatch):
    """After packing on CUDA the model would stay on what reads packed lines."""
    from distill.student import forward, varlen

    _, learner = learner_of()
    varlen.register()
    learner.net.model.set_attn_implementation(varlen.NAME)
    opened, seen = forward.open_net, []

    def heard(model):
        seen.append(model.config._attn_implementation)
        return opened(model)

    monkeypatch.setattr(forward, "open_net", heard)
    stopping.after_training(learner, chat, "tiny", (few_pairs(4), []))
    assert seen == ["eager"]
