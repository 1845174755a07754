"""Single rows for the terminal: candidates with their verdicts, what changed in an answer, a row to judge.

Pure: records in, renderables out. Refuses markup and control characters from rows: both are spelt out.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from distill.console import Console
from distill.filters.rule import excerpt
from distill.report.plain import visible
from distill.steps.rows import Found, Wanted, first_answer
from distill.types import Candidate, Pair

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

SHOWN_CHARS = 200


def rows_table(console: Console, found: Found, wanted: Wanted) -> Sequence[Any]:
    """The candidates, one a line, and how many there are of each verdict."""
    rows = [
        (
            str(row.index),
            "kept" if row.verdict.keep else row.verdict.rule,
            changes(row) if wanted.changed else excerpt(answer(row), SHOWN_CHARS),
            excerpt(row.input, SHOWN_CHARS),
            excerpt(row.verdict.why, SHOWN_CHARS),
        )
        for row in found.rows
    ]
    headers = ("#", "verdict", "first -> final" if wanted.changed else "answer", "input", "why")
    table = console.table(headers, rows, fold=(2, 3, 4), numeric=(0,))
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in found.by_verdict.items())
    total = sum(found.by_verdict.values())
    shown = f"{len(found.rows):,} of {found.matching:,} shown"
    more = "; --limit N shows more" if found.matching > len(found.rows) else ""
    return (*((table,) if rows else ()), f"{total:,} candidates: {counts or 'none yet'}. {shown}{more}.")


def answer(row: Candidate) -> str:
    """ "sad (asked happy)": the answer, and the one it was written for where that is another."""
    asked = row.asked not in (None, row.answer)
    return f"{row.answer or '-'} (asked {row.asked})" if asked else row.answer or "-"


def changes(row: Candidate) -> "Text":
    """What of the first answer went and what came, word by word, as wdiff marks it: [-gone-] {+come+}."""
    from rich.text import Text

    before, after = (words(visible(text)) for text in (first_answer(row) or "", row.answer))
    text = Text()
    for kind, start, end, new_start, new_end in SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        gone, come = "".join(before[start:end]), "".join(after[new_start:new_end])
        if kind == "equal":
            text.append(gone)
            continue
        if gone:
            text.append(f"[-{gone}-]", style="red")
        if come:
            text.append(f"{{+{come}+}}", style="green")
    return text


def words(text: str) -> list[str]:
    """`text` cut into words, the spaces after them and single signs; joined again it is the same."""
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def card(pair: Pair, number: int, total: int) -> "Group":
    """One row to judge: what was said, the answer, what it was written about. No verdicts, not to lead."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    said = [message for message in pair.messages if message.role != "system"]
    text = Text()
    for message in said:
        if len(said) > 1:
            text.append(f"{message.role}: ", style="dim")
        text.append(visible(message.content, keep_lines=True).rstrip() + "\n")
    text.append("\nanswer: ", style="dim")
    text.append(visible(pair.answer, keep_lines=True), style="bold")
    about = ", ".join(f"{name}: {value}" for name, value in pair.attributes.items())
    if about:
        text.append(f"\n{visible(about)}", style="dim")
    return Group(Panel(text, title=f"{number} of {total}", title_align="left"))


def audit_sentence(audit: Mapping[str, Any]) -> str:
    """ "18 of 20 right; with 95% confidence at most 31% are wrong": the bound rounded up, never down."""
    if not audit["looked_at"]:
        return "No row was judged."
    most = math.ceil(round(audit["high"] * 100, 6))
    skipped = f", {audit['skipped']} skipped" if audit["skipped"] else ""
    return (
        f"{audit['right']} of {audit['looked_at']} right{skipped}; "
        f"with 95% confidence at most {most}% are wrong"
    )


def audited(audit: Mapping[str, Any], saved: int, changed: int) -> Sequence[Any]:
    """What the audit says of the data as it stood, by answer, and what corrections changed."""
    lines = [f"{audit_sentence(audit)} (as they stood when looked at)."]
    if audit["by_answer"]:
        parts = [
            f"{name} {row['right']}/{row['looked_at']} right ({row['low']:.0%}-{row['high']:.0%})".replace(
                "%-", "-"
            )
            for name, row in audit["by_answer"].items()
            if row["looked_at"]
        ]
        lines.append("By answer: " + (", ".join(parts) or "none") + ".")
    if saved or changed:
        lines.append(f"Corrections saved: {saved}; rows they changed: {changed:,}.")
        return ("\n".join(lines), "Next: distill generate (fills up what was dropped), or distill finetune")
    return ("\n".join(lines),)


def filters_table(console: Console, filters: Iterable[Mapping[str, Any]], whose: str) -> Sequence[Any]:
    """Every filter: what it looks at, whether it is on here, what it drops."""
    rows = [
        (each["name"], each["looks_at"], "on" if each["on"] else "off", each["drops"]) for each in filters
    ]
    return (f"Filters {whose}:", console.table(("filter", "looks at", "", "drops"), rows, fold=3))


def inspected(console: Console, summary: Mapping[str, Any]) -> Sequence[Any]:
    """Rows with their mask, the table of checks, and how long rows are against the limit."""
    failed = [
        (check["holds"], f"{check['failed']:,} fail" if check["failed"] else "ok", ", ".join(check["rows"]))
        for check in summary["checks"]
    ]
    spans, rows = summary["lengths"], summary["rows"]
    share = summary["target_tokens"] / max(1, summary["tokens"])
    most = max((bin_["rows"] for bin_ in spans["histogram"]), default=1)
    bars = [
        (f"<= {bin_['to']:,}", f"{bin_['rows']:,}", "#" * math.ceil(40 * bin_["rows"] / most))
        for bin_ in spans["histogram"]
    ]
    lines = [
        f"{rows['train']:,} train and {rows['valid']:,} validation rows for {summary['student']}, "
        f"chat template: {summary['template']}; answers end with {summary['stop']}, "
        f"padding is {summary['pad']}.",
        f"{summary['target_tokens']:,} of {summary['tokens']:,} tokens are trained ({share:.0%}): "
        "what is between ⟦ and ⟧.",
    ]
    told = f"Lengths: p50 {spans['p50']:,}, p95 {spans['p95']:,}, max {spans['max']:,} of {spans['limit']:,}"
    return (
        "\n".join(lines),
        *(console.marked(text) for text in summary["shown"]),
        console.table(("check", "", "rows"), failed, fold=2),
        f"{told} tokens; {spans['over']:,} rows over it.",
        console.table(("tokens", "rows", ""), bars, fold=2, numeric=(0, 1)),
        *summary["changed"],
    )
