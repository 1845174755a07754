"""What was trained is kept: through a kill after the last step, and through flags that change nothing."""

import json
from contextlib import contextmanager

import pytest

from distill.config import FinetuneConfig
from distill.errors import Interrupted
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Quiet
from tests.student.test_classifier import TASK
from tests.student.tiny import few_pairs
from tests.student.tiny_encoder import labelled, save_encoder

pytestmark = pytest.mark.slow


class Told(Quiet):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def made(tmp_path, student_folder):
    """A function: (a run with pairs, flags) for a kind of student."""

    def make(name, kind="causal", **changes):
        run = Run.open(tmp_path / "runs", name, create=True)
        pairs, folder = few_pairs(24), student_folder
        if kind == "classifier":
            write_task(run.task, TASK)
            pairs, folder = labelled(24), save_encoder(tmp_path / "encoder")
        jsonl.replace(run.splits["train"], pairs[:16])
        jsonl.replace(run.splits["valid"], pairs[16:])
        flags = {"student": str(folder), "student_kind": kind, "batch_size": 4, "epochs": 2}
        flags |= {"learning_rate": 5e-3, "device": "cpu", "dtype": "float32", "evaluations": 2}
        return run, FinetuneConfig(**{**flags, **changes})

    return make


@pytest.fixture
def trained_steps(monkeypatch):
    """The steps that were trained, by their number."""
    from distill.student.session import Session

    steps, real = [], Session.backward

    def backward(self, batch):
        steps.append(self.state.step + 1)
        return real(self, batch)

    monkeypatch.setattr(Session, "backward", backward)
    return steps


def files(run):
    return {path.name: path.read_bytes() for path in run.adapter.iterdir()}


def killed(*_):
    raise KeyboardInterrupt


def audit_of(kind):
    """(module, name) of what comes after training."""
    from distill.student import fitting, stopping

    return (fitting, "outcome") if kind == "classifier" else (stopping, "after_training")


CASES = {
    "trainer": {"engine": "trainer"},
    "loop": {"engine": "loop"},
    "stopped early": {"early_stopping": 1, "learning_rate": 1e-1, "epochs": 8},
    "without validation": {},
    "classifier": {"kind": "classifier"},
    "stopped early by the loop": {"early_stopping": 1, "learning_rate": 1e-1, "epochs": 8, "engine": "loop"},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_after_the_last_step_nothing_is_trained_again(made, monkeypatch, trained_steps, case):
    kind = CASES[case].get("kind", "causal")
    whole, config = made("whole", **CASES[case])
    broken, _ = made("broken", **CASES[case])
    if case == "without validation":
        for run in (whole, broken):
            run.splits["valid"].unlink()
    expected = finetune(whole, config, Quiet())
    trained_steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr(*audit_of(kind), killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(broken, config, Quiet())
    assert trained_steps == list(range(1, expected["steps"] + 1))
    assert ("early" in case) == (expected["steps"] < 4 * config.epochs)
    assert broken.adapter.is_dir()
    assert broken.summary("finetune") is None
    told = Told()
    summary = finetune(broken, config, told)
    assert len(trained_steps) == expected["steps"]
    assert any(f"no step is left after step {expected['steps']}" in text for text in told.said)
    assert files(broken) == files(whole)
    same = ("steps", "best_step", "best_valid_loss", "first_loss", "last_loss", "tokens")
    assert [summary[name] for name in same] == [expected[name] for name in same]
    assert len(broken.metrics.read_text().splitlines()) == expected["steps"]
    assert not broken.checkpoint.exists()


@pytest.mark.parametrize("kind", ["causal", "classifier"])
def test_a_student_that_goes_on_from_itself_is_not_taught_twice(made, monkeypatch, trained_steps, kind):
    """Killed in the audit it has not yet replaced the adapter it started from."""
    left = []
    for name in ("whole", "broken"):
        run, config = made(name, kind)
        finetune(run, config, Quiet())
        before = files(run)
        onward = FinetuneConfig(**{**config.__dict__, "from_adapter": "last"})
        trained_steps.clear()
        if name == "broken":
            with monkeypatch.context() as patch:
                patch.setattr(*audit_of(kind), killed)
                with pytest.raises(KeyboardInterrupt):
                    finetune(run, onward, Quiet())
            assert files(run) == before
        finetune(run, onward, Quiet())
        assert trained_steps == list(range(1, 9))
        assert files(run) != before
        left.append(files(run))
    assert left[0] == left[1]


def stopped_after(monkeypatch, run, config, steps):
    """Train until that many steps are on disk, and Ctrl-C."""
    from distill.student import guard

    @contextmanager
    def stoppable(say):
        yield lambda: run.metrics.exists() and len(run.metrics.read_text().splitlines()) >= steps

    with monkeypatch.context() as patch:
        patch.setattr(guard, "stoppable", stoppable)
        with pytest.raises(Interrupted):
            finetune(run, config, Quiet())


@pytest.mark.parametrize("kind", ["causal", "classifier"])
@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 2},
        {"engine": "loop"},
        {"packing": "on"},
        {"device": "auto"},
        {"report_to": "tensorboard"},
        {"learning_curve": True},
    ],
    ids=lambda changes: min(changes),
)
def test_flags_that_change_nothing_of_what_is_learned_keep_the_checkpoint(
    made, monkeypatch, trained_steps, kind, changes
):
    run, config = made("r", kind)
    stopped_after(monkeypatch, run, config, 3)
    finetune(run, FinetuneConfig(**{**config.__dict__, **changes}), Quiet())
    assert trained_steps == list(range(1, 9))


