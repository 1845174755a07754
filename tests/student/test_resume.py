"""A run that is stopped, by a signal or by anything else, goes on to the curve of an unbroken one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_in

from distill.errors import Interrupted
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.types import Task
from tests.student.engines import curve, fitted, recipe_of, rows_of, weights_of
from tests.student.test_classifier import TASK
from tests.student.test_soft import logprobs
from tests.student.tiny import few_pairs, tiny_model
from tests.student.tiny_encoder import labelled, save_encoder

pytestmark = pytest.mark.slow

NAMES = ("step", "epoch", "loss", "lr", "grad_norm", "valid_loss", "valid_exact", "valid_score")


@pytest.mark.parametrize("engine", ["trainer", "loop"])
@pytest.mark.parametrize(("seed", "dtype"), [(0, "float32"), (1, "float32"), (2, "float32"), (3, "bfloat16")])
def test_the_resumed_curve_is_the_unbroken_one(chat, learner_of, tmp_path, engine, seed, dtype):
    recipe = recipe_of(engine=engine, seed=seed, lora_dropout=0.1, epochs=3, schedule="cosine")
    rows = rows_of(chat, 26)
    train, valid = rows[:18], rows[18:]
    _, learner = learner_of(dropout=0.1, dtype=dtype)
    whole, records = fitted(learner, train, valid, recipe)
    stop_at = sorted(random.Random(seed).sample(range(1, whole.steps), 2))
    there, path = [], tmp_path / "checkpoint.safetensors"
    for stop in (*stop_at, None):  # each part in a process that knows nothing: a fresh model
        _, other = learner_of(dropout=0.1, dtype=dtype)
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


KINDS = {
    "trainer": ["--engine", "trainer"],
    "loop": ["--engine", "loop"],
    "teacher": ["--kd-weight", "0.7", "--lora-dropout", "0.1"],
    "classifier": ["--student-kind", "classifier", "--lora-dropout", "0.1"],
    "onward": ["--from-adapter"],
    "scored": [],
}


def pairs_for(kind):
    """48 pairs: with the teacher's probabilities, or those of three labels, where it is about these."""
    if kind == "classifier":
        return labelled(48)
    if kind != "teacher":
        return few_pairs(48)
    return [
        replace_in(each, logprobs=logprobs(each.answer, [{letter: 0.5} for letter in each.answer]))
        for each in few_pairs(48)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_writes_a_checkpoint_and_the_same_command_goes_on(tmp_path, student_folder, kind):
    """The command line itself, with a real signal at whatever step it comes."""
    student = save_encoder(tmp_path / "encoder") if kind == "classifier" else student_folder
    flags = ["--student", str(student), "--batch-size", "4", "--epochs", "12", *KINDS[kind]]
    flags += [adapter_of(student, tmp_path / "adapter")] if kind == "onward" else []
    flags += ["--learning-rate", "1e-3", "--device", "cpu", "--dtype", "float32"]
    curves = []
    for name in ("broken", "whole"):
        run = Run.open(tmp_path / "runs", name, create=True)
        if kind == "classifier":
            write_task(run.task, TASK)
        if kind == "scored":
            write_task(run.task, Task("letters", "text", "Say if it is good or bad."))
        jsonl.replace(run.splits["train"], pairs_for(kind)[:40])
        jsonl.replace(run.splits["valid"], pairs_for(kind)[40:])
        run.finish("generate", {"accepted": 48}, {})
        if name == "broken":
            process = finetune(tmp_path, name, flags, waits=True)
            wait_for_lines(run.metrics, 10, process)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=240)
            assert process.returncode == 130, told
            assert "go on with: distill" in told
            steps = len(run.metrics.read_text().splitlines())
            assert 10 <= steps < 120
            assert run.checkpoint.exists()
            assert run.summary("finetune") is None
            assert not run.adapter.exists()
        process = finetune(tmp_path, name, flags)
        _, told = process.communicate(timeout=600)
        assert process.returncode in (0, 3), told  # few steps teach the tiny one to stop, or not
        if name == "broken":
            assert f"going on after step {steps} of 120" in told
        assert not run.checkpoint.exists()
        records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        curves.append([[record[key] for key in NAMES] for record in records])
    assert len(curves[0]) == 120
    assert curves[0] == curves[1]


def adapter_of(student, folder):
    """An adapter to go on from, its B no longer zero."""
    from distill.student import lora

    wrapped = lora.attach(tiny_model(), lora.LoraShape(4, 8), 3)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    lora.save(wrapped, folder, student.name)
    return str(folder)


def finetune(folder, name, flags, waits=False):
    """The command line; `waits`: after some steps, until it is told to stop."""
    program = ["-c", "from tests.student.test_resume import waiting; waiting()"]
    command = [sys.executable, *(program if waits else ["-m", "distill.cli"])]
    command += ["--runs-dir", str(folder / "runs"), "--run", name, "finetune"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # one order of every sum, however busy the machine
    return subprocess.Popen(
        [*command, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )


def waiting():
    """The command line, which goes no further than sixty steps before it has heard a signal."""
    from distill.cli import main
    from distill.student import guard

    stoppable = guard.stoppable

    @contextmanager
    def patient(say):
        steps = count(1)
        with stoppable(say) as stopped:

            def asked():
                ends = time.monotonic() + 200 * (next(steps) == 60)
                while not stopped() and time.monotonic() < ends:
                    time.sleep(0.01)
                return stopped()

            yield asked

    guard.stoppable = patient
    main()


def wait_for_lines(path, count, process):
    ends = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.02)
