"""The figures of the page, each a pure function of a part of report.json: frontier, intervals, curves.

Refuses to draw what is unknown: a system without a price is not on the cost figure, and a figure with fewer
than two points is none.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from distill.report import words
from distill.report.svg import (
    Axis,
    figure,
    line,
    linear,
    logarithmic,
    marker,
    path,
    rect,
    system_class,
    text,
    x_axis,
    y_axis,
)

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 424, 18, 250
FREE_ROOM = 40
"""Left of the log scale, for what costs nothing."""
LETTER = 8.0
"""About how wide a letter of a name is."""
Record = Mapping[str, Any]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def frontier(
    systems: Sequence[Record], scores: Mapping[str, Record], key: str, axis_name: str
) -> Markup | None:
    """Quality against `key` of each system (log scale), with error bars; None where fewer than two have it.

    `scores` is the primary metric by system; up and to the left is better. What costs nothing stands left of
    a dashed line, before the scale begins.
    """
    known = [each for each in systems if each.get(key) is not None and each["who"] in scores]
    above = [each[key] for each in known if each[key] > 0]
    money = key.startswith("usd")
    drawn = [each for each in known if each[key] > 0 or (money and each[key] == 0)]
    if len(drawn) < 2 or not above:
        return None
    free = len(drawn) > len(above)
    shares = [scores[each["who"]][name] for each in drawn for name in ("low", "high")]
    x = logarithmic(above, LEFT + FREE_ROOM if free else LEFT, RIGHT, room=2.2)
    y = linear(shares, BOTTOM, TOP)
    said = words.usd if money else words.seconds
    parts = [
        y_axis(y, LEFT, RIGHT, [(value, words.percent(value, 0)) for value in y.ticks() if 0 <= value <= 1]),
        x_axis(x, BOTTOM, [(value, said(value)) for value in x.ticks(4)]),
        text(LEFT + FREE_ROOM / 2, BOTTOM + 18, said(0), "tick", "middle") if free else "",
        line(LEFT + FREE_ROOM, TOP, LEFT + FREE_ROOM, BOTTOM, "margin") if free else "",
        text((LEFT + RIGHT) / 2, HEIGHT - 10, f"{axis_name}  (log scale; left is better)", "name", "middle"),
    ]
    places = {each["who"]: x.at(each[key]) if each[key] else LEFT + FREE_ROOM / 2 for each in drawn}
    taken = [_mark(at, y.at(scores[who]["value"])) for who, at in places.items()]
    for who in sorted(places, key=lambda who: -scores[who]["value"]):
        parts.append(_point(who, scores[who], places[who], y, taken))
    told = "; ".join(
        f"{each['who']} {words.percent(scores[each['who']]['value'])} at {said(each[key])}" for each in drawn
    )
    return figure(WIDTH, HEIGHT, f"Quality against {axis_name}: {told}", *parts)


def _point(who: str, score: Record, x: float, y: Axis, taken: list[Box]) -> str:
    """One system's mark with its error bar and name; `taken` is where marks and names are already."""
    low, middle, high = (y.at(score[name]) for name in ("low", "value", "high"))
    told = f"{who} {words.percent(score['value'])}"
    left_of, height = _room(x, middle, LETTER * len(told), taken)
    bar = line(x, low, x, high, f"bar {system_class(who)}")
    caps = "".join(line(x - 5, end, x + 5, end, f"bar {system_class(who)}") for end in (low, high))
    name = text(x + (-13 if left_of else 13), height, told, "label", "end" if left_of else "start")
    return bar + caps + marker(x, middle, who) + name


def _room(x: float, middle: float, width: float, taken: list[Box]) -> tuple[bool, float]:
    """(left of the mark, height) of a name of that width: the nearest free place, which is taken."""
    for step in (0, 17, -17, 34, -34, 51, -51):
        for left_of in (x > RIGHT - 110, x <= RIGHT - 110):
            start = x - 13 - width if left_of else x + 13
            box = (start, middle + step - 7, start + width, middle + step + 7)
            if start >= LEFT and box[2] <= RIGHT + 8 and not any(map(partial(_overlap, box), taken)):
                taken.append(box)
                return left_of, middle + step + 4
    return x > RIGHT - 110, middle + 4


