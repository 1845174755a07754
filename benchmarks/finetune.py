"""Speed of `distill finetune` on a CPU beside TRL's SFTTrainer: tokens a second, memory, wall time.

    .venv/bin/python benchmarks/finetune.py --data ../shared/data/sst2/train.jsonl                # 8 minutes
    .venv/bin/python benchmarks/finetune.py --data ../shared/data/sst2/train.jsonl --part minimal # 6 more
    .venv/bin/python benchmarks/finetune.py --data ../shared/data/sst2/train.jsonl --part wall    # 12 more

Same rows, ids, labels, LoRA matrices (r16, all linear layers), batch of 16 and tokens counted (those of the
rows, padding not, a shared start in every row). Each arm is a process of its own, the arms take turns, and
ours and TRL tuned must first give the same loss on the same 16 rows, in float32 to 1e-4, in bfloat16 to 2e-2
(each other's and the float32 one); an arm whose bfloat16 loss is further off is measured too, as inexact.
Two settings: `instructed`, pairs as distill makes them (examples/sentiment's instruction before every input),
and `minimal`, the input alone in the template's own turns. "Tuned" is the fastest of the ways in
peers/trl_sft.py, all without checkpointing, and grouped by length or packed (best fit, no row seeing
another): the two fastest in a short trial are measured in full. TRL runs from ~/.cache/distill-bench/trl on
this interpreter's torch, transformers and peft. Results: benchmarks/results/finetune.json. Refuses to
report a ratio to a "tuned" that differs in loss.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from measuring import CACHE, HERE, timed

RESULTS = HERE / "results" / "finetune.json"
OURS, DEFAULT = "distill", "TRL at its defaults"
TRIAL_STEPS, DEFAULT_STEPS = 4, 2
FINALISTS = 2
CANDIDATES = ("tuned", "tuned-eager", "tuned-weights", "tuned-packed", "tuned-packed-eager")
SETTINGS = {"instructed": "pairs as distill makes them", "minimal": "the input alone, no instruction"}
TASK = HERE.parent / "examples" / "sentiment" / "task.toml"
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
BATCH, LIMIT_S = 16, 1800.0
PAIRS, VALID = 1000, 50


def trl_python() -> Path:
    """An interpreter with TRL beside the packages of this one; made where it is not there."""
    folder, wanted = CACHE / "trl", (HERE / "peers" / "trl.txt").read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [folder / "bin" / "pip", "install", "--quiet", "--no-deps", "-r", HERE / "peers" / "trl.txt"]
        subprocess.run(pip, check=True)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def student() -> Path:
    """The embedded student as a folder of safetensors, which every arm can read."""
    folder = CACHE / "smollm2-135m"
    if not (folder / "config.json").exists():
        from distill.student import causal
        from distill.student.device import pick
        from distill.student.gguf import read_once
        from distill.weights import student_weights

        with read_once():
            model, tokenizer = causal.load(student_weights("local"), pick("cpu", "float32"))
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def pairs_of(data: Path, setting: str, count: int) -> list:
    """`count` pairs, of the first rows of `data` that differ."""
    from distill.ask import student_messages
    from distill.store.taskfile import read_task
    from distill.types import Message, Pair

    task = read_task(TASK)
    found = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    shown = {row["input"]: row["output"] for row in found}
    assert len(shown) >= count, f"{len(shown)} rows in {data}"
    return [
        Pair.make(
            student_messages(task, text) if setting == "instructed" else (Message("user", text),),
            answer,
            "given",
        )
        for text, answer in list(shown.items())[:count]
    ]


def write_rows(folder: Path, data: Path, setting: str, count: int) -> Path:
    """The pairs as ids and labels, by the product's own encoding."""
    from transformers import AutoTokenizer

    from distill.student.chat import open_chat
    from distill.student.encode import encode

    chat = open_chat(AutoTokenizer.from_pretrained(student()))
    rows = encode(chat, pairs_of(data, setting, count), 2048)
    path = folder / f"{setting}.jsonl"
    lines = [json.dumps({"id": row.id, "input_ids": row.ids, "labels": row.labels}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run_arm(arm: str, rows: Path, *more: str) -> dict:
    """One process; what it reports, and its wall time."""
    script, python = (
        ("own_finetune.py", Path(sys.executable)) if arm == OURS else ("trl_sft.py", trl_python())
    )
    with tempfile.TemporaryDirectory(prefix="bench-finetune-") as made:
        folder = Path(made)
        out = folder / "out.json"
        words = [str(python), str(HERE / "peers" / script), "--student", str(student()), "--rows", str(rows)]
        way = [] if arm == OURS else ["--way", "default" if arm == DEFAULT else arm]
        status, wall_s, _ = timed([*words, "--out", str(out), *way, *more], folder, LIMIT_S)
        if status:
            sys.exit(f"{arm}: exit {status}\n{(folder / 'log.txt').read_text(errors='replace')[-3000:]}")
        found = json.loads(out.read_text())
    print(f"{arm}: {found['tokens'] / (found['seconds'] or 1):.0f} tokens/s, {wall_s:.0f} s", file=sys.stderr)
    return {"arm": arm, "wall_s": round(wall_s, 2), **found}


def check_losses(found: list[dict], dtype: str, known: Sequence[float] = ()) -> dict[str, float]:
    """Each arm's loss on the first rows. Ends the benchmark where they and the `known` ones differ."""
    losses = {run["arm"]: run["first_loss"] for run in found}
    every = [*losses.values(), *known]
    if max(every) - min(every) > TOLERANCE[dtype]:
        sys.exit(f"the arms' losses differ in {dtype}: {losses}, {list(known)}")
    return {arm: round(loss, 6) for arm, loss in losses.items()}


def peaks() -> dict[str, float]:
    """FLOP/s of matrix products here, by arithmetic."""
    from distill.student.device import Device
    from distill.student.speed import matmul_peak

    return {name: matmul_peak(Device("cpu", name, name)) for name in ("float32", "bfloat16")}


def speed(data: Path, setting: str, rounds: int, steps: int) -> dict:
    """One setting: losses equal, the fastest TRL ways found, then the arms in turn.

    "TRL tuned" is the fastest of its ways whose loss is the float32 one, and ours, within TOLERANCE; the
    fastest of those whose loss is further off is measured too, and said to be.
    """
    with tempfile.TemporaryDirectory(prefix="bench-rows-") as made:
        rows = write_rows(Path(made), data, setting, steps * BATCH)
        exact = check_losses([run_arm(arm, rows, "--dtype", "float32") for arm in (OURS, "tuned")], "float32")
        trials = {arm: run_arm(arm, rows, "--steps", str(TRIAL_STEPS)) for arm in (OURS, *CANDIDATES)}
        same = [exact[OURS], trials.pop(OURS)["first_loss"]]
        check_losses([], "bfloat16", same)
        rates = {way: run["tokens"] / run["seconds"] for way, run in trials.items()}
        off = {way: max(abs(run["first_loss"] - loss) for loss in same) for way, run in trials.items()}
        ranked = sorted(rates, key=lambda way: -rates[way])
        finalists = [way for way in ranked if off[way] <= TOLERANCE["bfloat16"]][:FINALISTS]
        inexact = [way for way in ranked if off[way] > TOLERANCE["bfloat16"]][:1]
        at_first = [DEFAULT] if setting == "instructed" else []
        runs, measured = [], []
        for number in range(rounds):
            measured.append(peaks())
            arms = [OURS, *finalists, *inexact, *(at_first if not number else [])]
            for arm in arms if number % 2 else arms[::-1]:
                # The defaults take a minute a step or more.
                count = DEFAULT_STEPS if arm == DEFAULT else steps
                runs.append({**run_arm(arm, rows, "--steps", str(count)), "round": number})
        profile = run_arm(OURS, rows, "--profile")["profile"]
    check_losses([run for run in runs if run["arm"] in (OURS, *finalists)], "bfloat16", same[:1])
    losses = {run["arm"]: round(run["first_loss"], 6) for run in runs}
    inexact += [arm for arm in at_first if abs(losses[arm] - losses[OURS]) > TOLERANCE["bfloat16"]]
    found = summary(runs, measured)
    return {
        "rows": SETTINGS[setting],
        "steps": steps,
        "tuned": max(finalists, key=lambda way: found[way]["tokens_per_s"]),
        "inexact": inexact,
        "trials": {
            way: {"tokens_per_s": round(rates[way], 1), "loss_off_by": round(off[way], 4)} for way in ranked
        },
        "loss_float32": exact,
        "loss_bfloat16": losses,
        "peak_flops": {name: max(peak[name] for peak in measured) for name in ("float32", "bfloat16")},
        "summary": found,
        "ratios": {way: ratio(runs, way) for way in (*finalists, *inexact) if way != DEFAULT},
        "profile": profile,
        "runs": [{key: value for key, value in run.items() if key != "losses"} for run in runs],
    }


def summary(runs: list[dict], measured: list[dict]) -> dict:
    """Medians over the rounds, with the least and most."""
    best, table = max(peak["bfloat16"] for peak in measured), {}
    ours = {run["round"]: run for run in runs if run["arm"] == OURS}
    a_token = ours[0]["plain_flops"] / ours[0]["tokens"]
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run for run in runs if run["arm"] == arm]
        rates = [run["tokens"] / run["seconds"] for run in own]
        table[arm] = {
            "tokens_per_s": round(statistics.median(rates), 1),
            "least": round(min(rates), 1),
            "most": round(max(rates), 1),
            "peak_mb": round(max(run["peak_mb"] for run in own), 0),
            "mean_loss": round(statistics.mean(value for run in own for value in run["losses"]), 4),
            "mfu_plain": round(statistics.median(rates) * a_token / best, 3),
        }
    shares = [run["executed_flops"] / run["seconds"] / measured[n]["bfloat16"] for n, run in ours.items()]
    table[OURS]["mfu_executed"] = round(statistics.median(shares), 3)
    return table


def ratio(runs: list[dict], arm: str) -> dict[str, float]:
    """Our tokens a second over that arm's in the same round: median, least and most."""
    rates = {(run["arm"], run["round"]): run["tokens"] / run["seconds"] for run in runs}
    found = [rates[OURS, number] / rate for (name, number), rate in rates.items() if name == arm]
    return {
        "median": round(statistics.median(found), 2),
        "least": round(min(found), 2),
        "most": round(max(found), 2),
    }


def wall(data: Path) -> dict:
    """Seconds from 1000 pairs to a saved adapter, one epoch, start-up included."""
    with tempfile.TemporaryDirectory(prefix="bench-wall-") as made:
        folder = Path(made)
        program = [str(Path(sys.executable).parent / "distill"), "--runs-dir", str(folder), "--run", "bench"]
        pairs = folder / "pairs.jsonl"
        found = [(pair.input, pair.answer) for pair in pairs_of(data, "instructed", PAIRS + VALID)]
        pairs.write_text(
            "".join(json.dumps({"input": text, "output": answer}) + "\n" for text, answer in found)
        )
        kept = ["--no-filters", "--valid-share", str(VALID / (PAIRS + VALID)), "--test-share", "0"]
        subprocess.run(
            [*program, "import", str(pairs), *kept, "--task", str(TASK)], check=True, capture_output=True
        )
        count = len((folder / "bench" / "2-generate" / "train.jsonl").read_text().splitlines())
        assert count == PAIRS, f"{count} pairs to train on"
        words = [*program, "finetune", "--student", str(student()), "--epochs", "1", "--lora-rank", "16"]
        status, ours_s, usage = timed(words, folder, LIMIT_S)
        log = (folder / "log.txt").read_text(errors="replace")
        adapter = folder / "bench" / "3-finetune" / "adapter" / "adapter_model.safetensors"
        if status not in (0, 3) or not adapter.exists():
            sys.exit(f"distill finetune: exit {status}\n{log[-3000:]}")
        metrics = json.loads((folder / "bench" / "3-finetune" / "metrics.json").read_text())
        tuned = json.loads(RESULTS.read_text())["instructed"]["tuned"]
        rows = write_rows(folder, data, "instructed", PAIRS)
        theirs = run_arm(tuned, rows, "--save", str(folder / "trl"))
    return {
        "pairs": PAIRS,
        "epochs": 1,
        "distill_s": round(ours_s, 1),
        "distill_exit": status,
        "distill_peak_mb": round(usage.ru_maxrss / 1024),
        "distill_train_s": round(metrics["train_seconds"], 1),
        "distill_does_more": f"{VALID} validation pairs, mask proof, best weights, stop audit",
        "trl": tuned,
        "trl_s": theirs["wall_s"],
        "trl_peak_mb": round(theirs["peak_mb"]),
        "ratio": round(theirs["wall_s"] / ours_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="rows with input and output, as JSONL")
    parser.add_argument("--part", choices=[*SETTINGS, "wall"], default="instructed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    packages = ("torch", "transformers", "peft", "accelerate")
    found |= {
        "command": f"benchmarks/finetune.py --data .../{asked.data.parent.name}/{asked.data.name}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, bfloat16 by AVX-512",
        "student": "SmolLM2-135M-Instruct, LoRA r16 on all linear layers, batch 16",
        "versions": {name: version(name) for name in packages}
        | {"trl": (HERE / "peers" / "trl.txt").read_text().strip().partition("==")[2]},
    }
    is_wall = asked.part == "wall"
    found[asked.part] = (
        wall(asked.data) if is_wall else speed(asked.data, asked.part, asked.rounds, asked.steps)
    )
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shown = {key: value for key, value in found[asked.part].items() if key != "runs"}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
