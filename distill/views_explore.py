"""What explore left: the ranked table, the log in numbers, one task with its probes. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from distill.console import Console
from distill.report import words
from distill.report.scouting import counted, one_line
from distill.score.distillability import MEANING, by
from distill.store.run import Run

BASES = {"gold": "gold", "construction": "written", "agreement": "agreed"}
"""Short names, for the table, of what a score rests on."""
SORTS = ("distillability", "score", "cost", "volume")
SHOWN_PROBES = 40
SHOWN_OF_A_TASK = 40
TEXT_COLUMNS = ("task", "kind", "is", "teacher (95%)", "from")
Row = Mapping[str, Any]


def ordered(summary: Mapping[str, Any], sort: str) -> list[dict[str, Any]]:
    """The rows by what `--sort` says, with the numbers `pick` takes; "score" is the order of the numbers."""
    rows = list(summary["tasks"])
    return rows if sort == "score" else sorted(rows, key=lambda row: -by(sort, row))


def default_sort(summary: Mapping[str, Any]) -> str:
    """By distillability where a log says what each task costs, else by how well it is done."""
    return "distillability" if any(row.get("traffic") for row in summary["tasks"]) else "score"


def explored(console: Console, run: Run, summary: Mapping[str, Any], sort: str) -> Sequence[Any]:
    """The ranked table, why each task stands where it does, and what was left out."""
    rows = ordered(summary, sort)
    columns = {
        "#": [str(row["number"]) for row in rows],
        "task": [named(row) for row in rows],
        "kind": [row["kind"] for row in rows],
        "is": [row["standing"] for row in rows],
        "teacher (95%)": [interval(row) if row["n"] else "-" for row in rows],
        "from": [BASES[row["basis"]] if row["n"] else "-" for row in rows],
        "student": [share(row.get("base")) for row in rows],
        "worth": [number((row.get("terms") or {}).get("value")) for row in rows],
    }
    if any(row.get("traffic") for row in rows):
        # 80 columns hold no more: the kind is told by --show, what all scores rest on by the legend.
        columns.pop("kind")
        columns |= cost_column(rows)
        if len(set(columns["from"])) == 1:
            columns.pop("from")
    numeric = [place for place, name in enumerate(columns) if name not in TEXT_COLUMNS]
    cells = list(zip(*columns.values(), strict=True))
    table = console.table(list(columns), cells, fold=1, numeric=numeric)
    bases = dict.fromkeys((row["basis"], row["trust"]) for row in rows if row["n"])
    legend = [f"from {BASES[basis]}: {trust}" for basis, trust in bases]
    legend += [
        f"worth: {worth_line(rows)}",
        f"Every answer: {run.probes.parent}; the map: {run.explored_html}",
    ]
    parts = [
        table,
        *map(log_lines, [summary["logs"]] if summary.get("logs") else []),
        "\n".join(map(why, rows)),
    ]
    parts += [f"Warning: {note}" for note in summary.get("notes", ())]
    best = rows[0]["number"] if rows else "N"
    following = (
        f"Next: distill explore --show {best} (its prompts and probes), distill pick {best} (or a name)"
    )
    return (*parts, "\n".join(legend), following)


def named(row: Row) -> str:
    """A task's name; where its own was of no Latin script, and is a number now, what it does too."""
    if not re.fullmatch(r"task-[0-9a-f]{6}", row["name"]):
        return str(row["name"])
    return f"{row['name']} {one_line(row['instruction'])[:SHOWN_OF_A_TASK]}"


def why(row: Row) -> str:
    """One task in a line: its reason, what stands against it, from when a student pays."""
    terms, traffic = row.get("terms") or {}, row.get("traffic") or {}
    said = [(row.get("reason") or row["trust"]).rstrip(".")]
    if terms.get("advice"):
        said.append(f"{terms['advice']}: {terms['why']}")
    if ties := row.get("ties"):
        said.append(f"not told apart from {', '.join(ties[:3])}")
    if traffic:
        said.append(volume(traffic))
    calls = (terms.get("break_even") or {}).get("calls_a_month")
    if calls is not None:
        said.append(f"a student pays within a year from {calls:,} calls a month")
    return f"{row['number']} {row['name']}: {'; '.join(said)}."


def worth_line(rows: Sequence[Row]) -> str:
    """What distillability is made of, and what is not known here."""
    left = {name for row in rows for name in (row.get("terms") or {}).get("left_out", ())}
    missing = f"; left out, as unknown: {', '.join(name for name in MEANING if name in left)}" if left else ""
    return f"geometric mean of {', '.join(MEANING)}, each 0 to 1{missing}"


