"""The terminal: progress, tables, errors. The only module that prints.

Data goes to stdout, everything else to stderr. Model text is data: it is shown, never taken as markup or
as terminal control. It refuses to animate where nobody watches (no TTY).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from distill.errors import DistillError
from distill.panel import Pace, line, panel
from distill.report.plain import visible
from distill.types import Tally

SECONDS_BETWEEN_LINES = 10.0


class Console:
    """What a command shows. `quiet`: only errors and data; `as_json`: one JSON object instead of tables."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        from rich.console import Console as RichConsole

        self.as_json = as_json
        self.quiet = quiet
        self.out = RichConsole(highlight=False, markup=False, emoji=False)
        self.err = RichConsole(stderr=True, highlight=False, markup=False, emoji=False)

    def result(self, value: Mapping[str, Any], *shown: Any) -> None:
        """The command's result: `value` as JSON with --json, else the renderables `shown`."""
        if self.as_json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            return
        for renderable in shown:
            if isinstance(renderable, str):
                self.out.print(visible(renderable, keep_lines=True), soft_wrap=True)
            else:
                self.out.print(renderable)

    def say(self, text: str) -> None:
        """One line for the person at the terminal."""
        if not self.quiet:
            self.err.print(visible(text, keep_lines=True), soft_wrap=True)

    def marked(self, text: str) -> Any:
        """`text`, model text made safe, with what is between ⟦ and ⟧ in colour where there is colour."""
        from rich.text import Text

        shown = Text(visible(text, keep_lines=True))
        shown.highlight_regex("⟦[^⟧]*⟧", "bold green")
        return shown

    def ask(self, *shown: Any) -> None:
        """What a command that asks has to show, quiet or not: renderables, text as it is."""
        for renderable in shown:
            if isinstance(renderable, str):
                self.err.print(visible(renderable, keep_lines=True), soft_wrap=not self.err.is_terminal)
            else:
                self.err.print(renderable)

    def error(self, error: DistillError) -> None:
        """`error:` what and where, `hint:` what to do next."""
        where = f"{error.where}: " if error.where else ""
        style = "bold red" if self.err.is_terminal else None
        self.err.print(
            visible(f"error: {where}{error.message}", keep_lines=True), style=style, soft_wrap=True
        )
        if error.hint:
            self.err.print(visible(f"hint: {error.hint}", keep_lines=True), soft_wrap=True)

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        fold: int | Sequence[int],
        numeric: Sequence[int] = (),
    ) -> Any:
        """A rich table of plain text; columns `fold` give way where it is narrow, `numeric` go right.

        A cell is text that is shown as it is, or a `rich.text.Text` whose text has been made safe.
        """
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        folding = (fold,) if isinstance(fold, int) else fold
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for number, header in enumerate(headers):
            side: Literal["left", "right"] = "right" if number in numeric else "left"
            table.add_column(header, justify=side, overflow="fold", no_wrap=number not in folding)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
        return table


class Bar:
    """A `Progress` on stderr: live on a terminal, a line every ten seconds elsewhere.

    A `tally` turns the live bar into the panel, until the next piece of work begins.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Any = None
        self._progress: Any = None
        self._task: Any = None
        self._pace: Pace | None = None
        self._what, self._total, self._count = "", 0, 0
        self._started = self._printed = 0.0

    def __enter__(self) -> "Bar":
        if self._console.err.is_terminal and not self._console.quiet:
            from rich.live import Live
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console.err,
                auto_refresh=False,
            )
            # Drawn by a thread of its own, four times a second: what is shown costs the caller nothing.
            self._live = Live(get_renderable=self._drawn, console=self._console.err, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        if self._live is not None:
            self._live.stop()

    def begin(self, what: str, total: int | None) -> None:
        """Start a piece of work."""
        self._finish()
        self._what, self._total, self._count = visible(what), total or 0, 0
        self._started = self._printed = time.monotonic()
        if self._progress is None:
            self._console.say(f"{what} …")
        else:
            self._task = self._progress.add_task(self._what, total=total, note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Units done, with a note."""
        self._count += count
        if self._progress is not None:
            self._progress.update(self._task, advance=count, note=visible(note))
        elif self._pace is None and self._due():
            self._console.say(f"  {self._what}: {self._done()}{self._eta()}; {note}")

    def tally(self, tally: Tally) -> None:
        """How far generating is: counts, the drop funnel, money. Cheap: thousands a second are well."""
        if self._pace is None:
            self._pace = Pace()
        self._pace.see(tally)
        self._count, self._total = tally.accepted, tally.wanted
        if self._live is None and self._due():
            self._console.say(f"  {self._what}: {line(tally, self._pace.rate())}")

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.say(text)

    def marked(self, text: str) -> None:
        """The same with what is between ⟦ and ⟧ in colour."""
        if not self._console.quiet:
            self._console.err.print(self._console.marked(text), soft_wrap=True)

    def _drawn(self) -> Any:
        """What the terminal shows now."""
        pace = self._pace
        if pace is None or pace.tally is None:
            return self._progress
        return panel(pace.tally, pace.rate(), title=self._what, columns=self._console.err.width)

    def _due(self) -> bool:
        """Whether the next line may be printed; from then on it has been."""
        now = time.monotonic()
        if now - self._printed < SECONDS_BETWEEN_LINES:
            return False
        self._printed = now
        return True

    def _finish(self) -> None:
        if not self._what:
            return
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._pace = None
        self._console.say(f"{self._what}: {self._done()} in {time.monotonic() - self._started:.0f} s")
        self._what = ""

    def _done(self) -> str:
        return f"{self._count}/{self._total}" if self._total else f"{self._count}"

    def _eta(self) -> str:
        if not self._total or not self._count:
            return ""
        spent = time.monotonic() - self._started
        if spent < SECONDS_BETWEEN_LINES or self._count < 5:
            return ""
        left = spent / self._count * (self._total - self._count)
        return f", {left:.0f} s left"
