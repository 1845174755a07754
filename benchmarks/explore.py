"""Does the scout know what the teacher can do? Its estimate without gold against human labels, by prompt.

    .venv/bin/python benchmarks/explore.py --only sst2           # resumes; --seconds 300 stops it on the way
    .venv/bin/python benchmarks/explore.py --only sst2 trec banking77-10 gsm8k

With the embedded teacher and a task described in a sentence, for each task:
(a) `scout` without gold, and the same measurement for further prompts of the menu; then each prompt on
    `--rows` gold rows the scout never saw: does the interval hold the truth, is their order the same;
(b) `scout` with gold *train* rows, 400 calls: does its prompt beat zero-shot on the same held-out gold rows,
    and do the intervals of its finalists hold what those rows say;
(c) the verdict: sums that so small a teacher cannot do must come out poor.
Answers are kept in `runs/explore/`; each task's results go to `benchmarks/results/explore.json`. `--split
train` is for trying things out: its results go to standard output alone.
"""

import argparse
import asyncio
import json
import os
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

import msgspec
from scipy.stats import kendalltau

from distill import auditing, deciding
from distill.config import ExploreConfig, TeacherConfig
from distill.errors import Interrupted
from distill.probing import try_prompt
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.scouted import Probe, Scouted, Trial
from distill.scouting import ANSWER_TOKENS, scout
from distill.store.run import Run
from distill.teacher.opening import open_teacher
from distill.types import Example, Label, PromptChoice, Quiet, Task

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "explore.json"
PROMPTS = ("zero-shot", "role", "few-shot-2", "few-shot-2-turned", "bare-2-turned", "cued-2")
"""Measured beside the scout's finalists, in this order, until there are MOST_PROMPTS."""
MOST_PROMPTS, GOLD_ROWS, LONGEST = 6, 160, 400
SENTENCES = {
    "sst2": (
        "Decide whether a sentence from a film review is positive or negative.",
        "sentence from a film review",
    ),
    "trec": ("Decide what type of answer a question asks for.", "question"),
    "banking77-10": ("Decide what a bank customer's message is about.", "bank customer's message"),
    "banking77-dev": ("Decide what a bank customer's message is about.", "bank customer's message"),
    "gsm8k": (
        "Solve a grade-school maths word problem and give the result as a number.",
        "maths word problem",
    ),
}
EVERY = {"banking77-10": 0, "banking77-dev": 4}
"""Ten of banking77's labels: every eighth in alphabetical order, from this one on."""


def records(path: Path) -> list[dict]:
    """The lines of a file; none where it is not there (gsm8k has no train rows)."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rows_of(name: str, data: Path, split: str) -> list[Example]:
    """The gold rows of one split, in the file's order, in the task's labels."""
    rows = records(data / name.partition("-")[0] / f"{split}.jsonl")
    names = set(labels_of(name, data))
    found = {
        row["input"]: Example(row["input"], row["output"]) for row in rows if len(row["input"]) <= LONGEST
    }
    return [row for row in found.values() if not names or row.output in names]


def labels_of(name: str, data: Path) -> list[str]:
    """The label names, of the train rows; none for sums."""
    if name == "gsm8k":
        return []
    rows = records(data / name.partition("-")[0] / "train.jsonl")
    found = sorted({row["output"] for row in rows})
    return found[EVERY[name] :: 8][:10] if name in EVERY else found


def task_of(name: str, data: Path) -> Task:
    """The task as a user would say it: a sentence, and the names of the labels."""
    instruction, noun = SENTENCES[name]
    labels = tuple(Label(label) for label in labels_of(name, data))
    if not labels:
        return Task(name, "text", instruction, noun, verify="number")
    return Task(name, "label", instruction, noun, labels=labels)


async def measured(task: Task, teacher: object, way: PromptChoice, probes: list[Probe]) -> Trial:
    return await try_prompt(task, teacher, way, probes, max_tokens=ANSWER_TOKENS[task.kind], progress=Quiet())


async def without_gold(found: Scouted, teacher: object) -> list[Trial]:
    """The scout's finalists as it has them, and further prompts of the menu, measured as it measures."""
    task, probes = msgspec.structs.replace(found.task, prompt=None), found.probes[: found.held_out]
    decided = [trial for trial in found.trials if not trial.tuning]
    if not task.labels:
        return decided
    others = [PromptChoice(name) for name in PROMPTS]
    new = [way for way in others if way not in {trial.way for trial in decided}][
        : MOST_PROMPTS - len(decided)
    ]
    trials = [await measured(task, teacher, way, probes) for way in new]
    config = ExploreConfig()
    stop = deciding.Stop(config.ok, config.good, config.probes, deciding.FINALISTS)
    audited = auditing.audit([(probes, decided)])
    return [*decided, *(deciding.widened(trial, audited, probes, stop) for trial in trials)]


def line(estimate: Trial, truth: Trial) -> dict:
    interval = wilson(truth.right, truth.n)
    return {
        "prompt": estimate.title,
        "estimate": round(estimate.value, 3),
        "low": round(estimate.low, 3),
        "high": round(estimate.high, 3),
        "probes": estimate.n,
        "trusted": estimate.trusted,
        "truth": round(truth.value, 3),
        "truth_low": round(interval.low, 3),
        "truth_high": round(interval.high, 3),
        "gold_rows": truth.n,
        "covered": estimate.low <= truth.value <= estimate.high,
    }


