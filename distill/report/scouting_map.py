"""The map of scouted tasks: the teacher's score against the untrained student's, as one SVG figure. Pure.

Refuses to place a task by a number it does not have: where the student was not asked, it stands apart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from distill.report import words
from distill.report.svg import Axis, figure, line, text, x_axis, y_axis

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 60, 700, 24, 376
STRIP = 96
"""Pixels on the left for tasks whose student score is not known."""
ROOM = 0.08
"""Share of the axes beyond 0 and 1: a bubble has a size."""
SMALLEST, LARGEST = 10.0, 30.0
BESIDE = 34.0
"""Pixels that a bubble is moved to the right where another one stands in its place."""
LEVELS = (
    (0.95, "sure", "answers that are equal or not"),
    (0.85, "fair", "JSON, compared field by field"),
    (0.0, "loose", "free text, for a reader or a judge"),
)
"""Checkability from which a bubble has that class, and what it means."""
Row = Mapping[str, Any]


def scouting_map(rows: Sequence[Row]) -> Markup:
    """A bubble a task: high is a good teacher, left is a student that starts low; area is what it costs."""
    apart = any(row.get("base") is None for row in rows)
    x = Axis(-ROOM, 1 + ROOM, LEFT + (STRIP if apart else 0), RIGHT)
    y = Axis(-ROOM, 1 + ROOM, BOTTOM, TOP)
    ticks = [(value / 4, words.percent(value / 4, 0)) for value in range(5)]
    parts = [
        y_axis(y, LEFT, RIGHT, ticks),
        x_axis(x, BOTTOM, ticks),
        line(x.at(0), y.at(0), x.at(1), y.at(1), "margin"),
        text(x.at(1), y.at(0.04), "nothing to gain below the line", "tick", "end"),
        text((x.start + x.end) / 2, HEIGHT - 18, "untrained student's score", "name", "middle"),
        text(LEFT, TOP - 10, "teacher's score, with its 95% interval", "name"),
    ]
    if apart:
        parts.append(text(LEFT + STRIP / 2 - 6, BOTTOM + 18, "not asked", "tick", "middle"))
    lone = [row for row in rows if row.get("base") is None]
    largest = max((cost(row) or 0.0 for row in rows), default=0.0)
    taken: list[tuple[float, float]] = []
    names: list[str] = []
    for row in sorted(rows, key=lambda row: -(cost(row) or 0.0)):
        if row.get("base") is None:
            at = LEFT + STRIP * (lone.index(row) + 0.5) / len(lone) - 4
        else:
            at = x.at(row["base"]["value"])
        while any(
            abs(at - other) < BESIDE and abs(y.at(row["value"]) - height) < BESIDE for other, height in taken
        ):
            at += BESIDE
        taken.append((at, y.at(row["value"])))
        parts.append(_bubble(row, at, y, largest))
        names.append(text(at, y.at(row["value"]) + 4.5, str(row["number"]), "inside", "middle"))
    parts += names  # above every bubble
    told = "; ".join(
        f"{row['number']} {row['name']}: teacher {words.percent(row['value'], 0)}, student "
        f"{words.percent(row['base']['value'], 0) if row.get('base') else 'not asked'}"
        for row in rows
    )
    return figure(WIDTH, HEIGHT, f"Teacher against student. {told}", *parts, kind="map")


def _bubble(row: Row, x: float, y: Axis, largest: float) -> str:
    low, middle, high = (y.at(row[name]) for name in ("low", "value", "high"))
    usd = cost(row)
    size = SMALLEST
    if usd and largest:
        size = max(SMALLEST, LARGEST * math.sqrt(usd / largest))
    kind = level(row)
    caps = "".join(line(x - 5, end, x + 5, end, f"bar {kind}") for end in (low, high))
    return (
        line(x, low, x, high, f"bar {kind}")
        + caps
        + f'<circle cx="{x:g}" cy="{middle:g}" r="{size:.1f}" class="bubble {kind}"/>'
    )


def cost(row: Row) -> float | None:
    """USD a month where the log says, else USD of the whole log; None where the price is unknown."""
    traffic = row.get("traffic") or {}
    usd: float | None = (
        traffic.get("usd_a_month") if traffic.get("usd_a_month") is not None else traffic.get("usd")
    )
    return usd


def level(row: Row) -> str:
    """The class of how surely the task's answers can be checked."""
    value = ((row.get("terms") or {}).get("terms") or {}).get("checkability") or 0.0
    return next(name for least, name, _ in LEVELS if value >= least)
