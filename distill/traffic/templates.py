"""Which template a prompt was made from, learned from a sample: what many prompts share word for word.

Shingles that the same prompts hold form a part. A part that is long enough, and with its rivals makes up most
of the prompts around it, is a template; parts within it split it again, down to what is only a value.
Refuses to call what a few prompts happen to share a template: they are noise.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from distill.traffic.documents import WIDTH, shingles, tokens, weight

LEAST = 8
"""Prompts that make a template at least."""
SHARE, INNER_SHARE = 0.004, 0.02
"""The same as a share of all prompts, and of those inside a template: a rarer part of them is a value."""
WHOLE = 0.95
"""Share of a template's prompts that hold what is constant in it."""
ALIKE = 0.9
"""Jaccard similarity from which the prompts of two parts are the same ones."""
LIGHTEST = 5.0
"""Words that a part is long, at least: shorter ones are phrases and values."""
HEAVY, HEAVY_SHARE = 12.0, 0.1
"""A part this long in this share of a template splits it even where it has no rivals: an optional section."""
COVERED = 0.7
"""Share of a template's prompts that its parts have to make up together, to split it."""
REST = 0.2
"""Share of a template's prompts without any of its parts, from which these are a template too."""
MATCH = 0.8
"""Share of a template's constant shingles that a prompt of it holds: a long one may be cut."""
Parts = dict[int, list[int]]
"""Prompts (a bit each) -> the shingles that just these hold."""


class Node(msgspec.Struct, frozen=True):
    """One template: its constant shingles besides its parent's, its parts, its number (-1: it has none)."""

    core: frozenset[int]
    children: tuple["Node", ...]
    number: int


class Templates(msgspec.Struct, frozen=True):
    """What `learn` found: `of` tells a prompt's template by its number, below `count`."""

    ids: dict[str, int]
    known: Any
    roots: tuple[Node, ...]
    count: int
    cores: tuple[frozenset[int], ...]

    def of(self, text: str) -> int | None:
        """The template of a document; None where it is noise."""
        import numpy

        held = shingles(tokens(text), self.ids)
        places = numpy.searchsorted(self.known, held) if len(self.known) else held[:0]
        places[places == len(self.known)] = 0
        found = set(held[self.known[places] == held].tolist()) if len(self.known) else set()
        number, level = -1, self.roots
        while level:
            fitting = [node for node in level if len(node.core & found) >= MATCH * len(node.core)]
            if not fitting:
                break
            best = max(fitting, key=lambda node: len(node.core & found))
            number, level = best.number, best.children
        return None if number < 0 else number


def learn(texts: Sequence[str]) -> Templates:
    """The templates behind documents (see `documents.document`), which should be distinct."""
    words = [tokens(text) for text in texts]
    ids: dict[str, int] = {}
    for line in words:
        for word in line:
            ids.setdefault(word, len(ids) + 1)
    learning = _Learning(words, ids)
    roots, _ = learning.grow(learning.parts(), (1 << len(texts)) - 1, frozenset(), root=True)
    cores = tuple(learning.cores)
    return _narrowed(ids, learning, roots, cores)


def _narrowed(
    ids: Mapping[str, int], learning: "_Learning", roots: tuple[Node, ...], cores: Any
) -> Templates:
    """The result without the words that stand in no template."""
    import numpy

    known = numpy.array(sorted(frozenset().union(*cores)) if cores else [], dtype=numpy.uint64)
    kept: set[str] = set()
    for words in learning.words:
        held = numpy.isin(shingles(words, ids), known)
        for place in numpy.flatnonzero(held).tolist():
            kept.update(words[place : place + WIDTH])
    return Templates({word: ids[word] for word in kept}, known, roots, len(cores), cores)


