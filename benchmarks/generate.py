"""Wall, CPU and memory of `distill generate` beside its peers: one run, one machine, one local server.

    .venv/bin/python benchmarks/generate.py                          # all arms: about 12 minutes
    .venv/bin/python benchmarks/generate.py --arms distill,aiohttp --rounds 1 --in-flight 64

Every arm is a process of its own that answers the same inputs, and its rows are checked against what the
server answers. `call s` is from the server's first request to its last answer, the same for every arm;
`process s` has start-up and saving too. CPU a call leaves out what the same process uses for 10 calls.
Peers run from PyPI in their own virtual environments under ~/.cache/distill-bench, made where absent; at
their defaults they are slow by design and so measured at fewer calls, once, unless `--full`. Results:
`benchmarks/results/generate.json`. Refuses to report an arm whose rows are not all there and all right.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from measuring import ARMS, DISTILL, HERE, Measured, distill, measure, python_of, server

WARM_UP_CALLS = 10
SHORTEST_INPUT = 40
FIGURES = {
    "calls": "calls",
    "call_s": "call s",
    "call_s_min": "its min",
    "ideal_s": "ideal",
    "ratio": "x ideal",
    "process_s": "process s",
    "cpu_ms_a_call": "CPU ms/call",
    "cpu_s": "CPU s",
    "start_up_cpu_s": "of it start-up",
    "peak_mb": "peak MB",
    "most_in_flight": "most in flight",
}


def read_inputs(paths: list[Path], calls: int) -> list[str]:
    """The first `calls` distinct inputs that are long enough to tell apart."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [json.loads(line)["input"].strip() for line in lines]
    found = list(dict.fromkeys(text for text in texts if len(text) >= SHORTEST_INPUT))[:calls]
    if len(found) < calls:
        sys.exit(
            f"{len(found)} inputs of {SHORTEST_INPUT} characters or more in --inputs; --calls is {calls}"
        )
    return found


def summary(done: list[Measured], warm_up: dict[str, Measured], latency_s: float) -> list[dict]:
    """A row for each arm and setting: medians over the rounds, or no figure where a round went wrong."""
    table = []
    for name, in_flight in dict.fromkeys((run.arm, run.in_flight) for run in done):
        runs = [run for run in done if (run.arm, run.in_flight) == (name, in_flight)]
        wrong = "; ".join(run.wrong for run in [warm_up[name], *runs] if run.wrong)
        found = dict.fromkeys(FIGURES) if wrong else figures(runs, warm_up[name], latency_s)
        table.append(
            {
                "arm": name,
                "in_flight": in_flight or "default",
                "rounds": len(runs),
                **found,
                "rows": wrong or "all right",
            }
        )
    return table


def figures(runs: list[Measured], warm_up: Measured, latency_s: float) -> dict:
    """What FIGURES names, of the runs of one arm at one setting."""
    calls, in_flight = runs[0].calls, runs[0].in_flight
    call_s, cpu_s = (statistics.median(getattr(run, key) for run in runs) for key in ("call_s", "cpu_s"))
    ideal_s = max(calls / in_flight, 1) * latency_s if in_flight else None
    return {
        "calls": calls,
        "call_s": round(call_s, 3),
        "call_s_min": min(run.call_s for run in runs),
        "ideal_s": ideal_s and round(ideal_s, 3),
        "ratio": ideal_s and round(call_s / ideal_s, 2),
        "process_s": round(statistics.median(run.process_s for run in runs), 3),
        "cpu_ms_a_call": round(1e3 * (cpu_s - warm_up.cpu_s) / (calls - WARM_UP_CALLS), 2),
        "cpu_s": round(cpu_s, 2),
        "start_up_cpu_s": warm_up.cpu_s,
        "peak_mb": max(run.peak_mb for run in runs),
        "most_in_flight": max(run.most_in_flight for run in runs),
    }


def bars(table: list[dict], calls: int) -> list[dict]:
    """What ours is held to, each with what it is; one whose arms were not run, or not right, is left out."""
    at = {(row["arm"], row["in_flight"]): row for row in table if row["rows"] == "all right"}
    own = {in_flight: row for (name, in_flight), row in at.items() if name == DISTILL}
    ours, tried = list(own.values()), sum(row["arm"] == DISTILL for row in table)
    found: list[tuple[str, float, float]] = []
    if tried:
        found.append(("settings with a row missing or wrong, at most", tried - len(own), 0))
    if 64 in own:
        found.append(("at 64 in flight: times the ideal, at most", own[64]["ratio"], 1.08))
    if {64, "default"} <= own.keys():
        ramp = own["default"]["call_s"] / own[64]["call_s"]
        found.append(("no flag: times the wall at 64, at most", ramp, 1.3))
    if 512 in own:
        found.append((f"at 512: seconds for {calls} calls, at most", own[512]["call_s"], 1.8 * calls / 2000))
        for peer, share in (("curator", 1 / 2), ("datadesigner", 1 / 6)):
            if (peer, 512) in at:
                part = own[512]["call_s"] / at[peer, 512]["call_s"]
                found.append((f"at 512: share of tuned {peer}'s wall, at most", part, share))
    if ours:
        found.append(("client CPU a call in ms, at most", max(row["cpu_ms_a_call"] for row in ours), 0.6))
        found.append(("peak memory in MB, at most", max(row["peak_mb"] for row in ours), 150))
    return [
        {"bar": what, "is": round(value, 2), "at_most": round(most, 2), "met": value <= most}
        for what, value, most in found
    ]


