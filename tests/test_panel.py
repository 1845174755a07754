"""The live panel and its line: the same facts, nothing invented, model text as text, cheap to feed."""

import io
import re
import sys
import threading
import time

import pytest
from rich.console import Console as RichConsole

from distill import panel
from distill.console import Bar, Console
from distill.types import Tally

HOSTILE = "[red]no[/red]\x1b[2J"


def tally(**more):
    base = {
        "accepted": 400,
        "wanted": 1000,
        "tried": 650,
        "dropped": {"agreement": 71, "near_duplicates": 140, "echo": 39},
        "by_answer": {"happy": 220, "sad": 180},
        "calls": 1204,
        "in_flight": 64,
        "cost_usd": 0.30,
        "budget_usd": 3.0,
    }
    return Tally(**(base | more))


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def drawn(shown, columns):
    console = RichConsole(width=columns, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(panel.panel(shown, 4.0, title="generating", columns=columns))
    return console.file.getvalue()


def test_rate_is_of_the_last_seconds_and_falls_when_nothing_comes():
    clock = Clock()
    pace = panel.Pace(clock)
    assert pace.rate() is None
    for second in range(10):  # a resumed run: a rush from the ledger …
        clock.now = 100.0 + second * 0.1
        pace.see(tally(accepted=second * 100))
    assert pace.rate() is None  # not a second has passed
    for second in range(60):  # … then two rows a second
        clock.now = 101.0 + second
        pace.see(tally(accepted=900 + 2 * second))
    assert pace.rate() == pytest.approx(2.0)
    clock.now += 15
    assert pace.rate() == pytest.approx(2.0 * 15 / 30, abs=0.1)
    clock.now += 100
    assert pace.rate() == 0


@pytest.mark.parametrize(
    ("rate", "shown"), [(None, "unknown"), (0.0, "unknown"), (4.0, "2:30"), (0.1, "1:40:00")]
)
def test_time_left(rate, shown):
    assert panel.eta(tally(), rate) == shown
    assert panel.eta(tally(accepted=1000), rate) == "0:00"


def test_money_is_projected_from_what_rows_cost_so_far():
    assert panel.projected(tally()) == pytest.approx(0.75)
    assert panel.money(tally()) == "$0.30 spent, $0.75 projected for 1,000, budget $3.00"
    assert panel.money(tally(budget_usd=0.5)).endswith("budget $0.50 (will not do)")
    assert panel.money(tally(cost_usd=None, budget_usd=None)) == "cost unknown"
    assert panel.money(tally(accepted=0, budget_usd=None)) == "$0.30 spent, unknown projected for 1,000"
    assert panel.usd(0.0004) == "$0.0004"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_panel_holds_every_fact_and_fits(columns):
    shown = drawn(tally(dropped={"agreement": 71, "near_duplicates": 140, HOSTILE: 39}), columns)
    lines = shown.rstrip("\n").split("\n")
    assert max(map(len, lines)) <= columns
    flat = re.sub(r"[\s│]+", " ", shown)
    for fact in ("400/1,000", "40%", "ETA 2:30", "4.0 rows/s", "650 tried", "62% kept", "1,204 calls"):
        assert fact in flat
    for fact in ("64 in flight", "$0.30 spent", "$0.75 projected for 1,000", "budget $3.00", "happy 220"):
        assert fact in flat
    assert flat.index("near duplicates 140") < flat.index("agreement 71") < flat.index("[red]no[/red]\\x1b")
    assert "\x1b" not in shown


def test_many_reasons_are_summed_up():
    many = {f"rule{number}": 100 - number for number in range(12)}
    shown = drawn(tally(dropped=many), 80)
    assert "rule7" in shown
    assert "rule8" not in shown
    assert re.search(r"4 more +362", shown)


def test_off_a_terminal_one_line_at_most_every_ten_seconds(capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("distill.console.time.monotonic", clock)
    with Bar(Console()) as bar:
        bar.begin("generating", 1000)
        for _ in range(300):
            clock.now += 0.1
            bar.advance(1, "a note")
            bar.tally(tally(dropped={HOSTILE: 3}))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "generating …"
    assert lines[-1] == "generating: 400/1000 in 30 s"
    told = lines[1:-1]
    assert 2 <= len(told) <= 3
    for fact in (
        "400/1,000 accepted",
        "650 tried",
        "3 [red]no[/red]\\x1b[2J",
        "$0.75 projected",
        "220 happy",
    ):
        assert fact in told[0]


def test_quiet_and_json_keep_the_panel_off_stdout(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    for console in (Console(quiet=True), Console(as_json=True)):
        with Bar(console) as bar:
            bar.begin("generating", 1000)
            bar.tally(tally())
            time.sleep(0.4)
        out, err = capsys.readouterr()
        assert out == ""
        assert ("near duplicates" in err) == (not console.quiet)


def test_no_color_has_no_colour(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    with Bar(Console()) as bar:
        bar.begin("generating", 1000)
        bar.tally(tally())
        time.sleep(0.4)
    err = capsys.readouterr().err
    assert "near duplicates" in err
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", err)


def test_next_work_takes_the_bar_back(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bar(Console()) as bar:
        bar.begin("generating", 1000)
        bar.tally(tally())
        assert type(bar._drawn()).__name__ == "Panel"
        bar.begin("asking for reasons", 5)
        bar.advance(2)
        assert bar._drawn() is bar._progress


def test_a_call_costs_under_ten_microseconds_and_drawing_never_trips_over_it(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    monkeypatch.setattr(panel, "BETWEEN_SAMPLES_S", 0.001)
    shown = tally()
    with Bar(Console()) as bar:
        bar.begin("generating", 1000)
        started, calls = time.process_time(), 0
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            bar.tally(shown)
            calls += 1
        spent = time.process_time() - started
    capsys.readouterr()
    assert not failed
    assert spent / calls < 10e-6


def test_nothing_of_rich_is_loaded_to_draw_a_line():
    assert "rich" not in vars(panel)
    assert "rich" not in vars(sys.modules["distill.console"])
