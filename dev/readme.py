"""Writes README.md's tables: flags from config.py, numbers from benchmarks/results (`make docs`)."""

import dataclasses
import json
from pathlib import Path

from distill import config
from distill.options import flag

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "distill explore": config.ExploreConfig,
    "distill generate": config.GenerateConfig,
    "distill import": config.ImportConfig,
    "distill suspects": config.SuspectsConfig,
    "distill export-data": config.ExportConfig,
    "distill finetune": config.FinetuneConfig,
    "distill compare": config.CompareConfig,
    "distill review": config.ReviewConfig,
    "distill failures": config.FailuresConfig,
    "the teacher (explore, generate, compare)": config.TeacherConfig,
    "money (explore, generate, compare)": config.SpendConfig,
}
ARMS = {
    "distill": "**distill generate**",
    "aiohttp": "a bare aiohttp + uvloop loop, nothing kept",
    "openai": "the openai client as it comes",
    "curator": "Curator, tuned",
    "datadesigner": "NeMo DataDesigner, tuned",
}
RUNS = {
    "sentiment": "synthetic film-review sentences, scored on sst2",
    "question-type": "synthetic questions of six types, scored on trec",
    "own-inputs": "2000 unlabelled sst2 rows as `--inputs`, scored on sst2",
    "orders": "a JSON task, scored on its own test split (agreement with the teacher)",
}


