"""Near-duplicate texts: character n-grams, MinHash signatures, locality-sensitive hashing (datasketch).

Refuses to call two texts near on a signature alone: each candidate is checked by its true Jaccard similarity.
Scripts without spaces work: an n-gram is 5 characters, 2 where it begins with an unspaced one.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from distill.score.text import UNSPACED, normalised

RECALL = 0.99
"""Share of the pairs exactly at the threshold that are found; more similar ones are found more surely."""
MOST_BANDS = 12
SPACED, UNSPACED_GRAM = 5, 2
UNSPACED_CHAR = re.compile(f"[{UNSPACED}]")
MULTIPLIERS = (
    0x9E3779B97F4A7C15,
    0xBF58476D1CE4E5B9,
    0x94D049BB133111EB,
    0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
)
"""Odd 64-bit constants (splitmix64, wyhash), one a character of a gram."""
NOT_WORD = re.compile(r"[\W_]+")


class NearIndex:
    """A growing set of texts that finds the ones near a given text in about constant time."""

    def __init__(self, threshold: float, seed: int = 0) -> None:
        """`threshold`: Jaccard similarity in (0, 1] from which two texts are near."""
        from datasketch import MinHash, MinHashLSH

        bands, rows = banding(threshold)
        self.threshold = threshold
        self._empty = MinHash(num_perm=bands * rows, seed=seed + 1, hashfunc=int)
        self._lsh = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
        self._grams: dict[str, Any] = {}
        self._last: tuple[str, Any, Any] | None = None

    def __len__(self) -> int:
        return len(self._grams)

    def add(self, key: str, text: str) -> None:
        """Remember `text` as `key`. Raises ValueError where the key is taken."""
        if key in self._grams:
            raise ValueError(f"key {key!r} is taken")
        grams, signature = self._sketch(text)
        self._lsh.insert(key, signature, check_duplication=False)
        self._grams[key] = grams

    def similar(self, text: str) -> list[tuple[float, str]]:
        """(similarity, key) of every text near `text`, the most similar first, then by key."""
        grams, signature = self._sketch(text)
        found = ((jaccard(grams, self._grams[key]), key) for key in self._lsh.query(signature))
        near = [(similarity, key) for similarity, key in found if similarity >= self.threshold]
        return sorted(near, key=lambda pair: (-pair[0], pair[1]))

    def nearest(self, text: str) -> str | None:
        """The key of the text most like `text`, or None where none is near."""
        similar = self.similar(text)
        return similar[0][1] if similar else None

    def _sketch(self, text: str) -> tuple[Any, Any]:
        # A text is looked up and then added: the sketch of the last one serves both.
        if self._last is None or self._last[0] != text:
            grams, signature = gram_hashes(text), self._empty.copy()
            signature.update_batch(grams.tolist())
            self._last = text, grams, signature
        return self._last[1:]


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
    for rows in (4, 3, 2, 1):
        hit = threshold**rows
        bands = 1 if hit >= 1 else math.ceil(math.log(1 - RECALL) / math.log(1 - hit))
        if bands <= MOST_BANDS:
            break
    return max(2, bands), rows


def gram_hashes(text: str) -> Any:
    """Sorted distinct 32-bit hashes of the n-grams of `text`, case and punctuation aside; at least one."""
    import numpy

    folded = normalised(text)
    clean = NOT_WORD.sub(" ", folded).strip() or folded
    n = len(clean)
    padded = numpy.zeros(n + SPACED, dtype=numpy.uint64)
    padded[:n] = numpy.frombuffer(clean.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    terms = [padded[place : place + max(1, n)] * numpy.uint64(m) for place, m in enumerate(MULTIPLIERS)]
    hashes_N = (terms[0] + terms[1] + terms[2] + terms[3] + terms[4])[: max(1, n - SPACED + 1)]
    if not clean.isascii():
        unspaced_N = numpy.array([UNSPACED_CHAR.match(char) is not None for char in clean])
        long_N = ~unspaced_N[: len(hashes_N)]
        short_N = unspaced_N[: max(1, n - UNSPACED_GRAM + 1)]
        hashes_N = numpy.concatenate([hashes_N[long_N], (terms[0] + terms[1])[: len(short_N)][short_N]])
    # The sum's high bits depend on every character; its low bits do not.
    mixed_N = ((hashes_N ^ (hashes_N >> 29)) * numpy.uint64(MULTIPLIERS[0])) >> 32
    return numpy.unique(mixed_N.astype(numpy.uint32))


def jaccard(left: Any, right: Any) -> float:
    """Shared share of two sorted arrays of distinct hashes."""
    import numpy

    shared = len(numpy.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
