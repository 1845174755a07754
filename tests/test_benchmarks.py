"""The benchmark of generate still runs: its server, its arms, and the check of their rows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
DATA = BENCHMARKS.parent.parent / "shared" / "data" / "sst2" / "train.jsonl"
CALLS = 50


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measuring

    return measuring


@pytest.fixture
def generating(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import generate

    return generate


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there")
def test_arms_answer_every_input_right_and_the_server_takes_its_time(tmp_path):
    arguments = ["--calls", CALLS, "--in-flight", 16, "--rounds", 1, "--out", tmp_path / "out.json"]
    command = [sys.executable, BENCHMARKS / "generate.py", "--arms", "aiohttp,distill", *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert [row["arm"] for row in result["summary"]] == ["aiohttp", "distill"]
    for row in result["summary"]:
        assert row["rows"] == "all right"
        assert row["calls"] == CALLS
        assert row["most_in_flight"] == 16
        assert row["call_s"] >= row["ideal_s"] > 0.6
        assert row["peak_mb"] > 10
    assert {bar["bar"].split(",")[0] for bar in result["bars"]} >= {"peak memory in MB"}


def test_a_wrong_answer_a_lost_row_and_a_call_too_many_are_told(measuring):
    inputs = [f"input {number}" for number in range(4)]
    right = [(text, measuring.label_of(text)) for text in inputs]
    assert measuring.complaint(right, inputs, 4) == ""
    other = {"positive": "negative", "negative": "positive"}[right[0][1]]
    assert measuring.complaint([(inputs[0], other), *right[1:]], inputs, 4) == "4 rows of 4, 3 right"
    assert measuring.complaint(right[1:], inputs, 4) == "3 rows of 4, 3 right"
    assert measuring.complaint([right[0], *right[:3]], inputs, 4) == "4 rows of 4, 3 right"
    assert measuring.complaint(right, inputs, 5) == "5 calls for 4 rows"


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").rglob("*.*")), ids=lambda path: path.name)
def test_a_result_names_no_path_of_one_machine(path):
    found = re.findall(
        r"(?<![\w.:/])/(?:home|root|work|tmp|Users|mnt)/[\w./-]*", path.read_text(encoding="utf-8")
    )
    assert not found


def test_what_was_typed_is_told_without_the_machines_folders(measuring, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--data", "/work/data", "--folder", "/tmp/made", "--seeds", "3"])
    told = measuring.typed("x.py", data=Path("/work/data"), folder=Path("/tmp/made"))
    assert told == "benchmarks/x.py --data DATA --folder FOLDER --seeds 3"


def test_a_process_that_hangs_is_ended_and_told(measuring, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "CACHE", tmp_path)
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    status, wall_s, usage = measuring.timed(hanging, tmp_path, limit_s=0.5)
    assert status == -9
    assert 0.4 < wall_s < 30
    assert usage.ru_maxrss > 0


def test_an_arm_with_one_wrong_round_gets_no_figure_and_meets_no_bar(generating):
    def measured(in_flight, wrong=""):
        return generating.Measured("distill", in_flight, CALLS, 1.0, 2.0, 1.0, 90.0, in_flight, 0.1, wrong)

    warm_up = {"distill": measured(64)}
    good, bad = generating.summary([measured(64), measured(512), measured(512, "exit 1")], warm_up, 0.2)
    assert (good["rows"], good["call_s"], good["peak_mb"]) == ("all right", 1.0, 90.0)
    assert (bad["rows"], bad["call_s"], bad["peak_mb"]) == ("exit 1", None, None)
    held = {bar["bar"]: bar for bar in generating.bars([good, bad], CALLS)}
    assert not held["settings with a row missing or wrong, at most"]["met"]
    assert not [bar for bar in held if bar.startswith("at 512")]
    assert [bar for bar in held if bar.startswith("at 64")]
    started_wrong = {"distill": measured(64, "exit 1")}
    assert generating.summary([measured(64)], started_wrong, 0.2)[0]["call_s"] is None
