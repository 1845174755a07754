"""W&B and trackio by themselves, run by test_reports.py where they are found; nothing leaves this machine."""

import importlib
import json
import struct

import pytest

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.types import Quiet
from tests.student.engines import QUICK


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A home and a working directory of its own, W&B told to stay offline."""
    for name, value in (("WANDB_MODE", "offline"), ("HOME", tmp_path), ("TRACKIO_DIR", tmp_path / "trackio")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    importlib.import_module("wandb").teardown()  # it reads its environment once


def config_of(folder, service):
    return FinetuneConfig(student=str(folder), report_to=service, **QUICK)


def records_in(path):
    """The records of a .wandb file: LevelDB's log, 32 KiB blocks, (checksum, length, part) before each."""
    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        _, length, part = struct.unpack("<IHB", data[at : at + 7])
        if left < 7 or not part:  # what a block ends with
            at += left
            continue
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if part in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


def wandb_run(path):
    """(the run's record, {step: {name: value}}) of an offline run's file."""
    from wandb.proto import wandb_internal_pb2 as pb

    run, history = None, {}
    for data in records_in(path):
        record = pb.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            run = record.run
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            if "train/global_step" in values:
                history.setdefault(values["train/global_step"], {}).update(values)
    return run, history


def check(found, records, loss, valid):
    """Every step's loss and every validation's, as in metrics.jsonl."""
    assert {step: values[loss] for step, values in found.items() if loss in values} == pytest.approx(
        {record["step"]: record["loss"] for record in records}, rel=1e-3
    )
    assert {step: values[valid] for step, values in found.items() if valid in values} == pytest.approx(
        {r["step"]: r["valid_loss"] for r in records if r["valid_loss"] is not None}, rel=1e-3
    )


def steps_of(run):
    return [record for _, record in jsonl.read(run.metrics, dict)]


def test_wandb_gets_every_step_under_the_runs_name_and_keeps_it_in_the_run_folder(
    run, student_folder, offline
):
    for count in (1, 2):
        finetune(run, config_of(student_folder, "wandb"), Quiet())
        files = sorted(run.reports.rglob("run-*.wandb"), key=lambda path: path.stat().st_mtime)
        assert len(files) == count  # a training is a run of its own
        told, history = wandb_run(files[-1])
        assert (told.project, told.display_name) == ("distill", "r")
        check(history, steps_of(run), "train/loss", "eval/loss")
    assert list(offline.iterdir()) == []


def test_a_run_that_is_open_already_is_used_and_left_open(run, student_folder, offline, tmp_path):
    import wandb

    with wandb.init(project="mine", name="sweep", dir=tmp_path) as mine:
        finetune(run, config_of(student_folder, "wandb"), Quiet())
        assert wandb.run is mine
    (file,) = tmp_path.rglob("run-*.wandb")
    told, history = wandb_run(file)
    assert (told.project, told.display_name) == ("mine", "sweep")
    check(history, steps_of(run), "train/loss", "eval/loss")


def test_wandb_without_a_key_is_a_clear_error(run, student_folder, offline, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(offline / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UsageError, match="W&B opens no run") as caught:
        finetune(run, config_of(student_folder, "wandb"), Quiet())
    assert "WANDB_MODE=offline" in caught.value.hint


def test_trackio_gets_every_step_on_this_machine(run, student_folder, offline):
    import sqlite3

    finetune(run, config_of(student_folder, "trackio"), Quiet())
    (database,) = (offline.parent / "trackio").glob("distill*.db")
    with sqlite3.connect(database) as open_one:
        rows = open_one.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _, _ in rows} == {"r"}
    found = {}
    for _, _, metrics in rows:
        values = json.loads(metrics)
        found.setdefault(values["train/global_step"], {}).update(values)
    check(found, steps_of(run), "train/loss", "eval/loss")
    assert list(offline.iterdir()) == []
