"""A run that is stopped, by a signal or by anything else, goes on to the curve of an unbroken one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from distill.errors import Interrupted
from distill.store import jsonl
from distill.store.run import Run
from tests.student.engines import curve, fitted, recipe_of, rows_of, weights_of
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow

NAMES = ("step", "epoch", "loss", "lr", "grad_norm", "valid_loss", "valid_exact")


@pytest.mark.parametrize("engine", ["trainer", "loop"])
@pytest.mark.parametrize("seed", range(3))
def test_the_resumed_curve_is_the_unbroken_one(chat, learner_of, tmp_path, engine, seed):
    recipe = recipe_of(engine=engine, seed=seed, lora_dropout=0.1, epochs=3, schedule="cosine")
    rows = rows_of(chat, 26)
    train, valid = rows[:18], rows[18:]
    _, learner = learner_of(dropout=0.1)
    whole, records = fitted(learner, train, valid, recipe)
    stop_at = sorted(random.Random(seed).sample(range(1, whole.steps), 2))
    there, path = [], tmp_path / "checkpoint.safetensors"
    for stop in (*stop_at, None):  # each part in a process that knows nothing: a fresh model
        _, other = learner_of(dropout=0.1)
        watch = {"checkpoint": path, "made_from": {"a": 1}, "stopped": lambda stop=stop: len(there) == stop}
        if stop is None:
            trained = fitted_on(other, train, valid, recipe, there, watch)
            continue
        with pytest.raises(Interrupted, match=f"after step {stop} of {whole.steps}"):
            fitted_on(other, train, valid, recipe, there, watch)
    for name in NAMES:
        assert curve(there, name) == curve(records, name), name
    assert weights_of(other).equal(weights_of(learner))
    same = ("steps", "best_step", "best_valid_loss", "first_loss", "last_loss", "tokens")
    assert [getattr(trained, name) for name in same] == [getattr(whole, name) for name in same]


def fitted_on(learner, train, valid, recipe, records, watch):
    from distill.student.fit import train as fit
    from distill.student.session import Watch

    return fit(learner, train, valid, recipe, Watch(record=records.append, **watch))


@pytest.fixture
def interrupted(chat, learner_of, tmp_path):
    """The checkpoint of a run stopped after its second step."""
    path, seen = tmp_path / "checkpoint.safetensors", []
    _, learner = learner_of()
    watch = {"checkpoint": path, "made_from": {"rows": "x", "lr": 1}, "stopped": lambda: len(seen) == 2}
    with pytest.raises(Interrupted):
        fitted_on(learner, rows_of(chat, 8), [], recipe_of(epochs=3), seen, watch)
    return path


def again(learner, chat, path, made_from):
    """(what was said, the steps taken) of a run that finds the checkpoint."""
    said = []
    watch = {"checkpoint": path, "made_from": made_from, "say": said.append}
    _, records = fitted(learner, rows_of(chat, 8), [], recipe_of(epochs=3), **watch)
    return said, curve(records, "step")


def test_a_checkpoint_of_this_run_is_taken_up(chat, learner_of, interrupted):
    said, steps = again(learner_of()[1], chat, interrupted, {"rows": "x", "lr": 1})
    assert said == ["going on after step 2 of 6, from the checkpoint"]
    assert steps == [3, 4, 5, 6]


@pytest.mark.parametrize("engine", ["trainer", "loop"])
def test_the_best_weights_outlive_the_interruption(chat, learner_of, tmp_path, engine):
    """The second validation was the best, and the run is stopped after the third."""
    path, seen, there = tmp_path / "checkpoint.safetensors", [], []
    script = [5.0, 1.0, 2.0, 3.0, 4.0, 6.0]
    rows = rows_of(chat, 12)
    for stop in (3, None):
        _, learner = learner_of()

        def judge(net, piece, pad, learner=learner):
            seen.append(weights_of(learner))
            return script[len(seen) - 1], 0

        watch = {"checkpoint": path, "stopped": lambda stop=stop: len(there) == stop}
        judged, recipe = replace(learner, judge=judge), recipe_of(engine=engine, epochs=3)
        if stop:
            with pytest.raises(Interrupted):
                fitted_on(judged, rows[:8], rows[8:], recipe, there, watch)
        else:
            trained = fitted_on(judged, rows[:8], rows[8:], recipe, there, watch)
    assert len(seen) == 6
    assert trained.best_step == 2
    assert weights_of(learner).equal(seen[1])


@pytest.mark.parametrize("spoil", ["settings", "model", "damage", "pickle", "key"])
def test_any_other_checkpoint_is_not_used_and_said_so(chat, learner_of, interrupted, spoil):
    made_from, changes = {"rows": "x", "lr": 1}, {}
    if spoil == "settings":
        made_from["lr"] = 2
    elif spoil == "model":
        changes = {"hidden_size": 32}
    elif spoil == "damage":
        interrupted.write_bytes(interrupted.read_bytes()[:-40])
    elif spoil == "pickle":
        import torch

        torch.save({"state": 1}, interrupted)
    else:
        import safetensors.torch

        safetensors.torch.save_file({}, interrupted, metadata={"other": "x"})
    said, steps = again(learner_of(**changes)[1], chat, interrupted, made_from)
    expected = {"settings": "of another run (lr)", "model": "of another model"}.get(spoil, "damaged")
    assert len(said) == 1
    assert expected in said[0]
    assert "not used" in said[0]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("engine", ["trainer", "loop"])
def test_sigterm_writes_a_checkpoint_and_the_same_command_goes_on(tmp_path, student_folder, engine):
    """The command line itself, with a real signal at whatever step it comes."""
    flags = ["--student", str(student_folder), "--engine", engine, "--batch-size", "4", "--epochs", "12"]
    flags += ["--learning-rate", "1e-3", "--device", "cpu", "--dtype", "float32"]
    curves = []
    for name in ("broken", "whole"):
        run = Run.open(tmp_path / "runs", name, create=True)
        jsonl.replace(run.splits["train"], few_pairs(48)[:40])
        jsonl.replace(run.splits["valid"], few_pairs(48)[40:])
        run.finish("generate", {"accepted": 48}, {})
        if name == "broken":
            process = finetune(tmp_path, name, flags)
            wait_for_lines(run.metrics, 10, process)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=120)
            assert process.returncode == 130, told
            assert "go on with: distill" in told
            steps = len(run.metrics.read_text().splitlines())
            assert 10 <= steps < 120
            assert run.checkpoint.exists()
            assert run.summary("finetune") is None
            assert not run.adapter.exists()
        process = finetune(tmp_path, name, flags)
        _, told = process.communicate(timeout=240)
        assert process.returncode == 0, told
        if name == "broken":
            assert f"going on after step {steps} of 120" in told
        assert not run.checkpoint.exists()
        records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        curves.append([[record[key] for key in NAMES] for record in records])
    assert len(curves[0]) == 120
    assert curves[0] == curves[1]


def finetune(folder, name, flags):
    command = [
        sys.executable,
        "-m",
        "distill.cli",
        "--runs-dir",
        str(folder / "runs"),
        "--run",
        name,
        "finetune",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # one order of every sum, however busy the machine
    return subprocess.Popen(
        [*command, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_lines(path, count, process):
    ends = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.02)
