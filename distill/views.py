"""What each step left, as tables and sentences for the terminal. Pure: summary in, renderables out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.console import Console
from distill.filters.rule import excerpt
from distill.report.renewed import lacking
from distill.store.run import STEPS, Run, Step, digest
from distill.systems import changed_since
from distill.teacher.ledger import spent
from distill.types import Task

BASES = {"gold": "gold", "construction": "written", "agreement": "agreed"}
"""Short names, for the table, of what a score rests on."""


def money(usd: float | None) -> str:
    """Dollars; an unknown price reads "unknown", never $0."""
    if usd is None:
        return "cost unknown"
    return f"${usd:.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.4f}"


def interval(row: Mapping[str, Any]) -> str:
    """ "71% (51-85)": a share with its 95% interval."""
    return f"{row['value']:.0%} ({row['low']:.0%}-{row['high']:.0%})".replace("%-", "-")


def picked(run: Run, task: Task, requests: Path | None = None) -> Sequence[Any]:
    """What was taken and where it can be edited; `requests` are those of a log that it was found in."""
    size = f", {len(task.labels)} labels" if task.labels else ""
    prompt = f"; best prompt so far: {task.prompt.name}" if task.prompt else ""
    return (
        f"Picked '{task.name}' ({task.kind}{size}{prompt}).\nEdit it: {run.task}",
        f"Next: distill generate --n 1000{f' --from-logs {requests}' if requests else ''}",
    )


def receipt_sentence(summary: Mapping[str, Any]) -> str:
    """ "400 kept of 462: 41 near_duplicates, 21 agreement; $2.13"."""
    dropped = ", ".join(f"{count:,} {rule.replace('_', ' ')}" for rule, count in summary["dropped"].items())
    kept = f"{summary['accepted']:,} kept of {summary['tried']:,}"
    return f"{kept}: {dropped or 'none dropped'}; {money(summary['cost_usd'])}"


def generated(run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """The receipt."""
    lines = [receipt_sentence(summary)]
    if summary["accepted"] < summary["asked_for"]:
        lines.append(f"The inputs ran out before the {summary['asked_for']:,} asked for.")
    if summary["by_answer"]:
        lines.append(
            "By answer: " + ", ".join(f"{count} {name}" for name, count in summary["by_answer"].items())
        )
    fair = summary["accepted"] / max(1, len(summary["by_answer"]))
    if rare := [name for name, count in summary["by_answer"].items() if count < fair / 5]:
        lines.append(
            f"Warning: hardly any row is {', '.join(rare)}: can the teacher tell? See the dropped rows."
        )
    used = "used" if summary["agreement"]["used"] else "not used"
    lines.append(f"Agreement filter {used}: {summary['agreement']['why']}.")
    if (worst := summary.get("worst_leak")) and worst["dropped"]:
        lines.append(f"Nearest to a protected row: {leak_sentence(worst)}.")
    if lift := summary.get("filter_lift"):
        lines.append(f"Filter lift: {lift_sentence(lift)}.")
    for stage, done in (("election", "chosen by vote"), ("revision", "revised")):
        if (found := summary.get(stage, {})).get("on") or "gain" in found:
            lines.append(
                f"Answers were {'' if found['on'] else 'not '}{done}: {found.get('why', 'asked for')}."
            )
    if summary.get("judge", {}).get("unscored"):
        lines.append(f"The judge gave no verdict on {summary['judge']['unscored']} answers; they were kept.")
    sizes = summary["splits"]
    near = f", {sizes['left_out']} near two splits and in none" if sizes["left_out"] else ""
    lines.append(
        f"Split: {sizes['train']} train, {sizes['valid']} valid, {sizes['test']} test (frozen){near}."
    )
    bought = f"{summary['calls']:,} teacher calls, {summary['calls_now']:,} of them now"
    lines.append(
        f"{bought}, in {summary['seconds']:.0f} s. Every dropped row with its reason: {run.candidates}"
    )
    return ("\n".join(lines), "Next: distill finetune")


def leak_sentence(worst: Mapping[str, Any]) -> str:
    """ "'the film is dull' is 93% like 'the film was dull'"."""
    return f"{excerpt(worst['input'])!r} is {worst['similarity']:.0%} like {excerpt(worst['row'])!r}"


def lift_sentence(lift: Mapping[str, Any]) -> str:
    """ "the filters pay: +4.2 points (+1.0 to +7.9); 81% right raw, 85% of the 52 kept, by gold"."""
    if lift["basis"] is None:
        return f"not measured ({lift['why']})"
    by = {"gold": "by your labelled rows", "vote": "by votes of prompts that had no part in the filter"}
    raw, kept = lift["raw"], lift["kept"]
    shares = f"{raw['value']:.0%} of {raw['n']} raw answers right"
    if kept["n"]:
        shares += f", {kept['value']:.0%} of the {kept['n']} kept"
    stages = "".join(
        f"; {stage_sentence(gain)}" for gain in lift.get("stages", ()) if gain["low"] < gain["high"]
    )
    return f"{lift['why']}; {shares}, {by[lift['basis']]}{stages}"


def stage_sentence(gain: Mapping[str, Any]) -> str:
    """ "revised answers: 85% right, 81% before (+4.0 points, +1.0 to +7.1)"."""
    diff, low, high = (f"{100 * gain[name]:+.1f}" for name in ("gain", "low", "high"))
    shares = f"{gain['after']:.0%} right, {gain['before']:.0%} before"
    return f"{gain['stage']} answers: {shares} ({diff} points, {low} to {high})"


def estimated(summary: Mapping[str, Any]) -> Sequence[Any]:
    """What a dry run says."""
    cost, calls, seconds = summary["cost_usd"], summary["calls"], summary["seconds"]
    usd = "cost unknown: give --price-in and --price-out, or --prices"
    if cost is not None:
        usd = f"{money(cost['value'])} ({money(cost['low'])} to {money(cost['high'])})"
    return (
        f"{summary['n']:,} pairs will take about {calls['value']:,.0f} calls "
        f"({calls['low']:,.0f} to {calls['high']:,.0f}), {usd}, "
        f"{duration(seconds['value'])} ({duration(seconds['low'])} to {duration(seconds['high'])}).\n"
        f"From {summary['tried']} rows tried, {summary['kept']} of them kept; {summary['calls_now']} calls "
        "made now, which the real run uses.",
        "Next: the same command without --dry-run",
    )


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def imported(run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """What the newest import brought, and what it left out."""
    newest, sizes = summary["imports"][-1], summary["splits"]
    dropped = [f"{count:,} {rule.replace('_', ' ')}" for rule, count in newest["dropped"].items()]
    shapes = ", ".join(f"{count:,} {shape}" for shape, count in newest["shapes"].items())
    lines = [
        f"{newest['accepted']:,} of {newest['tried']:,} pairs taken: {', '.join(dropped) or 'none dropped'}.",
        f"Read as: {shapes}.",
        f"Split: {sizes['train']} train, {sizes['valid']} valid, {sizes['test']} test (frozen).",
    ]
    if newest["wrote_task"]:
        lines.append(f"The run had no task; this one was written from the rows, edit it: {run.task}")
    if newest["accepted"] < newest["tried"]:
        lines.append(f"Every dropped row with its reason: {run.candidates}")
    worst = max(newest["dropped"].items(), key=lambda item: item[1], default=("", 0))
    if worst[1] > newest["tried"] / 5:
        lines.append(f"Warning: '{worst[0]}' dropped many. Look at them; --no-filters keeps them.")
    return ("\n".join(lines), "Next: distill finetune")


def exported(summary: Mapping[str, Any]) -> Sequence[Any]:
    """Where the dataset is."""
    rows = ", ".join(f"{count:,} {name}" for name, count in summary["rows"].items())
    lines = [f"Dataset ({rows}): {summary['folder']}", f'Read it: load_dataset("{summary["folder"]}")']
    return ("\n".join(lines + ([f"On the Hub: {summary['pushed']}"] if summary["pushed"] else [])),)


def number(value: float | None) -> str:
    """Four decimals, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def compared(run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """The report in the terminal."""
    from distill.report.advice import following
    from distill.report.terminal import report

    files = f"Every answer: {run.answers}\nEvery number: {run.summary_path('compare')}"
    page = f"The report, to open in a browser: {run.html}"
    return (report(summary), files, page, f"Next: {following(summary, str(run.adapter))}")


def verified(run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """That a report follows from its answers, and its verdict."""
    from distill.report.terminal import verdict_text

    told = f"Every number of {run.summary_path('compare')} follows from {run.answers}."
    return (told, verdict_text(summary))


def command(run: Run, step: str) -> str:
    """What to type for a step, with the flags that this run used for it before."""
    before = run.settings().get(step, {})
    shown = {"generate": ("n", "inputs", "seeds"), "finetune": ("student",), "compare": ("gold",)}
    defaults = {"generate": " --n 1000"}
    flags = [f"--{name} {before[name]}" for name in shown.get(step, ()) if before.get(name) is not None]
    return " ".join(["distill", step, *flags]) if flags else f"distill {step}{defaults.get(step, '')}"


def standing(run: Run) -> dict[str, Any]:
    """Where the run stands: one entry a step with its teacher calls and their cost, and what to type next."""
    steps = [step_standing(run, step) for step in STEPS]
    missing = [entry["step"] for entry in steps if entry["step"] != "explore" and entry["state"] != "done"]
    return {"run": run.name, "folder": str(run.root), "steps": steps, "next": following(run, missing)}


def following(run: Run, missing: Sequence[Step]) -> str:
    """What to type next; `missing` are the steps that are to be done."""
    from distill.report import advice

    if not run.task.exists():
        if run.tasks.exists():
            return "distill pick N"
        return 'distill explore "BRIEF", or distill pick --task FILE'
    if missing:
        return command(run, missing[0])
    return advice.following(run.summary("compare") or {}, str(run.adapter))


def step_standing(run: Run, step: Step) -> dict[str, Any]:
    """One step: done or not, its teacher calls so far and what they cost, and what it left."""
    summary, ledger = run.summary(step), run.ledger(step)
    calls, cost_usd = spent(ledger)
    what = "begun; running it again resumes" if calls else ""
    what = told(step, summary) if summary is not None else what
    state = "not done" if summary is None else "stale" if outdated(run, summary) else "done"
    if step == "compare" and (absent := lacking(summary or {})):
        what += f" Partial: {absent}; distill compare asks again."
    return {"step": step, "state": state, "calls": calls, "cost_usd": cost_usd, "what": what}


def outdated(run: Run, summary: Mapping[str, Any]) -> bool:
    """Whether the pairs, or the student, are others than those the step was made from."""
    before = summary.get("made_from", {})
    if "adapter" in before:
        return bool(changed_since(run, summary))
    now = {f"{name}.jsonl": digest(path) for name, path in run.splits.items()}
    return any(name in before and before[name] != value for name, value in now.items())


def told(step: str, summary: Mapping[str, Any]) -> str:
    """A finished step in a few words."""
    if step == "explore":
        return f"{len(summary['tasks'])} tasks scored"
    if step == "generate":
        return receipt_sentence(summary)
    if step == "finetune":
        return f"{summary['steps']} steps, validation loss {number(summary['best_valid_loss'])}"
    return str(summary["verdict"]["sentence"])


def stood(console: Console, standing: Mapping[str, Any]) -> Sequence[Any]:
    """The table of `distill status`."""
    rows = [
        (
            entry["step"],
            "-" if entry["state"] == "not done" else entry["state"],
            f"{entry['calls']:,}" if entry["calls"] else "-",
            money(entry["cost_usd"]) if entry["calls"] else "-",
            entry["what"],
        )
        for entry in standing["steps"]
    ]
    table = console.table(("step", "", "calls", "cost", "what it left"), rows, fold=4, numeric=(2, 3))
    return (f"Run '{standing['run']}' in {standing['folder']}", table, f"Next: {standing['next']}")
