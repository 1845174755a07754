"""report.json as a terminal shows it: the verdict, who scored what, by how much, at what price.

Refuses markup from outside: every name goes through `visible` into a `Text`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.report.cascade import lines as cascade_lines
from distill.report.plain import visible
from distill.report.rounds import lines as round_lines
from distill.report.verdicts import lines
from distill.report.words import FEW_ROWS, NO_GAP, NOT_AHEAD
from distill.score.verdict import named, points

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.table import Table
    from rich.text import Text

    LayOut = Callable[[Callable[[Table], bool]], Iterator[Table]]

WORST = 5
"""Slices shown; all of them are in report.json."""
WIDEST = 10_000
LONGEST_NAME, LONGEST_SLICE = 40, 20
"""Of a name, in columns, where the terminal is narrow: the rest goes to a second line."""
SLICE = ("slice", "rows", "student", "teacher", "points (95%)", "p, corrected")
STYLES = {"yes": "bold green", "no": "bold red", "unclear": "bold yellow"}


def report(summary: Mapping[str, Any]) -> "Group":
    """The whole of report.json as one thing for `rich` to print."""
    from rich.console import Group
    from rich.text import Text

    blank = Text("")
    parts: list[Any] = []
    for split in dict.fromkeys(score["split"] for score in summary["scores"]):
        parts += [scores_tables(summary, split), paired_lines(summary, split), blank]
    parts += [systems_table(summary["systems"]), models_line(summary["systems"]), blank]
    parts += [Text(visible(line)) for line in standing(summary)]
    if slices := worst(summary):
        parts += [blank, slices_tables(summary, slices)]
    if judged := summary.get("judged"):
        parts += [blank, *(Text(visible(line), style=style) for line, style in lines(judged))]
    parts.append(blank)
    parts += [Text(f"note: {visible(note)}", style="dim") for note in summary["notes"]]
    return Group(*parts, blank, verdict_text(summary))


def verdict_text(summary: Mapping[str, Any]) -> "Text":
    """The one sentence, coloured by its answer."""
    from rich.text import Text

    given = summary["verdict"]
    return Text(visible(given["sentence"]), style=STYLES.get(given["answer"], "bold"))


class Fitted:
    """Tables laid out for the width they are printed in; `lay_out` is given whether a table fits it."""

    def __init__(self, lay_out: "LayOut") -> None:
        self._lay_out = lay_out

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Table]":
        from rich.measure import Measurement

        wide = options.update(width=WIDEST)
        yield from self._lay_out(
            lambda table: Measurement.get(console, wide, table).maximum <= options.max_width
        )


def scores_tables(summary: Mapping[str, Any], split: str) -> Fitted:
    """Systems by metrics on one split, in as many tables as the width asks for."""
    scores = [score for score in summary["scores"] if score["split"] == split]
    metrics = list(dict.fromkeys(score["metric"] for score in scores))
    title = f"{visible(summary['task'])}: {scores[0]['n']} {visible(split)} rows"

    def lay_out(fits: "Callable[[Table], bool]") -> "Iterator[Table]":
        whole = scores_table(scores, metrics, title)
        if fits(whole):
            yield whole
            return
        left, head = metrics, title
        while left:
            count = len(left)
            while count > 1 and not fits(scores_table(scores, left[:count], head, LONGEST_NAME)):
                count -= 1
            yield scores_table(scores, left[:count], head, LONGEST_NAME)
            left, head = left[count:], ""

    return Fitted(lay_out)


def scores_table(
    scores: Sequence[Mapping[str, Any]], metrics: Sequence[str], title: str, longest: int | None = None
) -> "Table":
    """Systems by `metrics`, each value with its 95% interval; names folded from `longest` columns on."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left")
    table.add_column("", overflow="fold", max_width=longest)
    for metric in metrics:
        table.add_column(Text(visible(named(metric))), justify="right", no_wrap=True)
    for who in dict.fromkeys(score["who"] for score in scores):
        mine = {score["metric"]: score for score in scores if score["who"] == who}
        table.add_row(Text(visible(who)), *(interval(mine[metric]) for metric in metrics))
    return table


def paired_lines(summary: Mapping[str, Any], split: str) -> "Text":
    """ "student - teacher: +5.8 points (95%: +2.3 to +9.3)", a line each."""
    from rich.text import Text

    return Text("\n".join(difference(each) for each in summary["paired"] if each["split"] == split))


