"""Drops inputs that were accepted before, up to case, spaces and outer punctuation."""

import hashlib

from distill.filters.rule import Rule
from distill.score.text import normalised
from distill.types import Candidate


def exact() -> Rule:
    """Drop an input whose normal form was accepted before."""
    seen: dict[bytes, int] = {}

    def why(candidate: Candidate) -> str:
        first = seen.get(_key(candidate))
        return "" if first is None else f"the same input as candidate {first}"

    def admit(candidate: Candidate) -> None:
        seen.setdefault(_key(candidate), candidate.index)

    return Rule("exact", why, admit)


def _key(candidate: Candidate) -> bytes:
    # A digest, so that memory does not grow with the length of inputs.
    return hashlib.blake2b(
        normalised(candidate.input).encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