def _mark(x: float, middle: float) -> Box:
    return x - 8, middle - 8, x + 8, middle + 8


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def difference(paired: Record, max_drop: float) -> Markup:
    """The one interval the verdict rests on: student minus teacher, against the drop allowed."""
    margin = -max_drop / 100
    room = max(abs(paired["low"]), abs(paired["high"]), abs(margin)) * 1.25
    axis = Axis(-room, room, 16, WIDTH - 16)
    edge, top, middle, floor = axis.at(margin), 24, 52, 72
    kind = "good" if paired["low"] >= margin else "bad" if paired["high"] < margin else "unsure"
    parts = [
        rect(axis.start, top, edge - axis.start, floor - top, "zone-bad"),
        rect(edge, top, axis.end - edge, floor - top, "zone-good"),
        line(axis.at(0), top, axis.at(0), floor, "zero"),
        line(edge, top - 6, edge, floor, "margin"),
        text(edge - 6, top - 8, "too far below", "tick", "end") if edge - axis.start > 90 else "",
        text(edge + 6, top - 8, f"fine: down to {words.points(margin)}", "tick"),
        line(axis.at(paired["low"]), middle, axis.at(paired["high"]), middle, f"interval {kind}"),
        *(line(axis.at(paired[end]), middle - 7, axis.at(paired[end]), middle + 7, f"interval {kind}")
          for end in ("low", "high")),
        f'<circle cx="{axis.at(paired["diff"]):g}" cy="{middle}" r="8" class="dot {kind}"/>',
        text(axis.at(paired["diff"]), top + 10, words.points(paired["diff"]), f"label {kind}", "middle"),
        x_axis(axis, floor, [(tick, words.points(tick)) for tick in axis.ticks(5)]),
        text(WIDTH / 2, 111, "student minus teacher, in points, with its 95% interval", "name", "middle"),
    ]  # fmt: skip
    told = (
        f"Student minus teacher: {words.points(paired['diff'])} points, 95% interval "
        f"{words.points(paired['low'])} to {words.points(paired['high'])}; allowed is {words.points(margin)}."
    )
    return figure(WIDTH, 116, told, *parts, kind="difference")


def whisker(
    low: float, middle: float, high: float, axis: Axis, mark: str, margin: float | None = None
) -> Markup:
    """A small interval for a table cell; `mark` colours it, `margin` is drawn as a dashed line."""
    parts = [
        line(axis.start, 9, axis.end, 9, "grid"),
        line(axis.at(0), 1, axis.at(0), 17, "zero") if axis.low < 0 < axis.high else "",
        line(axis.at(margin), 1, axis.at(margin), 17, "margin") if margin is not None else "",
        line(axis.at(low), 9, axis.at(high), 9, f"bar {mark}"),
        f'<circle cx="{axis.at(middle):g}" cy="9" r="4.5" class="mark {mark}"/>',
    ]
    told = f"{words.points(middle)} points, {words.points(low)} to {words.points(high)}"
    return figure(int(axis.end + axis.start), 18, told, *parts, kind="whisker")


def rate(value: float, low: float, high: float) -> Markup:
    """A win rate with its interval for a table cell; dashed: half, where neither is better."""
    axis = Axis(0, 1, 6, 214)
    kind = sign_of(low - 0.5, high - 0.5)
    parts = [
        line(axis.start, 9, axis.end, 9, "grid"),
        line(axis.at(0.5), 1, axis.at(0.5), 17, "margin"),
        line(axis.at(low), 9, axis.at(high), 9, f"bar {kind}"),
        f'<circle cx="{axis.at(value):g}" cy="9" r="4.5" class="mark {kind}"/>',
    ]
    told = f"{words.percent(value)}, {words.percent(low)} to {words.percent(high)}"
    return figure(220, 18, told, *parts, kind="whisker")


def sign_of(low: float, high: float) -> str:
    """What an interval says: a loss, a gain, or neither."""
    return "bad" if high < 0 else "good" if low > 0 else "unsure"


def loss_curve(history: Sequence[Record], best_step: int | None) -> Markup | None:
    """Training loss a step and validation loss, log scale; None where there are fewer than two steps."""
    train = [(each["step"], each["loss"]) for each in history if (each.get("loss") or 0) > 0]
    valid = [(each["step"], each["valid_loss"]) for each in history if (each.get("valid_loss") or 0) > 0]
    if len(train) < 2:
        return None
    x = Axis(train[0][0], max(train[-1][0], train[0][0] + 1), LEFT, RIGHT)
    y = logarithmic([loss for _, loss in train + valid], BOTTOM, TOP, room=1.25)
    parts = [
        y_axis(y, LEFT, RIGHT, [(value, f"{value:g}") for value in y.ticks()]),
        x_axis(x, BOTTOM, [(value, f"{value:g}") for value in x.ticks() if value == int(value)]),
        text((LEFT + RIGHT) / 2, HEIGHT - 10, "optimiser step", "name", "middle"),
        path([(x.at(step), y.at(loss)) for step, loss in thinned(train)], "curve train"),
        path([(x.at(step), y.at(loss)) for step, loss in valid], "curve valid") if len(valid) > 1 else "",
        *(f'<circle cx="{x.at(step):g}" cy="{y.at(loss):g}" r="3.5" class="mark valid"/>'
          for step, loss in valid),
    ]  # fmt: skip
    if best := next((point for point in valid if point[0] == best_step), None):
        spot = x.at(best[0]), y.at(best[1])
        parts.append(f'<circle cx="{spot[0]:g}" cy="{spot[1]:g}" r="8" class="best"/>')
        # Losses fall, so that the corner above them is free.
        parts.append(f'<circle cx="{RIGHT - 6}" cy="{TOP + 5}" r="5" class="best"/>')
        parts.append(text(RIGHT - 18, TOP + 9, f"kept: step {best[0]}, {best[1]:.3g}", "label", "end"))
    told = f"Loss over {train[-1][0]} steps: {train[0][1]:.3g} at first, {train[-1][1]:.3g} at last"
    return figure(WIDTH, HEIGHT, told, *parts)


