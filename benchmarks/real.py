"""The real runs: embedded teacher, embedded student, no gold label in training, scored on human labels.

    .venv/bin/python benchmarks/real.py sentiment question-type own-inputs orders

Each name is one run of the recipe through the command line, from nothing; what it leaves is committed as
`benchmarks/results/<name>.json`: the commands, the receipt, the metrics and the report. It needs the data
folder (`--data`, default ../shared/data), which is not part of the project.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRICE = "0.10"
"""USD an hour, about what a rented virtual machine with two cores costs: stated, not measured."""
RUNS = {
    "sentiment": {
        "task": "examples/sentiment/task.toml",
        "generate": ["--n", "400"],
        "finetune": ["--student", "local", "--epochs", "2"],
        "gold": "sst2/test.jsonl",
    },
    "question-type": {
        "task": "examples/question-type/task.toml",
        "generate": ["--n", "460"],
        "finetune": ["--student", "local", "--epochs", "3"],
        "gold": "trec/test.jsonl",
    },
    # The task as `sentiment` left it: its prompt is measured already.
    "own-inputs": {
        "task": "runs/real-sentiment/task.toml",
        "generate": ["--n", "240", "--inputs", "{data}/sst2/train.jsonl"],
        "finetune": ["--student", "local", "--epochs", "2"],
        "gold": "sst2/test.jsonl",
    },
    "orders": {
        "task": "examples/orders/task.toml",
        "generate": ["--n", "72", "--test-share", "0.25"],
        "finetune": ["--student", "local", "--epochs", "3"],
        "gold": None,
    },
}


def command(name: str, data: Path, step: str, *arguments: str) -> dict:
    words = ["--runs-dir", "runs", "--run", f"real-{name}", step, *arguments]
    shown = " ".join(["distill", *words]).replace(str(data), "../shared/data")
    print(f"\n$ {shown}", flush=True)
    started = time.monotonic()
    done = subprocess.run([Path(sys.executable).parent / "distill", *words], cwd=ROOT, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{shown} ended with {done.returncode}")
    return {"command": shown, "exit": done.returncode, "seconds": round(time.monotonic() - started, 1)}


def run(name: str, data: Path, more: list[str]) -> None:
    spec = RUNS[name]
    folder = ROOT / "runs" / f"real-{name}"
    if "--resume" not in more:
        shutil.rmtree(folder, ignore_errors=True)
    generate = [word.format(data=data) for word in spec["generate"]]
    gold = ["--gold", f"{data}/{spec['gold']}"] if spec["gold"] else []
    commands = [
        command(name, data, "pick", "--task", spec["task"]),
        command(name, data, "generate", *generate),
        command(name, data, "finetune", *spec["finetune"]),
        command(name, data, "compare", *gold, "--hardware-usd-per-hour", PRICE),
    ]
    result = {
        "commands": commands,
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, no GPU",
        "receipt": json.loads((folder / "2-generate" / "receipt.json").read_text()),
        "metrics": json.loads((folder / "3-finetune" / "metrics.json").read_text()),
        "report": json.loads((folder / "4-compare" / "report.json").read_text()),
        "settings": json.loads((folder / "run.json").read_text()),
    }
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    if "--resume" in more and path.exists():  # a step that is done already takes no time: what it took then
        before = {each["command"].split()[5]: each for each in json.loads(path.read_text())["commands"]}
        for each in commands:
            each["seconds"] = max(each["seconds"], before[each["command"].split()[5]]["seconds"])
    text = json.dumps(result, indent=1, ensure_ascii=False).replace(str(data), "../shared/data")
    path.write_text(text + "\n")
    print(f"written: {path.relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+", choices=list(RUNS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--resume", action="store_true", help="go on with what is there")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: the labelled data is no part of the project")
    for name in given.names:
        run(name, given.data.resolve(), ["--resume"] if given.resume else [])


if __name__ == "__main__":
    main()
