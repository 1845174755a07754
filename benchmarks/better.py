"""Better answers: do a vote, a judge's best of several and a round of revision pay, task by task?

    .venv/bin/python benchmarks/better.py sst2 trec banking worked gsm8k

Every way of bettering an answer that `generate` has is put to the same rows with a known answer, through
generate's own `Answering`, with the embedded teacher; what it gains over one plain answer is a paired
difference with its 95% interval, what it costs is counted in calls. Written to
`benchmarks/results/better.json`, also where it is zero or below. All calls of one task share a ledger, so a
second run asks nothing again.
"""

import argparse
import asyncio
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import msgspec

from distill.answering import Answering
from distill.config import GenerateConfig, TeacherConfig
from distill.filters.agreement import agreement
from distill.filters.chain import on_answers
from distill.preparing import settle_prompt
from distill.score.paired import paired_difference
from distill.score.same import same
from distill.score.stats import wilson
from distill.store.run import Run
from distill.store.taskfile import read_task, write_task
from distill.teacher.ledgered import Ledgered
from distill.teacher.opening import open_teacher
from distill.types import Candidate, Completion, Example, Label, Quiet, Request, Task

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "better.json"
PLAIN = GenerateConfig(
    judge="off", revise="off", agreement="off", elect="off", samples=1, max_answer_tokens=160
)
WAYS = {
    "vote of 3": replace(PLAIN, samples=3, elect="on"),
    "vote of 5": replace(PLAIN, samples=5, elect="on"),
    "3 votes that only filter": replace(PLAIN, samples=3),
    "judge's best of 3": replace(PLAIN, samples=3, best_of=3, judge="on"),
    "revision": replace(PLAIN, revise="on"),
}
BANKING_LABELS = 10


def rows_of(data: Path, name: str, split: str) -> list[dict]:
    return [json.loads(line) for line in (data / name / f"{split}.jsonl").open(encoding="utf-8")]


def task_and_rows(name: str, data: Path) -> tuple[Task, list[Example]]:
    """The task, and its distinct rows in a fixed random order."""
    if name in ("sst2", "trec"):
        folder = {"sst2": "sentiment", "trec": "question-type"}[name]
        task = read_task(ROOT / "examples" / folder / "task.toml")
        rows = [Example(row["input"], row["output"]) for row in rows_of(data, name, "train")]
    elif name == "banking":
        found = rows_of(data, "banking77", "train")
        labels = sorted({row["output"] for row in found})[:BANKING_LABELS]
        task = Task(
            "banking",
            "label",
            "Say what a customer of a bank asks about.",
            input_noun="customer message",
            labels=tuple(Label(label) for label in labels),
        )
        rows = [Example(row["input"], row["output"]) for row in found if row["output"] in labels]
    elif name == "worked":
        task = Task(
            "final-number",
            "text",
            "Read the worked solution and give the number it ends with, and nothing else.",
            input_noun="worked solution",
            verify="number",
        )
        rows = [Example(worked(row["rationale"]), row["output"]) for row in rows_of(data, "gsm8k", "test")]
        rows = [row for row in rows if len(row.input) <= 300]
        task, rows = msgspec.structs.replace(task, examples=tuple(rows[:4])), rows[4:]
    else:
        task = Task(
            "word-problem",
            "text",
            "Solve the word problem and give the final number.",
            input_noun="word problem",
            verify="number",
        )
        rows = [Example(row["input"], row["output"]) for row in rows_of(data, "gsm8k", "test")]
        task, rows = msgspec.structs.replace(task, examples=tuple(rows[:4])), rows[4:]
    unique = list({row.input: row for row in rows if len(row.input) <= 900}.values())
    return task, random.Random(0).sample(unique, len(unique))


def worked(rationale: str) -> str:
    """A worked solution without its marks: "<<1+1=2>>" and the line "#### 2"."""
    return " ".join(re.sub(r"<<[^>]*>>|####.*", "", rationale).split())


async def measure(name: str, data: Path, folder: Path, count: int) -> dict:
    run = Run.open(folder, name, create=True)
    task, rows = task_and_rows(name, data)
    seeds, known = rows[:80], rows[80 : 80 + count]
    if not run.task.exists():
        write_task(run.task, task)
    teacher = open_teacher(TeacherConfig(teacher="local"), run, "generate")
    try:
        # Few-shot examples and the race of prompts are of other rows than those that are measured.
        task = await settle_prompt(run, read_task(run.task), PLAIN, teacher, Quiet(), seeds)
        found = {"prompt": msgspec.to_builtins(task.prompt), "n": len(known)}
        plain, *_ = await answered(task, PLAIN, teacher, seeds, known)
        found["plain"] = wilson(sum(plain), len(plain))._asdict()
        found["ways"] = {}
        for way, config in ways(task):
            right, backed, more = await answered(task, config, teacher, seeds, known)
            gain = paired_difference(right, plain, seed=0)
            kept = [mark for mark, enough in zip(right, backed, strict=True) if enough]
            found["ways"][way] = {
                "value": sum(right) / len(right),
                "gain": gain._asdict(),
                "kept": wilson(int(sum(kept)), len(kept))._asdict() if config.samples > 1 else None,
                "calls_per_answer": round(more / len(known), 2),
                "pays": gain.low > 0,
            }
            value = found["ways"][way]["value"]
            print(f"{name}: {way}: {value:.3f} against {found['plain']['value']:.3f}", flush=True)
    finally:
        await teacher.close()
    return found


def ways(task: Task) -> Iterator[tuple[str, GenerateConfig]]:
    """Those that the task's kind has: a judge chooses among free answers alone."""
    for way, config in WAYS.items():
        if config.best_of is None or not task.labels:
            yield way, config


async def answered(
    task: Task, config: GenerateConfig, teacher: Ledgered, shots: list[Example], rows: list[Example]
) -> tuple[list[float], list[bool], int]:
    """(1.0 for each row whose answer is right, else 0.0; whether it has the votes asked for; calls).

    Calls that the ledger answers are counted too.
    """
    counting = Counting(teacher)
    answering = Answering(task, config, counting, shots, on_answers(task, config))

    async def one(place: int) -> tuple[float, bool]:
        row = rows[place]
        candidate = Candidate(index=place, input=row.input, answer="", origin="known")
        # What a judge says against an answer drops it; here it only chooses.
        candidate = await answering.answer(candidate)
        backed = agreement(config.min_agreement)(candidate).keep
        return float(same(task, row.output, candidate.answer or None)), bool(candidate.answer) and backed

    right, backed = zip(*await asyncio.gather(*(one(place) for place in range(len(rows)))), strict=True)
    return list(right), list(backed), counting.calls


class Counting:
    """A teacher that counts what it is asked."""

    def __init__(self, teacher: Ledgered) -> None:
        self.teacher, self.calls = teacher, 0
        self.model, self.identity = teacher.model, teacher.identity

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        self.calls += 1
        return await self.teacher.complete(request, sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["sst2", "trec", "banking", "worked", "gsm8k"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "better")
    parser.add_argument("--rows", type=int, default=150)
    options = parser.parse_args()
    for name in options.names:
        found = asyncio.run(measure(name, options.data, options.folder, options.rows))
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
        results["tasks"][name] = found
        results["command"] = f"python benchmarks/better.py {name} --rows {options.rows}"
        results["machine"] = f"{os.cpu_count()} cores, no GPU, embedded SmolLM2-135M; {date.today()}"
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