def flags() -> str:
    """One Markdown table a command."""
    parts = []
    for command, kind in COMMANDS.items():
        rows = [
            f"| `{flag(field.name)}` | {default(field)} | {field.metadata['help']} |"
            for field in dataclasses.fields(kind)
        ]
        parts.append(
            "\n".join([f"**{command}**\n", "| flag | default | what it does |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def default(field: dataclasses.Field) -> str:
    """A field's default as the table has it."""
    return "" if field.default in (None, ()) else str(field.default)


def results() -> str:
    """A row a committed run."""
    headers = ("run", "pairs kept of tried", "teacher", "student", "difference (95%)", "n", "verdict")
    rows = [f"| {' | '.join(headers)} |", "|---" * len(headers) + "|"]
    for name, what in RUNS.items():
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        if path.exists():
            rows.append(result(name, what, json.loads(path.read_text())))
    return "\n".join(rows)


def result(name: str, what: str, run: dict) -> str:
    """The row of one run: its gold rows where it has some, else its test rows."""
    report, receipt = run["report"], run["receipt"]
    split = "gold" if any(score["split"] == "gold" for score in report["scores"]) else "test"
    paired = next(p for p in report["paired"] if p["split"] == split and p["b"] == "teacher")
    metric = paired["metric"]
    value = {
        score["who"]: f"{score['value']:.1%}"
        for score in report["scores"]
        if score["split"] == split and score["metric"] == metric
    }
    difference = f"{100 * paired['diff']:+.1f} ({100 * paired['low']:+.1f} to {100 * paired['high']:+.1f})"
    kept = f"{receipt['accepted']} of {receipt['tried']}"
    verdict = report["verdict"]["answer"]
    cells = [
        f"[{name}](benchmarks/results/{name}.json): {what}",
        kept,
        value["teacher"],
        f"**{value['student']}**",
    ]
    return f"| {' | '.join([*cells, difference, str(paired['n']), verdict])} |"


def lift() -> str:
    """A row a task: raw answers, the vote's choice on all rows, the kept rows."""
    found = json.loads((ROOT / "benchmarks" / "results" / "lift.json").read_text())
    rows = [
        "| task | raw answers right | chosen by vote | of the rows kept | lift (95%) |",
        "|---|---|---|---|---|",
    ]
    for name, run in found.items():
        if isinstance(run, dict):
            one = run["filter_lift"]
            low, high = 100 * one["low"], 100 * one["high"]
            cells = [name, f"{one['raw']['value']:.1%}", f"{one['chosen']['value']:.1%}"]
            cells.append(f"{one['kept']['value']:.1%} of {one['kept']['n']} of {one['n']}")
            rows.append(f"| {' | '.join(cells)} | {100 * one['diff']:+.1f} ({low:+.1f} to {high:+.1f}) |")
    return "\n".join(rows)


def scout() -> str:
    """A row a task: what explore says without gold, how far that holds, what its prompt gains with gold."""
    found = json.loads((ROOT / "benchmarks" / "results" / "explore.json").read_text())
    rows = [
        "| task | without gold | intervals that hold the truth | of those trusted | Kendall's tau "
        "| with gold: its prompt against zero-shot |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in found["tasks"].items():
        prompts, tau = task["prompts"], task["kendall_tau"]
        trusted = [row for row in prompts if row["trusted"]]
        cells = [name, task["verdict"]["standing"]]
        cells.append(f"{sum(row['covered'] for row in prompts)} of {len(prompts)}")
        cells.append(f"{sum(row['covered'] for row in trusted)} of {len(trusted)}")
        cells.append(f"{tau['tau']:.2f}" if tau else "")
        if better := task.get("improved"):
            low, high = 100 * better["low"], 100 * better["high"]
            shares = f"{better['right']:.0%} against {better['zero_shot']:.0%}"
            cells.append(f"{shares}: {100 * better['difference']:+.0f} ({low:+.0f} to {high:+.0f})")
        rows.append(f"| {' | '.join(cells)} |" if better else f"| {' | '.join([*cells, ''])} |")
    return "\n".join(rows)


def better() -> str:
    """A row a task and way of bettering answers: its gain over one plain answer, and of the rows kept."""
    found = json.loads((ROOT / "benchmarks" / "results" / "better.json").read_text())
    rows = [
        "| task | way | right | gain over one plain answer (95%) | right of the rows kept "
        "| calls an answer |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in found["tasks"].items():
        rows.append(f"| {name} | one plain answer | {task['plain']['value']:.1%} of {task['n']} | | | 1 |")
        for way, one in task["ways"].items():
            gain, kept = one["gain"], one["kept"]
            cells = [name, way, f"{one['value']:.1%}"]
            cells.append(
                f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
            )
            cells.append(f"{kept['value']:.1%} of {kept['n']}" if kept and kept["n"] else "")
            rows.append(f"| {' | '.join([*cells, format(one['calls_per_answer'], '.1f')])} |")
    return "\n".join(rows)


def speed() -> str:
    """A row an arm: wall at 64 and 512 calls in flight, CPU a call and peak memory."""
    found = json.loads((ROOT / "benchmarks" / "results" / "generate.json").read_text())
    rows = [
        "| client | seconds at 64 in flight | at 512 | CPU a call | peak memory |",
        "|---|---|---|---|---|",
        "| (ideal) | 6.25 | 0.78 | | |",
    ]
    tuned = {(row["arm"], row["in_flight"]): row for row in found["summary"] if row["calls"] == 2000}
    for name, what in ARMS.items():
        if (name, 64) in tuned and (name, 512) in tuned:
            few, many = tuned[name, 64], tuned[name, 512]
            cells = [what, f"{few['call_s']:.2f}", f"{many['call_s']:.2f}"]
            cells.append(f"{few['cpu_ms_a_call']:.2f} / {many['cpu_ms_a_call']:.2f} ms")
            rows.append(f"| {' | '.join(cells)} | {few['peak_mb']:.0f} / {many['peak_mb']:.0f} MB |")
    return "\n".join(rows)


def tuning() -> str:
    """A row an arm and setting of benchmarks/finetune.py: tokens a second, share of the peak, loss."""
    found = json.loads((ROOT / "benchmarks" / "results" / "finetune.json").read_text())
    rows = [
        "| pairs | arm | tokens/s | of the bfloat16 matmul peak | peak memory | loss off by |",
        "|---|---|---|---|---|---|",
    ]
    for setting in ("instructed", "minimal"):
        part = found.get(setting, {"summary": {}})
        for arm, row in part["summary"].items():
            share = f"{row['mfu_plain']:.0%}"
            if "mfu_executed" in row:
                share += f" ({row['mfu_executed']:.0%} executed)"
            speed = f"{row['tokens_per_s']:.0f} ({row['least']:.0f} to {row['most']:.0f})"
            if arm in part["ratios"]:
                times = part["ratios"][arm]
                speed += f"; ours {times['median']:.1f} times ({times['least']:.1f} to {times['most']:.1f})"
            name = {"distill": "**distill finetune**"}.get(arm, arm.replace("tuned", "TRL tuned", 1))
            distance = abs(part["loss_bfloat16"][arm] - part["loss_float32"]["distill"])
            off = f"{distance:.3f}" + " (inexact)" * (arm in part["inexact"])
            memory = f"{row['peak_mb'] / 1000:.1f} GB"
            rows.append(f"| {setting} | {name} | {speed} | {share} | {memory} | {off} |")
    if "wall" in found:
        wall = found["wall"]
        rows.append(
            f"\n{wall['pairs']} pairs to an adapter, one epoch, start-up included: {wall['distill_s']:.0f} s;"
            f" TRL tuned {wall['trl_s']:.0f} s ({wall['ratio']:.1f} times as long)."
        )
    return "\n".join(rows)


def sft() -> str:
    """What fine-tuning on human labels comes to, in a sentence."""
    found = json.loads((ROOT / "benchmarks" / "results" / "sft-quality.json").read_text())
    score, rows = found["accuracy"], found["rows"]
    return (
        f"SmolLM2-135M, LoRA, {rows['train']} human-labelled sst2 rows, two epochs, all else at its default:"
        f" {score['value']:.1%} of {score['n']} test rows right"
        f" ({100 * score['low']:.1f} to {100 * score['high']:.1f})."
    )


def refill() -> str:
    """A row a seed: the student before and after one round of refilling."""
    found = json.loads((ROOT / "benchmarks" / "results" / "refill.json").read_text())
    rows = [
        "| seed | misses on valid | pairs added | before | after | difference (95%) |",
        "|---|---|---|---|---|---|",
    ]
    for one in found["seeds"]:
        before, after = one["rounds"][0], one["rounds"][-1]
        misses = next(each["misses"] for each in one["sources"] if each["split"] == "valid")
        low, high = (100 * after["against_previous"][side] for side in ("low", "high"))
        difference = f"{100 * after['against_previous']['diff']:+.1f} ({low:+.1f} to {high:+.1f})"
        cells = [str(one["seed"]), str(misses), str(one["refill"]["accepted"])]
        rows.append(
            f"| {' | '.join([*cells, format(before['value'], '.1%'), format(after['value'], '.1%')])} "
            f"| {difference} |"
        )
    return "\n".join(rows)


def classifier() -> str:
    """What the installed encoder with a head comes to, a task each, in a sentence."""
    found = json.loads((ROOT / "benchmarks" / "results" / "classifier.json").read_text())
    parts = []
    for name, run in found.items():
        score, rows = run["tuned"]["accuracy"], run["metrics"]["rows"]
        between = f"{100 * score['low']:.1f} to {100 * score['high']:.1f}"
        parts.append(
            f"{name} {score['value']:.1%} of {score['n']:,} test rows ({between}) from"
            f" {rows['train']:,} + {rows['valid']:,} labelled ones"
        )
    return f"MiniLM-L6 (22M) with a head, LoRA, all else at its default: {'; '.join(parts)}."


def answering() -> str:
    """A row an arm: how fast a student answers, and how often as `generate` row by row does."""
    path = ROOT / "benchmarks" / "results" / "compare.json"
    found = json.loads(path.read_text()).get("speed") if path.exists() else None
    if found is None:
        return "(not measured yet)"
    what = f"{found['rows']} sst2 rows, {found['threads']} thread{'s' * (found['threads'] > 1)}"
    rows = [
        f"| {what} | rows/s | times as fast (by block) | same answer | peak memory |",
        "|---|---|---|---|---|",
    ]
    names = {
        "row by row": "`generate`, row by row",
        "padded batches": "`generate`, padded batches of 32",
        "generate_batch": "`generate_batch`, 32 in flight, adapter merged",
        "distill": "**distill compare**",
        "distill, labels alone": "**distill compare --answers labels**",
    }
    for arm, one in found["arms"].items():
        low, *_, high = one["times_row_by_row_by_block"]
        cells = [names[arm], f"{one['rows_per_s']:.1f}"]
        cells += [f"{one['times_row_by_row']:.1f} ({low:.1f} to {high:.1f})", f"{one['identical_share']:.1%}"]
        rows.append(f"| {' | '.join([*cells, format(one['peak_mb'], '.0f') + ' MB'])} |")
    return "\n".join(rows)


def written(readme: str) -> str:
    """The README with its tables in place."""
    for name, table in (
        ("flags", flags()),
        ("results", results()),
        ("lift", lift()),
        ("scout", scout()),
        ("better", better()),
        ("speed", speed()),
        ("sft", sft()),
        ("classifier", classifier()),
        ("refill", refill()),
        ("tuning", tuning()),
        ("answering", answering()),
    ):
        start, end = f"<!-- {name}: made by dev/readme.py -->", f"<!-- end of {name} -->"
        head, rest = readme.split(start)
        readme = f"{head}{start}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(written(path.read_text()))