def standing(summary: Mapping[str, Any]) -> list[str]:
    """What the scores stand between, a line each: chance, the teacher's ceiling, the gap closed, break-even.

    Older reports have none of these.
    """
    lines = []
    if chance := summary.get("chance"):
        lines.append(f"chance: one answer to every row scores {chance['value']:.1%}")
    if ceiling := summary.get("ceiling"):
        share = {**ceiling, "value": ceiling["self_agreement"]}
        lines.append(
            f"ceiling: the teacher, asked {ceiling['n']} rows twice, agrees with itself {interval(share)}"
        )
    if "gap_closed" in summary:
        lines.append(f"gap closed between base and teacher: {closed(summary['gap_closed'])}")
    if economics := summary.get("economics"):
        lines.append(f"break-even: {economics['why']}")
    return [*lines, *cascade_lines(summary), *round_lines(summary)]


def worst(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The slices to look at first: those that the student loses, the surest loss first."""
    return [each for each in summary.get("slices", ()) if each["diff"] < 0][:WORST]


def slices_tables(summary: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]) -> Fitted:
    """Where the student loses most; in a narrow terminal without the two scores that the points are of."""

    def lay_out(fits: "Callable[[Table], bool]") -> "Iterator[Table]":
        roomy = fits(slices_table(summary, slices, longest=LONGEST_SLICE))
        yield slices_table(summary, slices, without=() if roomy else ("student", "teacher"))

    return Fitted(lay_out)


def slices_table(
    summary: Mapping[str, Any],
    slices: Sequence[Mapping[str, Any]],
    *,
    without: Sequence[str] = (),
    longest: int | None = None,
) -> "Table":
    """Where the student loses most, with p corrected for all slices there are."""
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Worst of {len(summary['slices'])} slices", style="italic")
    table = Table(title=title, title_justify="left", caption=Text(visible(summary["correction"])))
    shown = [name for name in SLICE if name not in without]
    for name in shown:
        if name == "slice":
            table.add_column(name, overflow="fold", max_width=longest)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for each in slices:
        bounds = f"{points(each['low'])} to {points(each['high'])}"
        cells: dict[str, Text | str] = {
            "slice": Text(visible(f"{each['by']}: {each['value']:.40}")),
            "rows": str(each["n"]),
            "student": f"{each['a']:.1%}",
            "teacher": f"{each['b']:.1%}",
            "points (95%)": f"{points(each['diff'])} ({bounds})",
            "p, corrected": f"{each['p_adjusted']:.2g}",
        }
        table.add_row(*(cells[name] for name in shown))
    return table


def systems_table(systems: Sequence[Mapping[str, Any]]) -> "Table":
    """Latency, throughput and price of each system; in 80 columns no number is cut."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="What an answer takes", title_justify="left")
    table.add_column("", overflow="fold")
    for name in ("p50", "p95", "rows/s", "tokens/s", "USD per\n1000", "USD per\naccepted"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in systems:
        times = (seconds(each["latency_p50_s"]), seconds(each["latency_p95_s"]))
        rates = (rate(each["rows_per_s"]), rate(each.get("tokens_per_s")))
        prices = (dollars(each["usd_per_1000"]), dollars(each.get("usd_per_accepted")))
        table.add_row(Text(visible(str(each["who"]))), *times, *rates, *prices)
    return table


def models_line(systems: Sequence[Mapping[str, Any]]) -> "Text":
    """Which model each system is, and with what prompt it was asked."""
    from rich.text import Text

    told = (f"{each['who']}: {each['model']}, prompt {each['prompt']}" for each in systems)
    return Text(visible("; ".join(told)), style="dim")


def interval(score: Mapping[str, Any]) -> str:
    """ "85.4% (82.0 to 88.2)"."""
    return f"{score['value']:.1%} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def closed(gap: Mapping[str, Any] | None) -> str:
    """The share of the gap closed, and in words where there is no interval or no gap."""
    if gap is None:
        return f"{NO_GAP} ({NOT_AHEAD})"
    return interval(gap) if gap["low"] is not None else f"{gap['value']:.1%} ({FEW_ROWS})"


def difference(paired: Mapping[str, Any]) -> str:
    """One paired difference in a line."""
    bounds = f"{points(paired['low'])} to {points(paired['high'])}"
    metric = named(paired["metric"])
    return visible(
        f"{paired['a']} - {paired['b']}: {points(paired['diff'])} points of {metric} (95%: {bounds})"
    )


def rate(value: float | None) -> str:
    """So many a second; "-" where none were counted."""
    return "-" if value is None else f"{value:.1f}"


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
