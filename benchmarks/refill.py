"""One round of refilling on trec, with the embedded teacher: does the student get better where it failed?

    .venv/bin/python benchmarks/real.py question-type
    .venv/bin/python benchmarks/refill.py --seeds 3

It starts from the pairs of `real.py question-type` and their teacher's answers (its run folder is copied),
and trains an encoder with a head on them, once a seed. Failures are looked at on validation rows, refilled
for, and the student is trained anew on all rows. Both rounds are measured on the 500 human-labelled rows of
trec's test file, of which no step before sees one. Writes `benchmarks/results/refill.json`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "runs" / "real-question-type"
TEACHER = ("--teacher", "local")


def command(runs: Path, name: str, step: str, *words: str) -> dict:
    """Run one command; what it was, its exit code and its JSON."""
    started = time.monotonic()
    done = subprocess.run(
        [Path(sys.executable).parent / "distill", "--runs-dir", runs, "--run", name, "--json", step, *words],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in (0, 3):
        sys.exit(f"distill {step} ended with {done.returncode}")
    seconds = round(time.monotonic() - started, 1)
    return {"command": " ".join(["distill", step, *words]), "exit": done.returncode, "seconds": seconds} | {
        "left": json.loads(done.stdout)
    }


def prepare(runs: Path, name: str) -> Path:
    """A run with the pairs of SOURCE and the teacher's calls; one that is there is gone on with."""
    folder = runs / name
    if not folder.exists():
        for part in ("2-generate", "task.toml", "run.json", "4-compare/calls.jsonl"):
            source, target = SOURCE / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def one(runs: Path, seed: int, data: Path) -> dict:
    """Both rounds with one seed of training."""
    name = f"refill-{seed}"
    folder = prepare(runs, name)
    training = ("--student", "local", "--student-kind", "classifier", "--seed", str(seed))
    comparing = ("--gold", str(data / "trec" / "test.jsonl"), "--ask-twice", "0", *TEACHER)
    before = {split: (folder / "2-generate" / f"{split}.jsonl").read_bytes() for split in ("valid", "test")}
    if not (folder / "2-generate" / "refills.jsonl").exists():
        command(runs, name, "finetune", *training)
        command(runs, name, "compare", *comparing)
        command(runs, name, "failures")
        command(runs, name, "generate", "--from-failures", *TEACHER)
    command(runs, name, "finetune", *training)
    report = command(runs, name, "compare", *comparing)["left"]
    for split, rows in before.items():
        assert (folder / "2-generate" / f"{split}.jsonl").read_bytes() == rows, f"{split} rows moved"
    receipt = json.loads((folder / "2-generate" / "receipt.json").read_text())
    failures = json.loads((folder / "4-compare" / "failures.json").read_text())
    return {
        "seed": seed,
        "sources": failures["sources"],
        "clusters": [{key: each[key] for key in ("name", "count", "share")} for each in failures["clusters"]],
        "refill": receipt["refills"][-1],
        "rounds": report["rounds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "refill")
    given = parser.parse_args()
    if not given.data.is_dir() or not SOURCE.is_dir():
        sys.exit(f"{given.data} or {SOURCE} is not there")
    found = [one(given.runs_dir.resolve(), seed, given.data.resolve()) for seed in range(given.seeds)]
    changes = [each["rounds"][-1]["against_previous"]["diff"] for each in found]
    result = {
        "command": f".venv/bin/python benchmarks/refill.py --seeds {given.seeds}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, no GPU",
        "versions": {name: version(name) for name in ("distill", "torch", "transformers", "xllamacpp")},
        "mean_change": statistics.fmean(changes),
        "changes": changes,
        "seeds": found,
    }
    path = ROOT / "benchmarks" / "results" / "refill.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
