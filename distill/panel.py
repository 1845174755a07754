"""How far generating is, drawn: a live panel for a terminal, one line of the same facts elsewhere.

Refuses a number that nobody knows: an unknown price or time reads "unknown". It draws, and prints nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distill.report.plain import visible
from distill.types import Tally

if TYPE_CHECKING:
    from rich.console import Group
    from rich.panel import Panel

WINDOW_S = 30.0
"""Rate and time left are of the last so many seconds: a resumed run starts in a rush from its ledger."""
BETWEEN_SAMPLES_S = 0.5
MOST_BARS = 8
SIDE_BY_SIDE_COLUMNS = 96


class Pace:
    """The newest tally, and how fast rows have been accepted lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque(maxlen=int(WINDOW_S / BETWEEN_SAMPLES_S))
        self._next = 0.0
        self.tally: Tally | None = None

    def see(self, tally: Tally) -> None:
        """Take note of a tally; cheap enough to be called for every verdict."""
        self.tally = tally
        now = self._clock()
        if now >= self._next:
            self._next = now + BETWEEN_SAMPLES_S
            self._samples.append((now, tally.accepted))

    def rate(self) -> float | None:
        """Rows accepted a second over the last WINDOW_S; None before a second has passed."""
        now = self._clock()
        # A copy: the thread that draws asks while another one sees.
        recent = [sample for sample in tuple(self._samples) if sample[0] >= now - WINDOW_S]
        if self.tally is None or not self._samples:
            return None
        started, accepted = recent[0] if recent else self._samples[-1]
        return (self.tally.accepted - accepted) / (now - started) if now - started >= 1 else None


def eta(tally: Tally, rate: float | None) -> str:
    """ "2:10": minutes and seconds until N are accepted at this rate."""
    missing = max(0, tally.wanted - tally.accepted)
    if not missing:
        return "0:00"
    if not rate:
        return "unknown"
    minutes, seconds = divmod(round(missing / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def usd(value: float | None) -> str:
    """ "$0.31", as many digits as it takes to see it; "unknown"."""
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"


def projected(tally: Tally) -> float | None:
    """USD that N accepted rows will have cost at the price of those so far; None where that is unknown."""
    if tally.cost_usd is None or not tally.accepted:
        return None
    return tally.cost_usd / tally.accepted * max(tally.wanted, tally.accepted)


def money(tally: Tally) -> str:
    """ "$0.31 spent, $0.72 projected for 1,000, budget $3.00": and whether the budget will do."""
    whole = projected(tally)
    text = f"{usd(tally.cost_usd)} spent, {usd(whole)} projected for {tally.wanted:,}"
    if tally.cost_usd is None:
        text = "cost unknown"
    if tally.budget_usd is None:
        return text
    text += f", budget {usd(tally.budget_usd)}"
    return f"{text} (will not do)" if whole is not None and whole > tally.budget_usd else text


def facts(tally: Tally, rate: float | None) -> str:
    """ "4.3 rows/s, 702 tried, 61% kept, 1,204 calls, 64 in flight"."""
    speed = "unknown" if rate is None else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
    kept = f"{tally.accepted / tally.tried:.0%} kept, " if tally.tried else ""
    return f"{speed} rows/s, {tally.tried:,} tried, {kept}{tally.calls:,} calls, {tally.in_flight} in flight"


def line(tally: Tally, rate: float | None) -> str:
    """Everything the panel shows, on one line."""
    parts = [f"{tally.accepted:,}/{tally.wanted:,} accepted", facts(tally, rate)]
    parts += [f"{eta(tally, rate)} left", money(tally)]
    dropped, answers = listed(tally.dropped), listed(tally.by_answer)
    parts += [f"dropped: {dropped or 'none'}"] + ([f"answers: {answers}"] if answers else [])
    return "; ".join(parts)


def listed(counts: Mapping[str, int]) -> str:
    """ "140 near duplicates, 71 agreement": largest first."""
    return ", ".join(f"{count:,} {name}" for name, count in largest(counts))


def largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The MOST_BARS largest counts, what is left in one sum."""
    ranked = sorted(counts.items(), key=lambda each: -each[1])
    shown = [(visible(name.replace("_", " ")), count) for name, count in ranked[:MOST_BARS]]
    rest = ranked[MOST_BARS:]
    return [*shown, (f"{len(rest)} more", sum(count for _, count in rest))] if rest else shown


def panel(tally: Tally, rate: float | None, *, title: str, columns: int) -> "Panel":
    """The live panel, `columns` wide."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    for ratio in (0, 1, 0, 0):
        head.add_column(ratio=ratio or None, no_wrap=True)
    head.add_row(
        Text(f"{tally.accepted:,}/{tally.wanted:,}", style="bold"),
        ProgressBar(total=max(1, tally.wanted), completed=tally.accepted),
        Text(f"{tally.accepted / max(1, tally.wanted):.0%}"),
        Text(f"ETA {eta(tally, rate)}"),
    )
    groups = [bars("dropped", tally.dropped, "red"), bars("answers", tally.by_answer, "green")]
    shown = [group for group, counts in zip(groups, (tally.dropped, tally.by_answer), strict=True) if counts]
    body: list[Any] = shown
    if len(shown) == 2 and columns >= SIDE_BY_SIDE_COLUMNS:
        beside = Table.grid(padding=(0, 3), expand=True)
        for _ in shown:
            beside.add_column(ratio=1)
        beside.add_row(*shown)
        body = [beside]
    parts = (head, Text(facts(tally, rate)), Text(money(tally)), *body)
    return Panel(Group(*parts), title=Text(visible(title)), title_align="left", width=min(columns, 120))


def bars(title: str, counts: Mapping[str, int], style: str) -> "Group":
    """Counts with a small bar each, the largest first."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(max_width=28, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1, min_width=4)
    most = max(counts.values(), default=1) or 1
    for name, count in largest(counts):
        bar = ProgressBar(total=most, completed=count, width=24, complete_style=style, finished_style=style)
        grid.add_row(Text(f"  {name}"), f"{count:,}", bar)
    return Group(Text(title, style="dim"), grid)
