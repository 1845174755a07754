"""A classifier student on human labels: trained on a train file, scored once on the test file beside it.

    .venv/bin/python benchmarks/classifier.py trec banking77

Defaults of `distill finetune --student local --student-kind classifier`; a tenth of the training rows is held
out to choose the checkpoint and to calibrate. What it finds is kept in `benchmarks/results/classifier.json`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distill.config import FinetuneConfig
from distill.score.metrics import macro_f1
from distill.score.stats import macro_f1_interval, wilson
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.store.split import split_pairs
from distill.store.taskfile import write_task
from distill.student.device import pick
from distill.student.opening import open_student, trained_weights
from distill.types import Label, Message, Pair, Quiet, Task

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "classifier.json"
BINS = 10


def pairs_in(path: Path) -> list[Pair]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Pair.make((Message("user", row["input"]),), row["output"], "gold") for row in rows]


def measure(name: str, data: Path, config: FinetuneConfig) -> dict[str, Any]:
    train, test = (pairs_in(data / name / f"{part}.jsonl") for part in ("train", "test"))
    labels = sorted({pair.answer for pair in train})
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(Path(folder), name, create=True)
        write_task(run.task, Task(name, "label", "Name it.", labels=tuple(map(Label, labels))))
        splits = split_pairs(train, valid_share=0.1, test_share=0.0, seed=0, by_answer=True)
        jsonl.replace(run.splits["train"], splits.train)
        jsonl.replace(run.splits["valid"], splits.valid)
        began = time.perf_counter()
        metrics = finetune(run, config, Quiet())
        seconds = time.perf_counter() - began
        weights = trained_weights(config.student, config.student_kind, run.adapter)
        student = open_student(weights, pick(config.device, config.dtype), run.adapter)
        size = sum(file.stat().st_size for file in run.adapter.iterdir())
        scores = {who: scored(each, test) for who, each in (("base", student.base()), ("tuned", student))}
    # Speed on a machine that others use says nothing: scores are what is kept.
    left_out = ("labels", "mfu", "matmul_peak_flops")
    shown = {key: value for key, value in metrics.items() if key not in left_out}
    return {"seconds": round(seconds, 1), "adapter_bytes": size, **scores, "metrics": shown}


def scored(student: Any, test: list[Pair]) -> dict[str, Any]:
    began = time.perf_counter()
    asked = [pair.messages for pair in test]
    found = dict(student.answer(asked, max_new_tokens=1, batch_size=32))
    seconds = time.perf_counter() - began
    answers = [found[place] for place in range(len(test))]
    said, gold = [answer.text for answer in answers], [pair.answer for pair in test]
    right = [text == wanted for text, wanted in zip(said, gold, strict=True)]
    sure = [answer.confidence for answer in answers]
    return {
        "accuracy": wilson(sum(right), len(right))._asdict(),
        "macro_f1": macro_f1_interval(said, gold, 0)._asdict()
        | {"value": macro_f1(list(zip(said, gold, strict=True)))},
        "calibration_error": calibration_error(sure, right),
        "answers_per_s": len(test) / seconds,
    }


def calibration_error(sure: list[float], right: list[bool]) -> float:
    """Expected calibration error over BINS bins of equal width (Guo et al. 2017)."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for each in zip(sure, right, strict=True):
        bins.setdefault(min(BINS - 1, int(each[0] * BINS)), []).append(each)
    gaps = (abs(sum(p for p, _ in rows) - sum(ok for _, ok in rows)) for rows in bins.values())
    return sum(gaps) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+", choices=["trec", "banking77", "sst2"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--threads", type=int, default=None, help="torch's threads; default its own")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"{given.data} is not there: the labelled data is no part of the project")
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    config = FinetuneConfig(student="local", student_kind="classifier", method=given.method)
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in given.names:
        found = measure(name, given.data, config)
        key = name if given.method == "lora" else f"{name} ({given.method})"
        results[key] = {
            "command": f"benchmarks/classifier.py {name} --method {given.method}",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, threads: {given.threads or 'all'}",
            **found,
        }
        RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, json.dumps({who: found[who]["accuracy"] for who in ("base", "tuned")}))


if __name__ == "__main__":
    main()
