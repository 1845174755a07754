"""Where the student does worse than the teacher: by label, length, turn, attribute and the user's columns.

Refuses slices of fewer than LEAST rows, and a p that is not corrected for how many slices there are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.score.paired import paired_difference, sign_test
from distill.types import Prediction

LEAST = 5
"""A slice of fewer rows says nothing."""
CORRECTION = "Benjamini-Hochberg over all slices, on exact sign tests"


def slices(
    rows: Sequence[Prediction],
    student: Sequence[float],
    teacher: Sequence[float],
    *,
    by_label: bool,
    seed: int,
    clusters: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A record a slice, the surest loss first (by the high end of its interval).

    `student` and `teacher` are the primary metric of `rows`, one value each. In a record: by, value, n, a
    (student's mean), b (teacher's), diff, low, high (95%), p_adjusted and p (exact sign test, which takes
    rows as independent).
    """
    found = []
    for name, value_of in dimensions(rows, by_label=by_label).items():
        values = [value_of(row) for row in rows]
        for value in dict.fromkeys(value for value in values if value is not None):
            places = [place for place, other in enumerate(values) if other == value]
            # All rows are no slice: that difference is the report's own.
            if LEAST <= len(places) < len(rows):
                found.append(_slice(name, value, places, student, teacher, seed, clusters))
    return sorted(_adjusted(found), key=lambda each: (each["high"], each["diff"]))


def dimensions(
    rows: Sequence[Prediction], *, by_label: bool
) -> Mapping[str, Callable[[Prediction], str | None]]:
    """What rows are sliced by: name -> a function that gives a row's value, or None where it has none."""
    found: dict[str, Callable[[Prediction], str | None]] = {}
    if by_label:
        found["label"] = lambda row: row.gold
    bounds = thirds([len(row.input) for row in rows])
    if bounds:
        found["length"] = lambda row: _length(len(row.input), bounds)
    for name in dict.fromkeys(name for row in rows for name in row.attributes):
        # A column of the user's may be named as a slice of ours is.
        found[f"your {name}" if name in ("label", "length") else name] = lambda row, name=name: (
            row.attributes.get(name)
        )  # type: ignore[misc]
    return found


def thirds(lengths: Sequence[int]) -> tuple[int, int] | None:
    """The lengths that end the first and second third; None where two thirds are of one length."""
    ordered = sorted(lengths)
    if not ordered:
        return None
    low, high = ordered[(len(ordered) - 1) // 3], ordered[2 * (len(ordered) - 1) // 3]
    return (low, high) if low < high else None


def _length(length: int, bounds: tuple[int, int]) -> str:
    low, high = bounds
    if length <= low:
        return f"short (to {low} characters)"
    return f"medium (to {high} characters)" if length <= high else f"long (over {high} characters)"


def _slice(
    name: str,
    value: str,
    places: Sequence[int],
    student: Sequence[float],
    teacher: Sequence[float],
    seed: int,
    clusters: Sequence[str],
) -> dict[str, Any]:
    mine, theirs = [student[place] for place in places], [teacher[place] for place in places]
    found = paired_difference(mine, theirs, seed, [clusters[place] for place in places] if clusters else ())
    return {
        "by": name,
        "value": value,
        "n": found.n,
        "a": sum(mine) / found.n,
        "b": sum(theirs) / found.n,
        "diff": found.value,
        "low": found.low,
        "high": found.high,
        "p": sign_test(mine, theirs)[2],
    }


def _adjusted(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not found:
        return []
    from scipy.stats import false_discovery_control

    adjusted = false_discovery_control([each["p"] for each in found], method="bh")
    return [{**each, "p_adjusted": float(p)} for each, p in zip(found, adjusted, strict=True)]
