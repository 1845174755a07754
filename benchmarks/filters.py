"""The filters on planted errors (recall and precision), and on 100,000 candidates (speed and memory).

    .venv/bin/python benchmarks/filters.py --data ../shared/data

Prints two tables and writes `benchmarks/results/filters.json`. No model is asked: wrong answers are found by
a scripted reader that is right as often as `READER` says. What is planted, and where, hangs on `--seed`.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from planting import KINDS, READER, planted

from distill.config import GenerateConfig
from distill.filters.chain import Chain, on_answers, on_inputs
from distill.filters.rule import Rule
from distill.store.taskfile import read_task
from distill.types import Candidate

ROOT = Path(__file__).parent.parent
TASKS = {"sst2": "sentiment", "trec": "question-type"}
SOURCES = (*TASKS, "banking77")
SIZES = (12_500, 25_000, 50_000, 100_000)
WITH_INDEX = ("echo", "leak", "near_duplicates")
ROUNDS = 3


def rows_of(data: Path, name: str, split: str) -> list[tuple[str, str]]:
    lines = (data / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["input"], row["output"]) for row in map(json.loads, lines)]


def errors(data: Path, name: str, seed: int) -> list[dict]:
    """Recall and precision of every filter on one data set's rows with planted errors."""
    task = read_task(ROOT / "examples" / TASKS[name] / "task.toml")
    config = GenerateConfig(seed=seed)
    gold = [text for text, _ in rows_of(data, name, "test")]
    made = planted(task, rows_of(data, name, "train"), gold, random.Random(seed))
    inputs, answers = on_inputs(task, config, gold), on_answers(task, config)
    dropped: Counter[tuple[str, str]] = Counter()
    honest: dict[str, list[str]] = {}
    for kind, candidate in made:
        verdict = inputs.judge(candidate)
        # What the answer rules drop is remembered here all the same: its copies are planted too.
        if verdict.keep and (verdict := inputs.admit(candidate)).keep:
            verdict = answers.judge(candidate)
        dropped[kind, verdict.rule] += 1
        if kind == "honest" and not verdict.keep:
            honest.setdefault(verdict.rule, []).append(f"{candidate.input} | {verdict.why}")
    counts = Counter(kind for kind, _ in made)
    return [
        {"data": name, **_row(kind, rule, counts, dropped), "examples": honest.get(rule, [])[:3]}
        for kind, rule in KINDS.items()
        if counts[kind]
    ]


def _row(kind: str, rule: str, counts: Counter, dropped: Counter) -> dict:
    """`recall`: of these rows, dropped by any rule. `precision`: of what this rule dropped, planted."""
    by_rule = sum(count for (_, by), count in dropped.items() if by == rule)
    honest = dropped["honest", rule] + (dropped["wrong answer", rule] if rule != "agreement" else 0)
    return {
        "filter": rule,
        "planted": kind,
        "rows": counts[kind],
        "caught_by_it": dropped[kind, rule],
        "caught_by_any": counts[kind] - dropped[kind, ""],
        "recall": round(1 - dropped[kind, ""] / counts[kind], 4),
        "honest_rows": counts["honest"] + (counts["wrong answer"] if rule != "agreement" else 0),
        "honest_dropped": honest,
        "precision": round(1 - honest / by_rule, 4) if by_rule else None,
    }