def quality_curve(
    points: Sequence[Record],
    key: str,
    axis_name: str,
    *,
    whole: bool,
    log: bool = False,
    mark: tuple[float, float, str] | None = None,
    beside: Sequence[tuple[float, float]] = (),
) -> Markup | None:
    """Quality (value, low, high) against `key`, a count where `whole`, else a share; None below two.

    `mark` is one more point (x, y, its name), `beside` the teacher's line.
    """
    drawn = sorted(
        (each for each in points if each.get("value") is not None), key=lambda each: float(each[key])
    )
    if len({each[key] for each in drawn}) < 2:
        return None
    places = [each[key] for each in drawn]
    x = logarithmic(places, LEFT, RIGHT, room=1.15) if log else linear(places, LEFT, RIGHT, pad=0.04)
    ends = [each.get(end, each["value"]) for each in drawn for end in ("low", "value", "high")]
    y = linear([*ends, *(value for _, value in beside)], BOTTOM, TOP)
    said = words.count if whole else (lambda value: words.percent(value, 0))
    ticks = [0, 0.25, 0.5, 0.75, 1] if not whole else x.ticks()
    if whole and len(set(places)) <= 7:
        ticks = sorted(set(places))
    parts = [
        y_axis(y, LEFT, RIGHT, [(value, words.percent(value, 0)) for value in y.ticks() if 0 <= value <= 1]),
        x_axis(x, BOTTOM, [(value, said(value)) for value in ticks]),
        text((LEFT + RIGHT) / 2, HEIGHT - 10, axis_name, "name", "middle"),
        path([(x.at(place), y.at(value)) for place, value in beside], "curve teacher-line"),
        *(line(x.at(each[key]), y.at(each["low"]), x.at(each[key]), y.at(each["high"]), "bar student")
          for each in drawn if "low" in each),
        path([(x.at(each[key]), y.at(each["value"])) for each in drawn], "curve valid"),
        *(marker(x.at(each[key]), y.at(each["value"]), "student", 4) for each in drawn),
        *_marked(mark, x, y),
    ]  # fmt: skip
    told = "; ".join(f"{said(each[key])}: {words.percent(each['value'])}" for each in drawn[:20])
    return figure(WIDTH, HEIGHT, f"Quality against {axis_name}. {told}", *parts)


def _marked(mark: tuple[float, float, str] | None, x: Axis, y: Axis) -> list[str]:
    if mark is None:
        return []
    across, up, name = x.at(mark[0]), y.at(mark[1]), mark[2]
    end = "end" if across > (LEFT + RIGHT) / 2 else "start"
    return [
        line(across, TOP, across, BOTTOM, "margin"),
        f'<circle cx="{across:g}" cy="{up:g}" r="8" class="best"/>',
        text(across + (-10 if end == "end" else 10), BOTTOM - 12, name, "label", end),
    ]


def thinned(points: Sequence[tuple[Any, float]], most: int = 600) -> list[tuple[Any, float]]:
    """At most about `most` of the points, the means of neighbours: a page does not carry 100,000 steps."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def funnel(parts: Sequence[tuple[str, int]]) -> Markup:
    """Counts side by side in one bar: what was kept, then each reason something was dropped for."""
    total, x, drawn = sum(number for _, number in parts) or 1, 0.0, []
    for place, (_, number) in enumerate(parts):
        width = 880 * number / total
        drawn.append(rect(x, 0, width - 2 if width > 4 else width, 28, f"part-{min(place, 7)}", 2))
        x += width
    told = ", ".join(f"{name} {number:,}" for name, number in parts)
    return figure(880, 28, f"Of {total:,}: {told}", *drawn, kind="funnel")
