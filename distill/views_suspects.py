"""Pairs under suspicion for the terminal: what they say, what they should perhaps say, and why.

Pure: records in, renderables out. Refuses markup and control characters from rows: both are spelt out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.console import Console
from distill.filters.rule import excerpt
from distill.steps.suspects import Suspect
from distill.store.run import Run

SHOWN_ROWS, SHOWN_CHARS = 40, 90


def listed(
    console: Console, run: Run, suspects: Sequence[Suspect], summary: Mapping[str, Any]
) -> Sequence[Any]:
    """The table, how the rows were found, what the teacher says, what was changed and what comes next."""
    lines = [
        f"{summary['suspect']:,} of {summary['rows']:,} training rows are suspect, by "
        f"{' and '.join(summary['by'])} in {summary['folds']} folds; {len(suspects):,} listed: {run.suspects}"
    ]
    if len(suspects) > SHOWN_ROWS:
        lines.append(f"The first {SHOWN_ROWS} are shown.")
    if verdicts := summary["verdicts"]:
        said = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
        lines.append(f"Asked again, the teacher votes: {said}.")
    return (*table(console, suspects[:SHOWN_ROWS]), "\n".join(lines), *after(summary, bool(suspects)))


def table(console: Console, suspects: Sequence[Suspect]) -> Sequence[Any]:
    """A line a suspect; none where there are none."""
    asked = any(each.verdict for each in suspects)
    rows = [
        (
            each.id[:8],
            excerpt(each.given, SHOWN_CHARS),
            excerpt(each.suggested or "-", SHOWN_CHARS),
            f"{each.probability:.2f}",
            *((verdict(each),) if asked else ()),
            excerpt(each.input, SHOWN_CHARS),
            excerpt(each.said or each.why, 2 * SHOWN_CHARS),
        )
        for each in suspects
    ]
    headers = ("row", "given", "suggested", "p(given)", *(("verdict",) if asked else ()), "input", "why")
    width = len(headers)
    return (console.table(headers, rows, fold=(width - 2, width - 1), numeric=(3,)),) if rows else ()


def verdict(suspect: Suspect) -> str:
    """ "relabel: negative"."""
    return f"relabel: {excerpt(suspect.becomes, 40)}" if suspect.verdict == "relabel" else suspect.verdict


def after(summary: Mapping[str, Any], has_suspects: bool) -> Sequence[str]:
    """What --apply changed, and what to type next."""
    applied = summary.get("applied")
    if applied is None:
        if not has_suspects:
            return ()
        asked = bool(summary["verdicts"])
        return ("Next: distill suspects --reask --apply" if asked else "Next: distill suspects --reask",)
    lines = [
        f"Corrected {applied['relabelled']:,} rows and dropped {applied['dropped']:,}; each keeps its reason "
        "in rules.toml, and what it was in candidates.jsonl."
    ]
    if left := applied["left_for_held_out"]:
        lines.append(f"{len(left):,} were left: the same input stands in a held-out row.")
    return ("\n".join(lines), "Next: distill finetune")