class _Learning:
    """The sample, and the templates found in it so far."""

    def __init__(self, words: Sequence[Sequence[str]], ids: Mapping[str, int]) -> None:
        self.words, self.ids = words, ids
        self.cores: list[frozenset[int]] = []

    def parts(self) -> Parts:
        """Every shingle that enough prompts hold, by the prompts that hold it."""
        import numpy

        held = [numpy.unique(shingles(words, self.ids)) for words in self.words]
        if not held:
            return {}
        every = numpy.concatenate(held)
        owners = numpy.repeat(numpy.arange(len(held)), [len(each) for each in held])
        order = numpy.argsort(every, kind="stable")
        every, owners = every[order], owners[order]
        starts = numpy.flatnonzero(numpy.concatenate(([True], every[1:] != every[:-1])))
        ends = numpy.append(starts[1:], len(every))
        found: Parts = {}
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start >= LEAST:
                row = numpy.zeros(len(held), dtype=bool)
                row[owners[start:end]] = True
                bits = int.from_bytes(numpy.packbits(row, bitorder="little").tobytes(), "little")
                found.setdefault(bits, []).append(int(every[start]))
        return found

    def grow(
        self, parts: Parts, inside: int, above: frozenset[int], *, root: bool
    ) -> tuple[tuple[Node, ...], bool]:
        """(The templates among the prompts `inside`, whether the prompts of none of them are one more)."""
        members = inside.bit_count()
        least = max(LEAST, math.ceil((SHARE if root else INNER_SHARE) * members))
        # What all prompts of a log share is a template; what all of a template's share is the template.
        most = members if root else math.ceil(WHOLE * members) - 1
        here = _within(parts, inside, least, most)
        chosen, left = self._chosen(here, inside, above, least)
        rivals = len(chosen) > 1 and members - left.bit_count() >= COVERED * members
        if not root and not rivals:
            chosen = [(bits, size) for bits, size in chosen
                      if size >= HEAVY and bits.bit_count() >= HEAVY_SHARE * members]  # fmt: skip
            left = inside
            for bits, _ in chosen:
                left &= ~bits
        nodes = tuple(self._node(here, bits, above) for bits, _ in chosen)
        return nodes, not chosen or left.bit_count() >= max(least, REST * members)

    def _node(self, parts: Parts, bits: int, above: frozenset[int]) -> Node:
        """The template of the prompts `bits`, with those inside it; it is counted where it keeps any."""
        own = frozenset(_shared(parts, bits)) - above
        children, keeps = self.grow(parts, bits, above | own, root=False)
        if keeps:
            self.cores.append(above | own)
        return Node(own, children, len(self.cores) - 1 if keeps else -1)

    def _chosen(
        self, here: Parts, inside: int, above: frozenset[int], least: int
    ) -> tuple[list[tuple[int, float]], int]:
        """([(prompts, words of their part)] of the templates, best first; the prompts that are left)."""
        sizes = sorted((bits.bit_count(), bits) for bits in here)
        ranked = sorted(here, key=lambda bits: (-(len(here[bits]) ** 2) * bits.bit_count(), bits))
        left, chosen = inside, list[tuple[int, float]]()
        for bits in ranked:
            if (bits & left).bit_count() < least:
                continue
            size = self._size(here, sizes, bits, above)
            if size < LIGHTEST:
                continue
            bits, size = self._widest(here, sizes, bits, size, above)
            chosen.append((bits & left, size))
            left &= ~bits
        return [(bits, size) for bits, size in chosen if bits], left

    def _widest(
        self, here: Parts, sizes: Any, bits: int, size: float, above: frozenset[int]
    ) -> tuple[int, float]:
        """The part that all these prompts hold and most others do too: what several templates begin with."""
        count = bits.bit_count()
        for more, other in reversed(sizes):
            if more <= count / ALIKE:
                break
            if len(here[other]) >= WIDTH and (bits & other).bit_count() >= WHOLE * count:
                wider = self._size(here, sizes, other, above)
                if wider >= LIGHTEST:
                    return other, wider
        return bits, size

    def _size(self, here: Parts, sizes: Any, bits: int, above: frozenset[int]) -> float:
        """Words that stand in shingles of just about these prompts and not in those of the template above."""
        import numpy

        count, own = bits.bit_count(), list[int]()
        first = bisect_left(sizes, (math.ceil(ALIKE * count), 0))
        last = bisect_right(sizes, (math.floor(count / ALIKE) + 1, 0))
        for _, other in sizes[first:last]:
            if (bits & other).bit_count() >= ALIKE * (bits | other).bit_count():
                own += here[other]
        if len(own) < WIDTH:
            return 0.0
        words = self.words[(bits & -bits).bit_length() - 1]
        held = shingles(words, self.ids)
        covered = numpy.zeros(len(words), dtype=bool)
        for place in numpy.flatnonzero(numpy.isin(held, _array(own))):
            covered[place : place + WIDTH] = True
        for place in numpy.flatnonzero(numpy.isin(held, _array(above))):
            covered[place : place + WIDTH] = False
        return math.fsum(weight(words[place]) for place in numpy.flatnonzero(covered).tolist())


def _array(numbers: Iterable[int]) -> Any:
    import numpy

    return numpy.fromiter(numbers, dtype=numpy.uint64)


def _within(parts: Parts, inside: int, least: int, most: int) -> Parts:
    """The parts that `least` to `most` of the prompts `inside` hold, by those of them that do."""
    found: Parts = {}
    for bits, held in parts.items():
        if least <= (bits & inside).bit_count() <= most:
            found.setdefault(bits & inside, []).extend(held)
    return found


def _shared(parts: Parts, bits: int) -> list[int]:
    """The shingles that just about all of these prompts hold."""
    enough = WHOLE * bits.bit_count()
    return [
        number for other, held in parts.items() if (other & bits).bit_count() >= enough for number in held
    ]
