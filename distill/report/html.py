"""report.html: all that a run has to say, on one page that is opened offline, mailed, printed and shown.

Refuses every request and every script but its own: a policy with hashes stands in the page, and what models
and users wrote is escaped by jinja or put in as text by the script.

Besides what report/build.py writes, it shows where they are there: "judged" (score/judgement.py), "cascade"
(report/cascade.py), "rounds" (rounds.py) and "review" (steps/review.py) of the report, and "learning_curve"
of finetune's metrics: {points [{n, metric, value, low, high}], sentence}.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from distill.report.page_parts import context, main_split
from distill.report.side_by_side import side_by_side
from distill.report.verdicts import by_row, older_than
from distill.store import jsonl
from distill.store.run import Run, read_json
from distill.store.run import digest as file_digest
from distill.store.taskfile import read_task

EXCERPT = 60
"""Characters of a text in an excerpt."""


def render(
    report: Mapping[str, Any],
    receipt: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    answers: Iterable[Mapping[str, Any]] = (),
    run: Mapping[str, Any] | None = None,
    *,
    excerpts: int | None = None,
) -> str:
    """The page. `report`, `receipt` and `metrics` are the steps' summaries, `history` is metrics.jsonl,
    `answers` answers.jsonl, `run` run.json; a section whose source is missing is not there.

    `excerpts`: show no more than so many rows, each text cut short; for a page whose rows are not to be given
    away.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    page = files("distill.report") / "page"
    style, script = (page.joinpath(name).read_text("utf-8") for name in ("style.css", "script.js"))
    systems = [each["who"] for each in report["systems"]]
    outcomes = by_row(report["judged"]) if report.get("judged") else {}
    room = {} if excerpts is None else {"most": excerpts, "longest": EXCERPT}
    rows = side_by_side(answers, systems, report["primary_metric"], outcomes, **room)
    environment = Environment(
        loader=PackageLoader("distill.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2").render(
        **context(report, receipt, metrics, history, run or {}),
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        rows=Markup(embedded(rows)) if rows["rows"] else None,
        total=rows["total"],
        on_page=len(rows["rows"]),
        flips=any(row["flipped"] for row in rows["rows"]),
        row_splits=splits_of(rows["rows"], main_split(report)),
    )


def splits_of(rows: Sequence[Mapping[str, Any]], verdicts: str) -> list[str]:
    """The splits that `rows` are of, the one that the verdict is of first."""
    return sorted({row["split"] for row in rows}, key=lambda split: (split != verdicts, split))


def policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, and no style or script runs but these two."""
    return (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """The source expression of an inline element with this text (CSP level 3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(value: Any) -> str:
    """JSON that stands in a script element: nothing in it can end the element or open another."""
    text = msgspec.json.encode(value).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def reviewed(run: Run, report: Mapping[str, Any]) -> dict[str, Any]:
    """The section "review" (steps/review.py), where it is of these answers and verdicts; else nothing."""
    if not run.reviewed.exists():
        return {}
    review = read_json(run.reviewed)
    return {} if older_than(review, report, file_digest(run.answers)) else {"review": review}


def page_is_old(run: Run) -> bool:
    """Whether the page is absent, or older than what it shows (a learning curve, a review made since)."""
    shown = [run.summary_path(step) for step in ("generate", "finetune", "compare")] + [run.reviewed]
    made = [path.stat().st_mtime_ns for path in shown if path.exists()]
    return not run.html.exists() or run.html.stat().st_mtime_ns < max(made, default=0)


def write_html(run: Run, report: Mapping[str, Any]) -> Path:
    """Write the page of a compared run; returns its path. Raises StorageError where the disk is full."""
    page = page_of(run, report)
    jsonl.replace_bytes(run.html, [page.encode("utf-8", "replace")])
    return run.html


def page_of(run: Run, report: Mapping[str, Any], *, excerpts: int | None = None) -> str:
    """The page of a compared run; `excerpts` as in `render`."""
    record = dict[str, Any]
    history = [each for _, each in jsonl.read(run.metrics, record)] if run.metrics.exists() else []
    answers = (each for _, each in jsonl.read(run.answers, record)) if run.answers.exists() else ()
    return render(
        {**report, **reviewed(run, report)},
        run.summary("generate"),
        run.summary("finetune"),
        history,
        answers,
        {"name": run.name, "instruction": read_task(run.task).instruction, **run.settings()},
        excerpts=excerpts,
    )
