"""Do the teacher's probabilities teach more than its answers alone? sst2 rows labelled by the small teacher.

    .venv/bin/python benchmarks/soft_targets.py

`distill generate --inputs --logprobs 20` labels the first `--pairs` rows of sst2's train file that its
filters keep (one vote, the prompt that reads best), then `distill finetune --student local` learns them by
hard labels and with each of `--weights`, with each of `--seeds`; answers to the first `--tested` rows of
the test file are scored against people's labels. An arm that `benchmarks/results/soft-targets.json` has is
not run again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from measuring import typed

from distill.ask import student_messages
from distill.parse import parse_answer
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import Pair
from distill.workplace import versions

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "soft-targets.json"
TASK = ROOT / "examples" / "sentiment" / "task.toml"
PROMPT = '\n[prompt]\nname = "cued-3-turned"\nscore = 0.8732\nlow = 0.7763\nhigh = 0.9319\nn = 71\n'
"""What `generate` measured on this task in benchmarks/results/sentiment.json, so that it need not again."""
ROOM_TOKENS = 8


def rows_in(path: Path, count: int) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return dict([(row["input"], row["output"]) for row in rows][:count])


def distill(folder: Path, *words: str) -> str:
    """Run it as typed; what is to be shown of the command."""
    program = [str(Path(sys.executable).parent / "distill"), "--runs-dir", str(folder), "--run", "soft"]
    subprocess.run([*program, *words], check=True)
    return " ".join(["distill", *(Path(word).name if Path(word).is_absolute() else word for word in words)])


def labelled(folder: Path, given: argparse.Namespace, gold: dict[str, str]) -> dict[str, Any]:
    """The pairs with the teacher's probabilities, and how right the teacher is on them."""
    folder.mkdir(parents=True, exist_ok=True)
    task, inputs = folder / "task.toml", folder / "inputs.jsonl"
    task.write_text(TASK.read_text(encoding="utf-8") + PROMPT, encoding="utf-8")
    inputs.write_text("".join(json.dumps({"input": text}) + "\n" for text in gold), encoding="utf-8")
    distill(folder, "pick", "--task", str(task))
    words = ["--inputs", str(inputs), "--n", str(given.pairs), "--samples", "1", "--logprobs", "20"]
    shown = distill(folder, "generate", *words, "--test-share", "0", "--lift-rows", "0")
    run = Run(folder / "soft")
    pairs = [pair for _, pair in jsonl.read(run.pairs, Pair)]
    right = [gold[pair.input] == pair.answer for pair in pairs]
    sizes = {name: sum(1 for _ in jsonl.read(path, Pair)) for name, path in run.splits.items()}
    return {"command": shown, "pairs": sizes, "teacher": wilson(sum(right), len(right))._asdict()}


def arm(folder: Path, weight: float, seed: int, epochs: float, test: dict[str, str]) -> dict[str, Any]:
    """One student, trained and scored."""
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights

    words = ["--student", "local", "--kd-weight", str(weight), "--seed", str(seed), "--epochs", str(epochs)]
    began = time.perf_counter()
    try:
        shown = distill(folder, "finetune", *words)
    except subprocess.CalledProcessError as error:
        if error.returncode != 3:  # the stop audit's gate: the student is there all the same
            raise
        shown = " ".join(["distill finetune", *words])
    run = Run(folder / "soft")
    metrics, task = run.summary("finetune") or {}, read_task(run.task)
    student = open_student(trained_weights("local", "causal", run.adapter), pick("auto", "auto"), run.adapter)
    asked = [student_messages(task, text) for text in test]
    room = metrics["answer_tokens_max"] + ROOM_TOKENS
    said = dict(student.answer(asked, max_new_tokens=room, batch_size=32))
    answers = [parse_answer(task, said[at].text) for at in range(len(test))]
    right = [answer == wanted for answer, wanted in zip(answers, test.values(), strict=True)]
    return {
        "command": shown,
        "accuracy": wilson(sum(right), len(right))._asdict(),
        "right": "".join("01"[ok] for ok in right),
        "soft_targets": metrics.get("soft_targets"),
        "valid_loss": metrics["best_valid_loss"],
        "valid_exact": metrics["best_valid_exact"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def differences(arms: dict[str, Any], weights: list[float], seeds: int) -> dict[str, Any]:
    """Each weight against hard labels on the same rows, seeds averaged row by row, where all arms are."""
    found = {}
    for weight in weights:
        names = [(f"weight {weight:g}, seed {seed}", f"weight 0, seed {seed}") for seed in range(seeds)]
        if weight == 0 or any(name not in arms for pair in names for name in pair):
            continue
        mine, hard = (
            [
                sum(map(int, column)) / seeds
                for column in zip(*(arms[pair[side]]["right"] for pair in names), strict=True)
            ]
            for side in (0, 1)
        )
        found[f"weight {weight:g}"] = paired_difference(mine, hard, 0)._asdict()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--pairs", type=int, default=240)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tested", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "soft-targets")
    given = parser.parse_args()
    gold = rows_in(given.data / "sst2" / "train.jsonl", round(1.3 * given.pairs))
    test = rows_in(given.data / "sst2" / "test.jsonl", given.tested)
    result: dict[str, Any] = (
        json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"arms": {}}
    )

    def keep(**parts: Any) -> None:
        result.update(parts)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    keep(
        command=typed("soft_targets.py", data=given.data, folder=given.folder),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, no GPU",
        date=str(date.today()),
        versions=versions(),
        labelled=labelled(given.folder, given, gold),
    )
    for seed in range(given.seeds):
        for weight in given.weights:
            name = f"weight {weight:g}, seed {seed}"
            if name not in result["arms"]:
                result["arms"][name] = arm(given.folder, weight, seed, given.epochs, test)
            keep(over_hard=differences(result["arms"], given.weights, given.seeds))
            print(name, result["arms"][name]["accuracy"], flush=True)
    print(json.dumps(result["over_hard"]))


if __name__ == "__main__":
    main()
