"""Logs sorted by template: are the templates found (adjusted Rand index), how fast, in how much memory?

    .venv/bin/python benchmarks/logs.py --data ../shared/data

Two logs of 5,000 requests each, 8 easy templates and 9 that are hard to tell apart, with real inputs of the
train splits as variable text (without `--data`: made-up words); then sizes up to 200,000. Each is sorted in a
process of its own, whose time and peak memory are reported. Writes `benchmarks/results/logs.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from math import comb
from pathlib import Path

from measuring import typed
from traffic_log import HARD, PLAIN, real_texts, records

RESULTS = Path(__file__).parent / "results" / "logs.json"
SIZES = (12_500, 25_000, 50_000, 100_000, 200_000)
SORT = """
import json, resource, sys, time
from pathlib import Path
from distill.traffic.clusters import sort_log
from distill.types import Quiet

log, rows = map(Path, sys.argv[1:])
started = time.perf_counter()
traffic = sort_log(log, rows, lambda *_: None, Quiet())
took = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"templates": len(traffic.clusters), "noise": traffic.noise}
print(json.dumps({"seconds": round(took, 2), "peak_mib": round(peak), **found}))
"""


def adjusted_rand(one: Sequence[int], other: Sequence[int]) -> float:
    """The adjusted Rand index of two partitions (Hubert and Arabie 1985)."""
    both = sum(comb(count, 2) for count in Counter(zip(one, other, strict=True)).values())
    mine, theirs = (sum(comb(count, 2) for count in Counter(each).values()) for each in (one, other))
    by_chance = mine * theirs / comb(len(one), 2)
    return (both - by_chance) / ((mine + theirs) / 2 - by_chance)


def write(path: Path, count: int, templates: Sequence, seed: int, given: Sequence[str]) -> list[int]:
    """Write a log; returns the template of each line."""
    truth = []
    with path.open("w", encoding="utf-8") as file:
        for record, which in records(count, templates, seed=seed, given=given):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            truth.append(which)
    return truth


def sort(log: Path, rows: Path) -> dict:
    """The log sorted in a process of its own."""
    command = [sys.executable, "-c", SORT, str(log), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout)


def found_in(log: Path) -> list[int]:
    """The template that each line of the log is sorted into, -1 for noise."""
    from distill.store.logs import read_logs
    from distill.traffic.clusters import learned
    from distill.traffic.documents import document
    from distill.types import Quiet

    templates, *_ = learned(log, Quiet())
    found = (templates.of(document(entry.messages)) for entry in read_logs(log).entries)
    return [-1 if each is None else each for each in found]


def case(
    name: str, templates: Sequence, count: int, seeds: int, given: Sequence[str], folder: Path
) -> list[dict]:
    """One kind of log with several seeds."""
    out = []
    for seed in range(seeds):
        log = folder / "log.jsonl"
        truth = write(log, count, templates, seed, given)
        measured = sort(log, folder / "rows.jsonl")
        rand = adjusted_rand(truth, found_in(log))
        out.append(
            {"log": name, "seed": seed, "requests": count, "adjusted_rand": round(rand, 4), **measured}
        )
        print(out[-1], flush=True)
    return out


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="Folder of data sets whose train inputs fill the templates."
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    given = parser.parse_args()
    texts = real_texts(given.data) if given.data else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recovered = case("plain", PLAIN, 5000, given.seeds, texts, folder)
        recovered += case("hard", HARD, 5000, given.seeds, texts, folder)
        growth = []
        for size in given.sizes:
            write(folder / "log.jsonl", size, PLAIN, 0, texts)
            growth.append({"requests": size, **sort(folder / "log.jsonl", folder / "rows.jsonl")})
            print(growth[-1], flush=True)
    result = {
        "command": typed("logs.py", data=given.data),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "numpy": version("numpy"),
        "variable_text": "train inputs" if texts else "made-up words",
        "recovered": recovered,
        "growth": growth,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
