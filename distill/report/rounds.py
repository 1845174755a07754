"""Round by round, in lines: what each refilling did to the student, on rows that were never refilled.

Refuses to show a single round: there is nothing to compare it with.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from distill.score.verdict import named, points


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """ "round 1, 440 train rows: 81.2% (77.5 to 84.4); +3.4 points on the round before (+0.6 to +6.2)"."""
    rounds = summary.get("rounds", ())
    if not rounds:
        return
    newest = rounds[-1]
    if said := others(newest):
        yield f"round by round: {said}"
    if len(rounds) < 2:
        return
    yield (
        f"round by round ({newest['split']} rows, never refilled; teacher {newest['teacher']:.1%}, "
        f"{named(newest['metric'])}):"
    )
    for each in rounds:
        bounds = f"{100 * each['low']:.1f} to {100 * each['high']:.1f}"
        line = f"  round {each['round']}, {each['n_train']:,} train rows: {each['value']:.1%} ({bounds})"
        if change := each["against_previous"]:
            span = f"{points(change['low'])} to {points(change['high'])}"
            line += f"; {points(change['diff'])} points on the round before (95%: {span}, {change['n']} rows)"
        yield line


def others(newest: Mapping[str, Any]) -> str:
    """How many rounds are left out as they were measured on other rows; "" where none is."""
    count = newest.get("left_out", 0)
    of = "round was" if count == 1 else "rounds were"
    return f"{count} earlier {of} compared on other rows and left out." if count else ""
