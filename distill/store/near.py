"""Near-duplicate texts: character n-grams, MinHash signatures, locality-sensitive hashing (rensa).

Refuses to call two texts near on a signature alone: each candidate is checked by its true Jaccard similarity.
Scripts without spaces work: an n-gram is 5 characters, 2 where it begins with an unspaced one.
"""

import math
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NamedTuple

from distill.score.text import UNSPACED, normalised

RECALL = 0.99
"""Share of the pairs exactly at the threshold that are found; more similar ones are found more surely."""
MOST_BANDS, MOST_ROWS = 20, 4
DEVIATIONS = 3.2
"""How many standard errors a signature may be under the threshold, for the texts to be compared at all."""
SPACED, UNSPACED_GRAM = 5, 2
RECENT = 4096
"""Texts whose sketch is kept: those in flight between being judged and being accepted."""
UNSPACED_CHAR = re.compile(f"[{UNSPACED}]")
NOT_WORD = re.compile(r"[\W_]+")


class Sketch(NamedTuple):
    """What is compared of a text: its clean form, and the MinHash signature of that one's n-grams."""

    clean: str
    signature: Any


class Sketcher:
    """Sketches for one threshold and seed; indexes that share it sketch a text once between them."""

    def __init__(self, threshold: float, seed: int = 0) -> None:
        self.threshold = threshold
        self.bands, self.rows = banding(threshold)
        self._seed = seed + 1
        self.sketch = lru_cache(RECENT)(self._sketch)

    def _sketch(self, text: str) -> Sketch:
        from rensa import RMinHash

        clean = cleaned(text)
        signature = RMinHash(self.bands * self.rows, self._seed)
        signature.update(_gram_list(clean))
        return Sketch(clean, signature)


class NearIndex:
    """A growing set of texts that finds the ones near a given text in about constant time."""

    def __init__(self, threshold: float, seed: int = 0, sketcher: Sketcher | None = None) -> None:
        """`threshold`: Jaccard similarity in (0, 1] from which texts are near; a `sketcher` has its own."""
        from rensa import RMinHashLSH

        self._sketcher = sketcher or Sketcher(threshold, seed)
        self.threshold = self._sketcher.threshold
        bands = self._sketcher.bands
        samples = bands * self._sketcher.rows
        self._lsh = RMinHashLSH(self.threshold, samples, bands)
        self._least = self.threshold - DEVIATIONS * math.sqrt(self.threshold * (1 - self.threshold) / samples)
        self._numbers: dict[str, int] = {}
        self._keys: list[str] = []
        self._sketches: list[Sketch] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, text: str) -> None:
        """Remember `text` as `key`. Raises ValueError where the key is taken."""
        if key in self._numbers:
            raise ValueError(f"key {key!r} is taken")
        sketch = self._sketcher.sketch(text)
        self._numbers[key] = number = len(self._keys)
        self._keys.append(key)
        self._sketches.append(sketch)
        self._lsh.insert(number, sketch.signature)

    def similar(self, text: str) -> list[tuple[float, str]]:
        """(similarity, key) of every text near `text`, the most similar first, then by key."""
        return [pair for pair in self.alike(text) if pair[0] >= self.threshold]

    def alike(self, text: str) -> list[tuple[float, str]]:
        """As `similar`, and what was looked at but is under the threshold: such a text may be missed."""
        clean, signature = self._sketcher.sketch(text)
        met = ((number, self._sketches[number]) for number in self._lsh.query(signature))
        numbers = {number for number, other in met if signature.jaccard(other.signature) >= self._least}
        if not numbers:
            return []
        own = grams(clean)
        found = (
            (jaccard(own, grams(self._sketches[number].clean)), self._keys[number]) for number in numbers
        )
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))

    def nearest(self, text: str) -> str | None:
        """The key of the text most like `text`, or None where none is near."""
        similar = self.similar(text)
        return similar[0][1] if similar else None


def groups(texts: Sequence[str], threshold: float, seed: int = 0) -> list[int]:
    """For each text the index of the first text of its group: texts joined by a chain of near ones."""
    index, parents = NearIndex(threshold, seed), list(range(len(texts)))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for number, text in enumerate(texts):
        for _, key in index.similar(text):
            low, high = sorted((root(int(key)), root(number)))
            parents[high] = low
        index.add(str(number), text)
    return [root(number) for number in range(len(texts))]


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows a band) that find RECALL of the pairs at `threshold`, with few false candidates."""
    for rows in range(MOST_ROWS, 0, -1):
        hit = threshold**rows
        bands = 1 if hit >= 1 else math.ceil(math.log(1 - RECALL) / math.log(1 - hit))
        if bands <= MOST_BANDS:
            break
    return max(2, bands), rows


def cleaned(text: str) -> str:
    """`text` in its normal form with a space for each run of punctuation; well-formed Unicode."""
    folded = normalised(text)
    if not folded.isascii():
        folded = folded.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    return NOT_WORD.sub(" ", folded).strip() or folded


def grams(clean: str) -> set[str]:
    """The distinct n-grams of a cleaned text; at least one."""
    return set(_gram_list(clean))


def _gram_list(clean: str) -> list[str]:
    long = range(max(1, len(clean) - SPACED + 1))
    if clean.isascii():
        return [clean[place : place + SPACED] for place in long]
    short = {found.start() for found in UNSPACED_CHAR.finditer(clean)}
    most = max(1, len(clean) - UNSPACED_GRAM + 1)
    return [clean[place : place + SPACED] for place in long if place not in short] + [
        clean[place : place + UNSPACED_GRAM] for place in sorted(short) if place < most
    ]


def jaccard(left: AbstractSet[str], right: AbstractSet[str]) -> float:
    """Shared share of two sets of n-grams, not both empty."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)