def show(table: list[dict], held: list[dict], calls: int) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {"arm": "arm", "in_flight": "in flight", **FIGURES, "rows": "rows"}
    console = Console(width=170)
    shown = Table(title=f"{calls} calls, {os.cpu_count()} cores; medians of the rounds, peaks of all")
    for key, title in columns.items():
        shown.add_column(title, justify="left" if key in ("arm", "rows") else "right")
    for row in table:
        shown.add_row(*("-" if row[key] is None else str(row[key]) for key in columns))
    console.print(shown)
    for row in table:
        if row["in_flight"] == "default" and row["calls"] and row["calls"] < calls:
            times = f"about {row['call_s'] * calls / row['calls']:.0f} s for {calls}, not measured"
            console.print(
                f"{row['arm']} at its defaults: measured at {row['calls']} calls; at that rate {times}"
            )
    for bar in held:
        mark = "met   " if bar["met"] else "MISSED"
        console.print(f"{mark} {bar['bar']} {bar['at_most']}: {bar['is']}")


def commit() -> str:
    """What is measured: the commit, with a mark where the working tree differs from it."""
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()


def versions(names: list[str]) -> dict[str, str]:
    """Package versions, each asked of the Python that runs the arm."""
    code = "import importlib.metadata as m, sys; print(*[f'{n}=={m.version(n)}' for n in sys.argv[1:]])"
    found: dict[str, str] = {}
    for name in names:
        arm = ARMS[name]
        wanted = ["distill", "aiohttp", "uvloop"]
        if arm.venv:
            lines = (HERE / "peers" / f"{arm.venv}.txt").read_text().split()
            wanted = [line.partition("==")[0] for line in lines]
        asked = [str(python_of(arm)), "-c", code, *wanted]
        found[name] = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return found


def split_by_installed(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """(arms that can be run, what is said of each that cannot be installed)."""
    left_out: dict[str, str] = {}
    for name in names:
        try:
            python_of(ARMS[name])
        except subprocess.CalledProcessError as error:
            left_out[name] = f"not installed: {error}"
            print(f"{name} is left out: {left_out[name]}", file=sys.stderr)
    return [name for name in names if name not in left_out], left_out


def run(given: argparse.Namespace, base_url: str) -> dict:
    """Every arm in turn, round after round."""
    inputs = read_inputs(given.inputs, given.calls)
    few = inputs if given.full else inputs[: given.default_calls]
    warm_up: dict[str, Measured] = {}
    names, left_out = split_by_installed(given.arms)
    for name in names:
        twice = [measure(name, base_url, inputs[:WARM_UP_CALLS], 64, given.limit_s) for _ in range(2)]
        warm_up[name] = min(twice, key=lambda measured: measured.cpu_s)
    done: list[Measured] = []
    for number in range(given.rounds):
        for in_flight in given.in_flight:
            for name in names:
                slow = ARMS[name].once or (not in_flight and name != DISTILL)
                if (slow and number) or not (in_flight or ARMS[name].defaults):
                    continue
                asked = few if not in_flight and name != DISTILL else inputs
                done.append(measure(name, base_url, asked, in_flight, given.limit_s))
                last = done[-1]
                says = f"{name} at {in_flight or 'its default'}: {last.call_s} s {last.wrong}"
                print(f"round {number + 1}, {says}", file=sys.stderr, flush=True)
    table = summary(done, warm_up, given.latency_s)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["benchmarks/generate.py", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[1]:.1f} over five minutes",
        "commit": commit(),
        "versions": versions(names),
        "left_out": left_out,
        "latency_s": given.latency_s,
        "summary": table,
        "bars": bars(table, given.calls),
        "warm_up": [asdict(measured) for measured in warm_up.values()],
        "runs": [asdict(measured) for measured in done],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    data = [HERE.parent.parent / "shared" / "data" / name / "train.jsonl" for name in ("sst2", "trec")]
    names, numbers = (lambda text: text.split(",")), (lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--arms", type=names, default=list(ARMS), help=f"of {','.join(ARMS)}")
    parser.add_argument("--in-flight", type=numbers, default=[64, 512, 0], help="0: the arm's own default")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--default-calls", type=int, default=200, help="of a peer at its defaults")
    parser.add_argument(
        "--full", action="store_true", help="peers' defaults at --calls too (10 minutes more)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-s", type=float, default=0.2)
    parser.add_argument("--limit-s", type=float, default=900.0, help="a process is killed after this")
    parser.add_argument("--inputs", type=Path, nargs="+", default=data, help="JSONL with 'input'")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "generate.json")
    given = parser.parse_args()
    if unknown := set(given.arms) - set(ARMS):
        parser.error(f"no such arm: {', '.join(sorted(unknown))}")
    if absent := [str(path) for path in given.inputs if not path.is_file()]:
        sys.exit(f"{absent[0]} is not there: the data is no part of the project; give --inputs")
    if DISTILL in given.arms and not shutil.which(distill(HERE)[0]):
        sys.exit("run this with the Python of the environment that distill is installed in")
    with server(given.latency_s) as base_url:
        result = run(given, base_url)
    show(result["summary"], result["bars"], given.calls)
    given.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit(any(measured["wrong"] for measured in result["runs"]))


if __name__ == "__main__":
    main()
