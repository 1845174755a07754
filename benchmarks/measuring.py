"""An arm of the benchmark as a process: what is typed, what it takes and uses, whether its rows are right.

Refuses to import anything heavy: a child's peak memory, as the kernel counts it, starts at its parent's.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.arm import ANSWER_TOKENS, INSTRUCTION, MODEL, PROMPT_TOKENS, label_of

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "distill-bench"
DISTILL = "distill"
PRICE_IN, PRICE_OUT = 0.15, 0.6
TASK = f"""
name = "sentiment"
kind = "label"
instruction = "{INSTRUCTION}"
input_noun = "sentence from a film review"
language = "en"
labels = [{{ name = "positive" }}, {{ name = "negative" }}]
prompt = {{ name = "zero-shot", score = 0.9, low = 0.8, high = 0.95, n = 72 }}
"""


def typed(script: str, **folders: Path) -> str:
    """What was typed, with NAME in place of each of the `folders`: a result names no machine's paths."""
    words = " ".join([f"benchmarks/{script}", *sys.argv[1:]])
    for name, folder in folders.items():
        words = words.replace(str(folder), name.upper())
    return words


@dataclass(frozen=True)
class Arm:
    """A way to answer the inputs: a script of peers/, and the environment that runs it ("": this one).

    `defaults`: it can be run without a word on concurrency. `once`: too slow for more than one round.
    """

    script: str
    venv: str = ""
    defaults: bool = False
    once: bool = False


ARMS = {
    "aiohttp": Arm("aiohttp_loop.py"),
    "openai": Arm("openai_client.py", "openai"),
    "httpx": Arm("httpx_client.py", "openai", once=True),
    DISTILL: Arm("", defaults=True),
    "curator": Arm("curator.py", "curator", defaults=True),
    "datadesigner": Arm("datadesigner.py", "datadesigner", defaults=True),
}


@dataclass(frozen=True)
class Measured:
    """One process; `in_flight` 0 is the arm's own default. Times in seconds."""

    arm: str
    in_flight: int
    calls: int
    call_s: float
    process_s: float
    cpu_s: float
    peak_mb: float
    most_in_flight: int
    server_cpu_s: float
    wrong: str = ""


@contextmanager
def server(latency_s: float) -> Iterator[str]:
    """The base URL of a server that answers after `latency_s`."""
    command = [sys.executable, str(HERE / "latency_server.py"), "--latency-s", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ask_server(base_url: str, what: str) -> dict:
    root = base_url.removesuffix("/v1")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{root}/{what}", data=b"" if what == "reset" else None) as answer:
        return json.load(answer)


def python_of(arm: Arm) -> Path:
    """The interpreter that has the arm's packages; makes its virtual environment where it is not there."""
    if not arm.venv:
        return Path(sys.executable)
    folder, wanted = CACHE / arm.venv, (HERE / "peers" / f"{arm.venv}.txt").read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {wanted.split()} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        requirements = str(HERE / "peers" / f"{arm.venv}.txt")
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "-r", requirements], check=True)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def command(name: str, base_url: str, folder: Path, in_flight: int, calls: int) -> list[str]:
    """What a user would type, and for a peer the script that stands for it."""
    inputs = str(folder / "inputs.jsonl")
    if name != DISTILL:
        words = ["--base-url", base_url, "--inputs", inputs, "--out", str(folder / "rows.jsonl")]
        script = str(HERE / "peers" / ARMS[name].script)
        return [str(python_of(ARMS[name])), script, *words, "--in-flight", str(in_flight)]
    words = ["--teacher", MODEL, "--base-url", base_url, "--inputs", inputs, "--n", str(calls)]
    prices = ["--price-in", str(PRICE_IN), "--price-out", str(PRICE_OUT)]
    limit = ["--max-concurrency", str(in_flight)] if in_flight else []
    return [*distill(folder), "generate", *words, "--samples", "1", *prices, *limit]


def distill(folder: Path) -> list[str]:
    return [
        str(Path(sys.executable).parent / "distill"),
        "--runs-dir",
        str(folder / "runs"),
        "--run",
        "bench",
    ]


def rows(name: str, folder: Path) -> list[tuple[str, str]]:
    """The (input, answer) rows the arm left."""
    path = folder / ("runs/bench/2-generate/pairs.jsonl" if name == DISTILL else "rows.jsonl")
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if name == DISTILL:
        return [(record["messages"][-1]["content"], record["answer"]) for record in records]
    return [(record["input"], record["answer"]) for record in records]


def complaint(found: list[tuple[str, str]], inputs: list[str], calls: int) -> str:
    """What is wrong with the rows, or "": one a row, each with the server's answer, each call paid once."""
    right = {(text, label_of(text)) for text in inputs}
    if len(found) != len(inputs) or set(found) != right:
        return f"{len(found)} rows of {len(inputs)}, {len(set(found) & right)} right"
    return "" if calls == len(inputs) else f"{calls} calls for {len(inputs)} rows"


def books(folder: Path, calls: int) -> str:
    """What is wrong with our ledger and cost, or "": a line and its price for every call."""
    step = folder / "runs" / "bench" / "2-generate"
    lines = sum(1 for _ in (step / "calls.jsonl").open("rb"))
    cost_usd = json.loads((step / "receipt.json").read_text())["cost_usd"] or 0.0
    due = calls * (PROMPT_TOKENS * PRICE_IN + ANSWER_TOKENS * PRICE_OUT) / 1e6
    if lines == calls and abs(cost_usd - due) < 1e-9 * calls:
        return ""
    return f"{lines} lines in the ledger and ${cost_usd:.6f} for {calls} calls, which cost ${due:.6f}"


def measure(name: str, base_url: str, inputs: list[str], in_flight: int, limit_s: float) -> Measured:
    """Run the arm on `inputs` once, in a new folder."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as made:
        folder = Path(made)
        lines = [json.dumps({"input": text}, ensure_ascii=False) for text in inputs]
        (folder / "inputs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if name == DISTILL:
            (folder / "task.toml").write_text(TASK)
            pick = [*distill(folder), "pick", "--task", str(folder / "task.toml")]
            subprocess.run(pick, check=True, capture_output=True)
        words = command(name, base_url, folder, in_flight, len(inputs))
        ask_server(base_url, "reset")
        status, process_s, usage = timed(words, folder, limit_s)
        counted = ask_server(base_url, "count")
        wrong = complaint(rows(name, folder), inputs, counted["calls"])
        if name == DISTILL and not (status or wrong):
            wrong = books(folder, counted["calls"])
        if status or wrong:
            print((folder / "log.txt").read_text(errors="replace")[-3000:], file=sys.stderr)
        return Measured(
            arm=name,
            in_flight=in_flight,
            calls=counted["calls"],
            call_s=round(counted["last_s"] - counted["first_s"], 3),
            process_s=round(process_s, 3),
            cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
            peak_mb=round(usage.ru_maxrss / 1024, 1),
            most_in_flight=counted["most_in_flight"],
            server_cpu_s=round(counted["cpu_s"], 3),
            wrong=f"exit {status}; {wrong}" if status else wrong,
        )


def timed(words: list[str], folder: Path, limit_s: float) -> tuple[int, float, "os.struct_rusage"]:
    """(exit status, wall seconds, what the process and its children used), killed after `limit_s`."""
    home = CACHE / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "OPENAI_API_KEY": "none"}
    with (folder / "log.txt").open("wb") as log:
        started = time.monotonic()
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)
        killer = threading.Timer(limit_s, process.kill)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, wall_s, usage