def many(data: Path, n: int, seed: int) -> Iterator[Candidate]:
    """`n` varied inputs of about 100 characters: the head, middle and tail of three real rows."""
    rng = random.Random(seed)
    rows = [text.split() for name in SOURCES for text, _ in rows_of(data, name, "train")]
    for index in range(n):
        one, other, third = (rng.choice(rows) for _ in range(3))
        words = [*one[: len(one) // 2 + 1], *other[len(other) // 2 :], *third[:4]]
        text = " ".join(words)[:160]
        yield Candidate(index=index, input=text, answer="positive", origin="written", asked="positive")


def best(work: Callable[[], None], rounds: int = ROUNDS) -> float:
    """CPU seconds of the best of several rounds: other processes share this machine's cores."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def cheap(data: Path, seed: int, n: int = 20_000) -> dict:
    """Rows a second of each rule that keeps no index, and of all of them in a row."""
    task = read_task(ROOT / "examples" / "sentiment" / "task.toml")
    chains = (on_inputs(task, GenerateConfig()), on_answers(task, GenerateConfig()))
    rules = [rule for chain in chains for rule in chain.rules if rule.name not in WITH_INDEX]
    rows = list(many(data, n, seed))

    def asked(rules: list[Rule]) -> Callable[[], None]:
        return lambda: [rule.why(row) for row in rows for rule in rules] and None

    together = best(asked(rules))
    each = {}
    for rule in rules:
        each[rule.name] = max(each.get(rule.name, 0.0), best(asked([rule])))
    return {
        "rows": n,
        "mean_characters": round(sum(len(row.input) for row in rows) / n, 1),
        "rows_a_second_all_together": round(n / together),
        "rows_a_second_each": {name: round(n / spent) for name, spent in each.items()},
    }


def growing(data: Path, seed: int) -> dict:
    """100,000 candidates judged and accepted: CPU time as they grow, of one rule and of all."""
    task = read_task(ROOT / "examples" / "sentiment" / "task.toml")
    config = GenerateConfig(min_chars=1)
    gold = [text for text, _ in rows_of(data, "sst2", "test")]
    chain = on_inputs(task, config, gold)
    near = Chain([rule for rule in on_inputs(task, config).rules if rule.name == "near_duplicates"])
    rows = list(many(data, SIZES[-1], seed))
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent = {"near_duplicates": 0.0, "whole_chain": 0.0}
    table = []
    for row in rows:
        for name, which in (("near_duplicates", near), ("whole_chain", chain)):
            began = time.process_time()
            if which.judge(row).keep:
                which.admit(row)
            spent[name] += time.process_time() - began
            if name == "near_duplicates" and row.index == 0:
                spent[name] = 0.0  # the first one imports
        if row.index + 1 in SIZES:
            table.append({"rows": row.index + 1, **_taken(spent, row.index + 1)})
    return {
        "steps": table,
        "dropped": {"near_duplicates": near.counts.total(), "whole_chain": dict(chain.counts)},
        "peak_mb_with_two_indexes_and_all_rows": round(_peak_mb(), 1),
        "mb_before": round(before_mb, 1),
    }


def one_chain(data: Path, seed: int) -> dict:
    """The peak memory of a process that judges and accepts 100,000 candidates as generate does."""
    task = read_task(ROOT / "examples" / "sentiment" / "task.toml")
    chain = on_inputs(task, GenerateConfig(), [text for text, _ in rows_of(data, "sst2", "test")])
    kept = []
    for row in many(data, SIZES[-1], seed):
        if chain.judge(row).keep and chain.admit(row).keep:
            kept.append(row)
    return {"candidates": SIZES[-1], "kept": len(kept), "peak_mb": round(_peak_mb(), 1)}


def _taken(spent: dict[str, float], rows: int) -> dict:
    return {
        f"{name}_{what}": round(value, digits)
        for name, seconds in spent.items()
        for what, value, digits in (("cpu_s", seconds, 2), ("us_a_row", 1e6 * seconds / rows, 1))
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(part: str, given: argparse.Namespace) -> dict:
    """`part` alone in a fresh process, so that its memory is its own."""
    words = [sys.executable, __file__, "--data", str(given.data), "--seed", str(given.seed), "--part", part]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def show(found: dict) -> None:
    head = f"{'data':6} {'filter':16} {'planted':36} {'rows':>5} {'recall':>7} {'precision':>9}"
    print(f"{head} {'real rows dropped':>18}")
    for row in found["planted_errors"]:
        precision = "-" if row["precision"] is None else f"{row['precision']:.3f}"
        honest = f"{row['honest_dropped']} of {row['honest_rows']}"
        line = f"{row['data']:6} {row['filter']:16} {row['planted']:36} {row['rows']:5} {row['recall']:7.3f}"
        print(f"{line} {precision:>9} {honest:>18}")
    print(json.dumps({name: found[name] for name in ("cheap_rules", "growing", "memory")}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "filters.json")
    parser.add_argument("--part", choices=["growing", "memory"], help="print one part alone, as JSON")
    given = parser.parse_args()
    parts = {"growing": growing, "memory": one_chain}
    if given.part:
        print(json.dumps(parts[given.part](given.data, given.seed)))
        return
    found = {
        "command": "python benchmarks/filters.py --data ../shared/data",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, shared with other work",
        "cheap_rules_best_of": ROUNDS,
        "reader_right": READER,
        "planted_errors": [row for name in TASKS for row in errors(given.data, name, given.seed)],
        "cheap_rules": cheap(given.data, given.seed),
        **{part: in_a_process(part, given) for part in parts},
    }
    show(found)
    given.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
