"""Two JSON values, stored and worked out again, compared value by value. Pure.

Refuses to call numbers the same that differ in their first nine digits.
"""

import math
from collections.abc import Iterator
from typing import Any

CLOSE = 1e-9


def differences(stored: Any, again: Any, where: str) -> Iterator[str]:
    """ "scores[0].value: 0.9, not 0.8" for each value that is not the same, numbers to nine digits."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in {**stored, **again}:
            yield from differences(stored.get(name), again.get(name), f"{where}.{name}".lstrip("."))
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for place, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif not _equal(stored, again):
        yield f"{where} is {stored!r:.60}, not {again!r:.60}"


def _equal(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers) and bool not in (type(one), type(other)):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(one == other)


def numbers_in(value: Any) -> int:
    """How many numbers stand in a JSON value."""
    if isinstance(value, dict):
        return sum(map(numbers_in, value.values()))
    if isinstance(value, list):
        return sum(map(numbers_in, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)
