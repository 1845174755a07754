"""Fine-tuning on human labels: how good is the student that `distill finetune` makes by its defaults?

    .venv/bin/python benchmarks/sft_quality.py

The first 640 rows of sst2's train file, two epochs, no row held out, through the command line; scored once on
the first 300 rows of the test file. Kept in `benchmarks/results/sft-quality.json`. The bar is what a plain
padded loop reached on the same rows.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill import Student
from distill.score.stats import wilson
from distill.workplace import versions

ROOT = Path(__file__).parent.parent
BAR = 0.89
TASK = ROOT / "examples" / "sentiment" / "task.toml"


def rows_in(path: Path, count: int) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]


def command(runs: Path, *words: str) -> dict[str, Any]:
    """Run `distill` as typed; raises SystemExit where it fails."""
    began = time.perf_counter()
    typed = [str(Path(sys.executable).parent / "distill"), "--runs-dir", str(runs), "--run", "sft", *words]
    done = subprocess.run(typed, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"distill {words[0]} ended with {done.returncode}")
    shown = ["distill", *(word if not Path(word).is_absolute() else Path(word).name for word in words)]
    return {"command": " ".join(shown), "seconds": round(time.perf_counter() - began, 1)}


def trained(runs: Path, train: list[dict[str, str]], student: str, epochs: str) -> list[dict[str, Any]]:
    """Import the rows and train on all of them; the commands with their seconds."""
    file = runs / "gold.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in train), encoding="utf-8")
    kept_whole = ["--no-filters", "--valid-share", "0", "--test-share", "0", "--task", str(TASK)]
    return [
        command(runs, "import", str(file), *kept_whole),
        command(runs, "finetune", "--student", student, "--epochs", epochs),
    ]


def scored(said: list[str], test: list[dict[str, str]]) -> dict[str, Any]:
    right = [answer == row["output"] for answer, row in zip(said, test, strict=True)]
    return wilson(sum(right), len(right))._asdict()


def measured(given: argparse.Namespace) -> dict[str, Any]:
    train = rows_in(given.data / "sst2" / "train.jsonl", given.rows)
    test = rows_in(given.data / "sst2" / "test.jsonl", given.test_rows)
    inputs = [row["input"] for row in test]
    with tempfile.TemporaryDirectory(prefix="sft-") as folder:
        steps = trained(Path(folder), train, given.student, given.epochs)
        student = Student(given.student, run=Path(folder) / "sft")
        began = time.perf_counter()
        said = student.predict(inputs)
        answer_s = time.perf_counter() - began
        metrics = student.run.summary("finetune") or {}
    left_out = ("made_from", "derived", "mfu", "matmul_peak_flops")
    accuracy = scored(said, test)
    return {
        "accuracy": accuracy,
        "bar": {"at_least": BAR, "met": accuracy["value"] >= BAR},
        "rows": {"train": len(train), "test": len(test)},
        "steps": steps,
        "answer_seconds": round(answer_s, 1),
        "derived": metrics.get("derived"),
        "metrics": {name: value for name, value in metrics.items() if name not in left_out},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--student", default="local")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--test-rows", type=int, default=300)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "sft-quality.json")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: the labelled data is no part of the project")
    found = {
        "command": "benchmarks/sft_quality.py",
        "data": "sst2: the first rows of train.jsonl and of test.jsonl",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        **measured(given),
    }
    given.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({"accuracy": found["accuracy"], "bar": found["bar"]}))


if __name__ == "__main__":
    main()
