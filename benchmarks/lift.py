"""Filter lift on real data: does what `generate` keeps have better answers than the teacher's raw ones?

    .venv/bin/python benchmarks/lift.py sst2 trec

Each name is one `distill generate --inputs --seeds` with the embedded teacher, on rows of the train files of
`--data` (default ../shared/data); the lift and its interval are committed as `benchmarks/results/lift.json`,
also where it is zero. Gold labels measure and serve as few-shot examples; they filter nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "lift.json"
TASKS = {"sst2": "examples/sentiment/task.toml", "trec": "examples/question-type/task.toml"}


def prepare(name: str, data: Path, folder: Path, known: int, inputs: int) -> tuple[Path, Path]:
    """The first `known` distinct train rows as gold, the next `inputs` without their labels."""
    rows = {}
    for line in (data / name / "train.jsonl").open():
        row = json.loads(line)
        rows.setdefault(row["input"], row)
    chosen = [row for row in rows.values() if 20 <= len(row["input"]) <= 400][: known + inputs]
    gold, given = folder / f"{name}-gold.jsonl", folder / f"{name}-inputs.jsonl"
    gold.write_text("".join(json.dumps(row) + "\n" for row in chosen[:known]))
    given.write_text("".join(json.dumps({"input": row["input"]}) + "\n" for row in chosen[known:]))
    return gold, given


def measure(name: str, data: Path, folder: Path, known: int) -> dict:
    gold, given = prepare(name, data, folder, known, inputs=120)
    distill = [
        str(Path(sys.executable).parent / "distill"),
        "--runs-dir",
        str(folder / "runs"),
        "--run",
        name,
    ]
    subprocess.run([*distill, "pick", "--task", str(ROOT / TASKS[name])], check=True)
    flags = ["generate", "--n", "40", "--inputs", str(given), "--seeds", str(gold), "--lift-rows", str(known)]
    started = time.monotonic()
    subprocess.run([*distill, *flags], check=True)
    receipt = json.loads((folder / "runs" / name / "2-generate" / "receipt.json").read_text())
    return {
        "command": " ".join(["distill", *flags]).replace(str(folder), "FOLDER"),
        "seconds": round(time.monotonic() - started, 1),
        "prompt": receipt["prompt"],
        "agreement": receipt["agreement"],
        "kept_of_tried": [receipt["accepted"], receipt["tried"]],
        "filter_lift": receipt["filter_lift"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TASKS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--known", type=int, default=200)
    options = parser.parse_args()
    folder = ROOT / "runs" / "lift"
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.names:
        shutil.rmtree(folder / "runs" / name, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        results[name] = measure(name, options.data, folder, options.known)
        results["machine"] = f"{os.cpu_count()} cores, no GPU, embedded SmolLM2-135M; {date.today()}"
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(f"{name}: {results[name]['filter_lift']['why']}")


if __name__ == "__main__":
    main()
