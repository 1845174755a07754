"""The few strokes every figure of the page is drawn with: axes, text, markers, the frame. Pure, SVG only.

Refuses inline styles (the page's policy forbids them; classes carry the colours) and unescaped text.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.report.plain import visible


class Axis(NamedTuple):
    """Values `low` to `high` laid over the pixels `start` to `end`, on a log scale where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; what lies outside is drawn at the edge."""
        value = min(max(value, self.low), self.high)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values on the axis, about `wanted` of them."""
        return _log_ticks(self.low, self.high, wanted) if self.log else _ticks(self.low, self.high, wanted)


def linear(values: Sequence[float], start: float, end: float, *, pad: float = 0.08) -> Axis:
    """An axis with a little room around `values`."""
    low, high = min(values), max(values)
    room = (high - low) * pad or abs(high) * pad or 0.5
    return Axis(low - room, high + room, start, end)


def logarithmic(values: Sequence[float], start: float, end: float, *, room: float = 1.6) -> Axis:
    """A log axis around `values`, which are above 0."""
    return Axis(min(values) / room, max(values) * room, start, end, log=True)


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + place) * step, 12) for place in range(count)]


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1, 2, 5), (1, 3), (1,)):
        found = [part * 10.0**decade for decade in decades for part in parts]
        found = [value for value in found if low <= value <= high]
        if len(found) <= wanted + 1:
            # Within less than an octave there may be none: round steps then are as good.
            return found if len(found) > 1 else _ticks(low, high, wanted)
    return found[:: math.ceil(len(found) / wanted)]


def figure(width: int, height: int, label: str, *parts: str, kind: str = "") -> Markup:
    """The SVG around `parts`; `label` says in words what it shows, for those who do not see it."""
    return Markup(
        f'<svg class="fig {kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{shown(label)}">'
        f"{''.join(parts)}</svg>"
    )


def shown(text: str) -> str:
    """Text from outside as SVG text: spelt out where it cannot be shown, and escaped."""
    return str(escape(visible(text)))


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text, its baseline at (x, y)."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{shown(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> str:
    """A filled box; a negative width is drawn as none."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{max(0, width):g}" height="{height:g}" rx="{radius:g}"'
        f' class="{kind}"/>'
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """A line through the points."""
    return f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in points)}" class="{kind}"/>'


def marker(x: float, y: float, who: str, size: float = 6) -> str:
    """A system's mark: told apart by its shape as well as its colour."""
    kind = f"mark {system_class(who)}"
    if who == "student":
        return f'<circle cx="{x:g}" cy="{y:g}" r="{size:g}" class="{kind}"/>'
    if who == "teacher":
        return rect(x - size, y - size, 2 * size, 2 * size, kind, 1)
    if who in ("base", "prompted base"):
        corners = [(0, -1.2), (1.1, 0.9), (-1.1, 0.9)]
    else:
        corners = [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)]
    spots = " ".join(f"{x + dx * size:g},{y + dy * size:g}" for dx, dy in corners)
    return f'<polygon points="{spots}" class="{kind}"/>'


def system_class(who: str) -> str:
    """The class that colours a system; those given to --also share one."""
    return {"teacher": "teacher", "student": "student", "base": "base", "prompted base": "prompted"}.get(
        who, "other"
    )


def y_axis(axis: Axis, x1: float, x2: float, labels: Sequence[tuple[float, str]]) -> str:
    """Horizontal grid lines with their values on the left."""
    return "".join(
        line(x1, axis.at(value), x2, axis.at(value), "grid")
        + text(x1 - 8, axis.at(value) + 4, words, "tick", "end")
        for value, words in labels
    )


def x_axis(axis: Axis, y: float, labels: Sequence[tuple[float, str]]) -> str:
    """The line at the bottom with small strokes and their values under it."""
    strokes = "".join(
        line(axis.at(value), y, axis.at(value), y + 4, "axis")
        + text(axis.at(value), y + 18, words, "tick", "middle")
        for value, words in labels
    )
    return line(axis.start, y, axis.end, y, "axis") + strokes
