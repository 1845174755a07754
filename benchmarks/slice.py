"""Teacher and student on a slice of a real run's gold rows, from its answers.jsonl: no model is asked.

    .venv/bin/python benchmarks/slice.py sentiment own-inputs --gold ../shared/data/sst2/test.jsonl --skip 200

Prints a JSON line a run and writes them to `benchmarks/results/slice.json`, beside those of other runs that
skip as many.
"""

import argparse
import json
from pathlib import Path

from distill.ask import student_messages
from distill.score.paired import paired_difference
from distill.store.run import Run
from distill.store.shapes import read_gold
from distill.store.taskfile import read_task
from distill.types import Pair

ROOT = Path(__file__).parent.parent


def sliced(name: str, gold: Path, skip: int) -> dict:
    run = Run(ROOT / "runs" / f"real-{name}")
    task = read_task(run.task)
    rows = read_gold(gold, task)[skip:]
    ids = [Pair.make(student_messages(task, row.input), row.output, "gold").id for row in rows]
    right = {}
    for line in run.answers.read_text().splitlines():
        answer = json.loads(line)
        if answer["split"] == "gold":
            right[answer["who"], answer["row"]] = float(answer["answer"] == answer["gold"])
    student, teacher = ([right[who, row] for row in ids] for who in ("student", "teacher"))
    difference = paired_difference(student, teacher, 0)
    shares = {"teacher": sum(teacher) / len(ids), "student": sum(student) / len(ids)}
    return {"run": name, "skip": skip, "n": len(ids), **shares, **difference._asdict()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--skip", type=int, default=0)
    given = parser.parse_args()
    result = ROOT / "benchmarks" / "results" / "slice.json"
    kept = [json.loads(line) for line in result.read_text().splitlines()] if result.exists() else []
    found = {entry["run"]: entry for entry in kept if entry["skip"] == given.skip}
    for name in given.names:
        found[name] = sliced(name, given.gold, given.skip)
        print(json.dumps(found[name]))
    result.write_text("".join(json.dumps(entry) + "\n" for entry in found.values()))


if __name__ == "__main__":
    main()