@pytest.mark.parametrize("kind", ["causal", "classifier"])
@pytest.mark.parametrize(
    "changes", [{"learning_rate": 4e-3}, {"seed": 1}, {"batch_size": 8}], ids=lambda changes: min(changes)
)
def test_a_checkpoint_of_another_run_is_put_aside_and_good_again(
    made, monkeypatch, trained_steps, kind, changes
):
    run, config = made("r", kind)
    stopped_after(monkeypatch, run, config, 3)
    told = Told()
    finetune(run, FinetuneConfig(**{**config.__dict__, **changes}), told)
    (said,) = [text for text in told.said if "another run" in text]
    assert min(changes) in said
    (aside,) = run.checkpoint.parent.glob("other-*")
    assert str(aside) in said
    trained_steps.clear()
    aside.rename(run.checkpoint)
    finetune(run, config, Quiet())
    assert trained_steps == [4, 5, 6, 7, 8]
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()][-1] == 8


def test_validation_rows_that_are_all_too_long_do_not_stop_a_run(made):
    run, config = made("r", on_long="drop", max_length_tokens=120)
    from tests.student.tiny import pair

    jsonl.replace(run.splits["valid"], [pair("y" * 150, "good"), pair("z" * 160, "bad")])
    told = Told()
    summary = finetune(run, config, told)
    assert any("validation: 2 of 2 rows are longer than 120 tokens and were dropped" in t for t in told.said)
    assert any("no validation pairs: the last weights are kept" in text for text in told.said)
    assert summary["rows"] == {"train": 16, "valid": 0}
    assert summary["stops"]["split"] == "train"


def test_memory_that_holds_no_batch_of_64_costs_nothing(made, monkeypatch, float32):
    from types import SimpleNamespace

    import torch

    from distill.student import fitting
    from distill.student.pairs_in import Row

    rows = [Row(str(at), [at % 5], [], at % 3) for at in range(70)]
    sizes = []

    def logits_of(net, rows, pad):
        sizes.append(len(rows))
        if len(rows) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.nn.functional.one_hot(torch.tensor([row.label for row in rows]), 3).float()

    monkeypatch.setattr(fitting, "logits_of", logits_of)
    model = SimpleNamespace(eval=lambda: None)
    found = fitting.outcome(SimpleNamespace(net=SimpleNamespace(model=model), device=float32, pad=0), rows)
    assert (sizes[0], set(sizes[1:-1])) == (64, {8})
    assert found.accuracy == 1.0
