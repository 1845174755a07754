"""1-explore/report.html: the tasks that were scouted, on one page that is opened offline.

Refuses every request and every script but its own, as report/html.py does.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from distill import __version__
from distill.report import words
from distill.report.html import policy
from distill.report.plain import visible
from distill.report.scouting import counted, one_line
from distill.report.scouting_map import LEVELS, scouting_map
from distill.score.distillability import MEANING

Row = Mapping[str, Any]
MOST_PROBES = 40
"""Probes of a task that the page shows, the wrong ones first."""


def render(
    summary: Mapping[str, Any], looks: Sequence[Mapping[str, Any]], *, run: str, sort: str, excerpts: bool
) -> str:
    """The page of the step's `summary`; `looks` are its tasks, in its order, as `scouting.look` has them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    page = files("distill.report") / "page"
    style, more, script = (
        page.joinpath(name).read_text("utf-8") for name in ("style.css", "scouting.css", "script.js")
    )
    style += more
    environment = Environment(
        loader=PackageLoader("distill.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = summary["tasks"]
    return environment.get_template("scouting.html.j2").render(
        words=words,
        visible=visible,
        title=f"explore: {visible(run)}",
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        version=__version__,
        run=run,
        sort=sort,
        excerpts=excerpts,
        headline=headline(summary),
        logs=log_facts(summary.get("logs")),
        map=scouting_map(rows),
        levels=[(name, meaning) for _, name, meaning in LEVELS],
        terms=list(MEANING),
        meanings=list(MEANING.items()),
        tasks=[_task(row, look) for row, look in zip(rows, looks, strict=True)],
    )


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The first task in a sentence, and what stands against it."""
    kinds = {"good": "yes", "~OK": "yes", "unclear": "unclear", "poor": "no"}
    notes = list(summary.get("notes") or ())
    if not summary["tasks"]:
        return {"name": "none found", "kind": "no", "claim": "No task was found.", "notes": notes}
    best = summary["tasks"][0]
    advice = ((best.get("terms") or {}).get("advice")) or ""
    claim = f"The teacher is right in {share(best)} with the prompt {best['prompt']}; {best['standing']}"
    kind = "unclear" if advice else kinds[best["standing"]]
    if advice:
        notes.insert(0, f"{advice}: {best['terms']['why']}")
    return {"name": best["name"], "kind": kind, "claim": claim, "notes": notes}


def log_facts(logs: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """(number, what it is, beside it) of the log that was read."""
    if not logs:
        return []
    skipped = "; ".join(f"{count}: {why}" for why, count in logs["skipped_why"].items())
    return [
        (words.count(logs["requests"]), "requests read", logs["period"]),
        (words.count(logs["templates"]), "templates", f"{words.percent(logs['share'], 0)} of the requests"),
        (words.count(logs["noise"]), "one-offs left apart", "no template has enough like them"),
        (words.count(logs["skipped"]), "lines skipped", skipped),
    ]


def _task(row: Row, look: Mapping[str, Any]) -> dict[str, Any]:
    """One task as the template has it."""
    terms = row.get("terms") or {"terms": {}, "break_even": {}, "value": None, "advice": "", "why": ""}
    traffic = row.get("traffic") or {}
    even = terms["break_even"]
    pays = even.get("calls_a_month")
    return {
        **row,
        "reason": (row.get("reason") or "").rstrip("."),
        "trust": row["trust"].rstrip("."),
        "description": one_line(traffic.get("description") or row["instruction"]),
        "teacher": share(row) if row["n"] else "–",
        "student": share(row["base"]) if row.get("base") else "–",
        "worth": number(terms["value"]),
        "terms": [number(terms["terms"].get(name)) for name in MEANING],
        "month": words.usd(traffic["usd_a_month"]) if traffic.get("usd_a_month") is not None else "–",
        "pays": "–" if pays is None else f"{pays:,} calls a month",
        "break_even": even.get("why", ""),
        "advice": f"{terms['advice']}: {terms['why']}." if terms["advice"] else "",
        "prompt": "\n".join(f"[{turn['role']}] {turn['content']}" for turn in traffic.get("prompt", ())),
        "sent": "\n".join(f"[{turn['role']}] {turn['content']}" for turn in look["sent"]),
        "prompts": look["prompts"],
        "counted": counted(look["probes"]),
        "probes": look["probes"][:MOST_PROBES],
    }


def share(score: Row) -> str:
    """ "71% (51 to 85)"."""
    return f"{words.percent(score['value'], 0)} ({100 * score['low']:.0f} to {100 * score['high']:.0f})"


def number(value: float | None) -> str:
    """Two decimals, or a dash where it is not known."""
    return "–" if value is None else f"{value:.2f}"
