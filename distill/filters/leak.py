"""Drops inputs that are, hold or share a passage with a protected row: gold, seeds, held-out rows.

Refuses to call a common phrase a leak: a shared passage is 13 words (30 characters in unspaced scripts), or
the whole of a protected row of 6 words (12 characters) or more.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from distill.filters.rule import Rule, excerpt
from distill.score.text import TOKEN
from distill.store.near import UNSPACED_CHAR, NearIndex, Sketcher, grams, jaccard
from distill.types import Candidate


class Closest(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate that came nearest to a protected row; `dropped` tells whether that was too near."""

    similarity: float
    candidate: int
    input: str
    row: str
    dropped: bool


class Units(NamedTuple):
    """A text in what passages are counted in: `passage` of them leak, a row of fewer than `head` cannot."""

    units: list[str]
    passage: int
    head: int


class Leaks:
    """Protected rows, and the worst pair met. Under the threshold the worst is what the index came across."""

    def __init__(self, protected: Sequence[str], sketcher: Sketcher) -> None:
        self.worst: Closest | None = None
        self._sketcher = sketcher
        self._near = NearIndex(sketcher.threshold, sketcher=sketcher)
        # The first units of each passage -> the passages that begin so, each with its row.
        self._passages: dict[str, dict[str, str]] = {}
        for text in dict.fromkeys(protected):
            self._near.add(text, text)
            for head, passage in _passages(sketcher.sketch(text).clean):
                self._passages.setdefault(head, {}).setdefault(passage, text)

    def why(self, candidate: Candidate) -> str:
        """Which protected row the candidate's input is too near to, or ""."""
        if not len(self._near):
            return ""
        alike = self._near.alike(candidate.input)
        if alike and alike[0][0] >= self._near.threshold:
            similarity, row = alike[0]
            self._note(similarity, candidate, row, dropped=True)
            return f"{similarity:.0%} like the protected row {excerpt(row)!r}"
        if found := self._shared(candidate.input):
            passage, row = found
            clean = (self._sketcher.sketch(text).clean for text in (candidate.input, row))
            self._note(jaccard(*map(grams, clean)), candidate, row, dropped=True)
            return f"shares {excerpt(passage)!r} with the protected row {excerpt(row)!r}"
        if alike:
            self._note(alike[0][0], candidate, alike[0][1], dropped=False)
        return ""

    def _shared(self, text: str) -> tuple[str, str] | None:
        """(a passage that `text` shares with a protected row, the row), or None."""
        units, _, head = in_units(self._sketcher.sketch(text).clean)
        whole = ""
        for place in range(len(units) - head + 1):
            begin = self._passages.get(" ".join(units[place : place + head]))
            if begin:
                whole = whole or f" {' '.join(units)} "
                for passage, row in begin.items():
                    if f" {passage} " in whole:
                        return passage, row
        return None

    def _note(self, similarity: float, candidate: Candidate, row: str, *, dropped: bool) -> None:
        worst = self.worst
        if worst is None or (dropped, similarity) > (worst.dropped, worst.similarity):
            self.worst = Closest(
                similarity=round(similarity, 4),
                candidate=candidate.index,
                input=candidate.input,
                row=row,
                dropped=dropped,
            )


def leak(leaks: Leaks) -> Rule:
    """Drop an input that nearly is a protected row, or shares a passage with one; says which."""
    # Asked once more when a candidate is accepted: of a conversation, the later turns have come since.
    return Rule("leak", leaks.why, lambda candidate: None)


def in_units(clean: str) -> Units:
    """A cleaned text in words; in characters where most of it is in a script without spaces."""
    if clean.isascii():
        return Units(clean.split(), 13, 6)
    units = TOKEN.findall(clean)
    unspaced = sum(UNSPACED_CHAR.match(unit) is not None for unit in units)
    return Units(units, 30, 12) if 2 * unspaced > len(units) else Units(clean.split(), 13, 6)


def _passages(clean: str) -> Iterator[tuple[str, str]]:
    """(head, passage) of each passage of a protected row: all of it where it is no longer than one."""
    units, size, head = in_units(clean)
    size = min(size, len(units))
    if size < head:
        return
    for place in range(len(units) - size + 1):
        passage = units[place : place + size]
        yield " ".join(passage[:head]), " ".join(passage)