async def study(name: str, options: argparse.Namespace, teacher: object, split: str) -> dict:
    """Everything about one task."""
    task = task_of(name, options.data)
    held = rows_of(name, options.data, split)
    shaping = [] if name == "gsm8k" else rows_of(name, options.data, "train")[:GOLD_ROWS]
    rows = [row for row in held if row not in shaping][: options.rows if task.labels else options.sums]
    gold = [Probe(row.input, row.output, gold=True) for row in rows]
    config = ExploreConfig(calls=options.calls, probes=options.probes)
    found = await scout(task, config, teacher, Quiet())
    print(f"{name}: {found.standing} ({found.calls} calls): {found.reason}", flush=True)
    bare = msgspec.structs.replace(found.task, prompt=None)
    table = []
    for trial in await without_gold(found, teacher):
        table.append(line(trial, await measured(bare, teacher, trial.way, gold)))
        print("  ", table[-1], flush=True)
    result = {
        "instruction": task.instruction,
        "labels": list(task.label_names),
        "split": split,
        "verdict": {"standing": found.standing, "trusted": found.trusted, "reason": found.reason},
        "calls": found.calls,
        "prompts": table,
        "kendall_tau": tau(table),
    }
    if shaping:
        result["improved"] = await improved(task, config, shaping, gold, teacher)
    return result


def tau(table: list[dict]) -> dict | None:
    """Kendall's tau-b of the estimates' order and the truth's; None where there are not three prompts."""
    if len(table) < 3:
        return None
    found = kendalltau([row["estimate"] for row in table], [row["truth"] for row in table])
    return {
        "tau": round(float(found.statistic), 3),
        "p": round(float(found.pvalue), 4),
        "prompts": len(table),
    }


async def improved(
    task: Task, config: ExploreConfig, shaping: list[Example], gold: list[Probe], teacher: object
) -> dict:
    """The prompt that 400 calls and train rows find, against zero-shot, on held-out gold."""
    found = await scout(task, config, teacher, Quiet(), gold=shaping)
    bare = msgspec.structs.replace(found.task, prompt=None)
    best = await measured(bare, teacher, found.trials[0].way, gold)
    zero = await measured(bare, teacher, PromptChoice("zero-shot"), gold)
    difference = paired_difference(
        [float(mark) for mark in best.marks], [float(mark) for mark in zero.marks], 0
    )
    finalists = [trial for trial in found.trials if not trial.tuning]
    result = {
        "prompt": found.trials[0].title,
        "calls": found.calls,
        "train_rows": len(shaping),
        "finalists": [line(trial, await measured(bare, teacher, trial.way, gold)) for trial in finalists],
        "right": round(best.value, 3),
        "zero_shot": round(zero.value, 3),
        "difference": round(difference.value, 3),
        "low": round(difference.low, 3),
        "high": round(difference.high, 3),
        "gold_rows": len(gold),
        "beats_zero_shot": difference.low > 0,
    }
    print("  ", result, flush=True)
    return result


def overall(results: dict) -> dict:
    """What the issue asks, over all tasks there are."""
    rows = [row for task in results["tasks"].values() for row in task["prompts"]]
    with_gold = [
        row for task in results["tasks"].values() for row in task.get("improved", {}).get("finalists", [])
    ]
    trusted = [row for row in rows if row["trusted"]]
    taus = [task["kendall_tau"]["tau"] for task in results["tasks"].values() if task["kendall_tau"]]
    return {
        "rows": len(rows),
        "covered": sum(row["covered"] for row in rows),
        "trusted_rows": len(trusted),
        "trusted_covered": sum(row["covered"] for row in trusted),
        "with_gold_rows": len(with_gold),
        "with_gold_covered": sum(row["covered"] for row in with_gold),
        "mean_kendall_tau": round(sum(taus) / len(taus), 3) if taus else None,
        "beats_zero_shot": [
            name for name, task in results["tasks"].items() if task.get("improved", {}).get("beats_zero_shot")
        ],
        "gsm8k": results["tasks"].get("gsm8k", {}).get("verdict", {}).get("standing"),
    }


async def work(name: str, options: argparse.Namespace) -> dict:
    run = Run.open(ROOT / "runs" / "explore", f"{name}-{options.split}", create=True)
    teacher = open_teacher(TeacherConfig(), run, "explore")
    asyncio.get_running_loop().call_later(options.seconds, teacher.stop)
    try:
        return await study(name, options, teacher, options.split)
    finally:
        print(f"{name}: {teacher.bought} calls bought, {teacher.reused} known", flush=True)
        await teacher.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="*", default=["sst2", "trec", "banking77-10", "gsm8k"], choices=SENTENCES
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--rows", type=int, default=120, help="gold rows a prompt is scored on")
    parser.add_argument("--sums", type=int, default=30, help="the same for gsm8k")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--probes", type=int, default=80)
    parser.add_argument(
        "--seconds", type=float, default=1e6, help="stop after so long; the same command resumes"
    )
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
    for name in options.only:
        try:
            found = asyncio.run(work(name, options))
        except Interrupted:
            sys.exit(f"{name}: stopped; the same command goes on")
        results["tasks"][name] = found
        results["overall"] = overall(results)
        names = " ".join(results["tasks"])
        results["command"] = (
            f"python benchmarks/explore.py --only {names} --rows {options.rows} --sums {options.sums}"
        )
        results["machine"] = f"{os.cpu_count()} cores, no GPU, embedded SmolLM2-135M-Instruct (Q4_1)"
        results["date"] = str(date.today())
        results["versions"] = {package: version(package) for package in ("xllamacpp", "scipy")}
        if options.split == "test":
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        else:
            print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