def log_lines(logs: Mapping[str, Any]) -> str:
    """What was read of a log, what was not and why."""
    lines = [
        f"{logs['requests']:,} requests in {logs['file']}: {logs['templates']} templates hold "
        f"{logs['share']:.0%} of them, {logs['noise']:,} are one-offs left apart; {logs['period']}."
    ]
    if logs["estimated"]:
        lines.append(
            f"{logs['estimated']:,} requests log no token counts: estimated at 4 characters a token."
        )
    for reason, count in logs["skipped_why"].items():
        where = ", ".join(map(str, logs["skipped_lines"][reason]))
        lines.append(f"Skipped {plural(count, 'line')}: {reason} (line {where}{', …' if count > 3 else ''})")
    if left := logs["skipped"] - sum(logs["skipped_why"].values()):
        lines.append(f"Skipped {plural(left, 'line')} for other reasons.")
    if others := logs["not_scouted"]:
        shown = ", ".join(f"{each['name']} ({each['requests']:,})" for each in others[:5])
        lines.append(f"Not scouted, of {plural(len(others), 'template')}: {shown}. --tasks takes more.")
    return "\n".join(lines)


def looked(console: Console, look: Mapping[str, Any]) -> Sequence[Any]:
    """One task with its prompts and probes, the wrong ones first."""
    head = [
        f"{look['name']} ({look['kind']}, from {look['source']}): {look['standing']}",
        look["reason"],
        f"The score rests on: {look['trust']}.",
        f"Instruction: {look['instruction']}",
    ]
    if look["traffic"]:
        turns = (f"[{turn['role']}] {turn['content']}" for turn in look["traffic"]["prompt"])
        head.append("The prompt in the log:\n" + "\n".join(turns))
    prompts = console.table(
        ("prompt", "right (95%)", "n", "from"),
        [
            (each["prompt"], f"{each['value']:.0%}", str(each["n"]), "tuning")
            if each["tuning"]
            else (each["prompt"], interval(each), str(each["n"]), BASES[each["basis"]])
            for each in look["prompts"]
        ],
        fold=0,
        numeric=(2,),
    )
    told = list[str]()
    if any(each["tuning"] for each in look["prompts"]):
        told.append("from tuning: the probes that prompts were shaped on; others decided.")
    if look["sent"]:
        told.append("The best prompt, as it is sent:")
        told += [f"[{turn['role']}] {turn['content']}" for turn in look["sent"]]
    lines = [
        (
            each["verdict"] + (" *" if each["disagreeing"] else ""),
            each["input"],
            each["expected"] or "-",
            each["answer"] or "-",
            each["student"] or "-",
        )
        for each in look["probes"][:SHOWN_PROBES]
    ]
    probes = console.table(("", "input", "expected", "teacher", "student"), lines, fold=(1, 2, 3, 4))
    foot = (
        f"{counted(look['probes'])}; * the prompts disagree." if look["probes"] else "No probe was answered."
    )
    terms = term_lines(look["terms"]) if look["terms"] else "Distillability: not measured."
    parts = ["\n".join(part for part in head if part)]
    if look["prompts"]:
        parts += [prompts, *(["\n".join(told)] if told else [])]
    if look["probes"]:
        parts.append(probes)
    return (*parts, foot, terms, f"Next: distill pick {look['name']}")


def term_lines(terms: Mapping[str, Any]) -> str:
    """Every term with its meaning, and the break-even."""
    lines = [f"Distillability {number(terms['value'])}:"]
    lines += [
        f"  {name:<13} {number(terms['terms'][name]):>7}  {meaning}" for name, meaning in MEANING.items()
    ]
    calls = terms["break_even"]["calls_a_month"]
    unknown = terms["break_even"]["saved_usd_a_call"] is None
    pays = "unknown" if unknown else "never, as it is"
    if calls is not None:
        pays = f"{calls:,} calls a month, within a year"
    lines.append(f"Break-even: {pays} ({terms['break_even']['why']}).")
    lines.append(f"A call costs {words.usd(terms['usd_a_call'])} (from: {terms['usd_from']}).")
    return "\n".join(lines)


def interval(row: Row) -> str:
    """ "71% (51-85)": a share with its 95% interval."""
    return f"{row['value']:.0%} ({100 * row['low']:.0f}-{100 * row['high']:.0f})"


def share(score: Row | None) -> str:
    """The untrained student's share of right answers."""
    return "-" if score is None else f"{score['value']:.0%}"


def number(value: float | None) -> str:
    """Two decimals; what is not known says so."""
    return "unknown" if value is None else f"{value:.2f}"


def cost_column(rows: Sequence[Row]) -> dict[str, list[str]]:
    """USD a month; of the whole log where it has no period. What no log has is a dash."""
    logged = [row.get("traffic") or {} for row in rows]
    monthly = any(traffic.get("calls_a_month") is not None for traffic in logged)
    name, key = ("a month", "usd_a_month") if monthly else ("in the log", "usd")
    costs = [traffic.get(key) for traffic in logged]
    return {
        name: ["-" if not traffic else "unknown" if usd is None else words.usd(usd)
               for traffic, usd in zip(logged, costs, strict=True)]
    }  # fmt: skip


def plural(count: int, noun: str) -> str:
    """ "1 line", "2 lines"."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def volume(traffic: Row) -> str:
    """How often the log asks for it."""
    if traffic.get("calls_a_month") is not None:
        return f"{words.count(traffic['calls_a_month'])} calls a month"
    return f"{traffic['requests']:,} requests in the log"
