"""Finished compares, committed with their reports: the page and report.json of real runs, without their rows.

    .venv/bin/python benchmarks/real.py sentiment question-type      # makes runs/real-…
    .venv/bin/python benchmarks/compares.py runs/real-sentiment runs/real-question-type

Each run is verified (every number again from its answers); then its report.json and its page, a few short
excerpts of rows on it in place of all, go to `benchmarks/results/compare-<name>/`. Nothing is written where a
key, a path of this machine or more of the data than that stands in either.
"""

import argparse
import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from distill.report.html import EXCERPT, page_of
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.store.run import Run

RESULTS = Path(__file__).parent / "results"
EXCERPTS = 5
PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|mnt|var|opt|srv|data)/[\w./-]*")
KEYS = re.compile(r"\b(?:sk|hf|pk|gsk|xai)[-_][A-Za-z0-9_-]{16,}|\bBearer [\w.-]{16,}")
PACKAGES = ("distill", "torch", "transformers", "peft", "xllamacpp")


def inputs_of(run: Run) -> set[str]:
    """The inputs of all rows that were answered."""
    return {row["input"] for _, row in jsonl.read(run.answers, dict) if row.get("input")}


def trouble(texts: dict[str, str], inputs: set[str], excerpts: int) -> list[str]:
    """What must not be published, a line each; none where all is well."""
    found = []
    secrets = [value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN")) and value]
    for name, text in texts.items():
        found += [f"{name} names a path of this machine: {path}" for path in sorted(set(PATHS.findall(text)))]
        found += [f"{name} holds what looks like a key" for _ in KEYS.findall(text)]
        found += [f"{name} holds a secret of the environment" for value in secrets if value in text]
        # What is as short as an excerpt may stand there as one.
        long = sum(json.dumps(row, ensure_ascii=False)[1:-1] in text for row in inputs if len(row) > EXCERPT)
        short = sum(f'"input":{json.dumps(row, ensure_ascii=False)}' in text for row in inputs)
        if long:
            found.append(f"{name} holds {long} rows of the data whole")
        if short > excerpts:
            found.append(f"{name} holds {short} rows of the data; {excerpts} are allowed")
    return found


def published(run: Run, excerpts: int) -> dict[str, str]:
    """File name -> text: the report, the page and how they were made. Raises ValueError over any trouble."""
    report = verify(run)
    made = {
        "command": f"benchmarks/compares.py runs/{run.name} --excerpts {excerpts}",
        "verified": "every number follows from answers.jsonl",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
        "packages": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    texts = {
        "report.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "report.html": page_of(run, report, excerpts=excerpts),
        "made.json": json.dumps(made, indent=1) + "\n",
    }
    if found := trouble(texts, inputs_of(run), excerpts):
        raise ValueError("\n".join([f"{run.name} is not published:", *found]))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--excerpts", type=int, default=EXCERPTS, help="rows on the page, cut short; 0: none")
    given = parser.parse_args()
    for path in given.runs:
        run = Run(path)
        try:
            texts = published(run, given.excerpts)
        except ValueError as error:
            sys.exit(str(error))
        folder = RESULTS / f"compare-{run.name.removeprefix('real-')}"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        print(f"written: {folder.relative_to(RESULTS.parent.parent)}")


if __name__ == "__main__":
    main()
