"""report.json as a terminal shows it: the verdict, who scored what, by how much, at what price.

Refuses markup from outside: every name goes through `visible` into a `Text`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.report.plain import visible
from distill.score.verdict import points

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

STYLES = {"yes": "bold green", "no": "bold red", "unclear": "bold yellow"}


def report(summary: Mapping[str, Any]) -> "Group":
    """The whole of report.json as one thing for `rich` to print."""
    from rich.console import Group
    from rich.text import Text

    blank = Text("")
    parts: list[Any] = []
    for split in dict.fromkeys(score["split"] for score in summary["scores"]):
        parts += [scores_table(summary, split), paired_lines(summary, split), blank]
    parts += [systems_table(summary["systems"]), blank]
    parts += [Text(f"note: {visible(note)}", style="dim") for note in summary["notes"]]
    return Group(*parts, blank, verdict_text(summary))


def verdict_text(summary: Mapping[str, Any]) -> "Text":
    """The one sentence, coloured by its answer."""
    from rich.text import Text

    given = summary["verdict"]
    return Text(visible(given["sentence"]), style=STYLES.get(given["answer"], "bold"))


def scores_table(summary: Mapping[str, Any], split: str) -> "Table":
    """Systems by metrics on one split, each value with its 95% interval."""
    from rich.table import Table
    from rich.text import Text

    scores = [score for score in summary["scores"] if score["split"] == split]
    metrics = list(dict.fromkeys(score["metric"] for score in scores))
    table = Table(
        title=Text(f"{visible(summary['task'])}: {scores[0]['n']} {visible(split)} rows"),
        title_justify="left",
    )
    table.add_column("")
    for metric in metrics:
        table.add_column(Text(visible(metric.replace("_", " "))), justify="right")
    for who in dict.fromkeys(score["who"] for score in scores):
        mine = {score["metric"]: score for score in scores if score["who"] == who}
        table.add_row(Text(visible(who)), *(interval(mine[metric]) for metric in metrics))
    return table


def paired_lines(summary: Mapping[str, Any], split: str) -> "Text":
    """ "student - teacher: +5.8 points (95%: +2.3 to +9.3)", a line each."""
    from rich.text import Text

    return Text("\n".join(difference(each) for each in summary["paired"] if each["split"] == split))


def systems_table(systems: Sequence[Mapping[str, Any]]) -> "Table":
    """Model, prompt, latency, throughput and price of each system."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="What an answer takes", title_justify="left")
    for name in ("", "model", "prompt"):
        table.add_column(name, overflow="fold")
    for name in ("p50", "p95", "rows/s", "USD per 1000"):
        table.add_column(name, justify="right")
    for each in systems:
        names = (Text(visible(str(each[key]))) for key in ("who", "model", "prompt"))
        times = (seconds(each["latency_p50_s"]), seconds(each["latency_p95_s"]))
        rate = "-" if each["rows_per_s"] is None else f"{each['rows_per_s']:.1f}"
        table.add_row(*names, *times, rate, dollars(each["usd_per_1000"]))
    return table


def interval(score: Mapping[str, Any]) -> str:
    """ "85.4% (82.0 to 88.2)"."""
    return f"{score['value']:.1%} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def difference(paired: Mapping[str, Any]) -> str:
    """One paired difference in a line."""
    bounds = f"{points(paired['low'])} to {points(paired['high'])}"
    metric = paired["metric"].replace("_", " ")
    return visible(
        f"{paired['a']} - {paired['b']}: {points(paired['diff'])} points of {metric} (95%: {bounds})"
    )


def seconds(value: float | None) -> str:
    """A latency, in ms below a second; "-" where none was measured."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def dollars(value: float | None) -> str:
    """A price, or "unknown"."""
    if value is None:
        return "unknown"
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"
