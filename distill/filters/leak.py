"""Drops inputs that nearly are a protected row: gold a student is measured on, or seeds it must not learn."""

from collections.abc import Sequence

from distill.filters.rule import Rule, excerpt
from distill.store.near import NearIndex
from distill.types import Candidate


def leak(protected: Sequence[str], threshold: float, seed: int = 0) -> Rule:
    """Drop an input whose Jaccard similarity to a protected one is `threshold` or more; says to which."""
    index = NearIndex(threshold, seed)
    for text in dict.fromkeys(protected):
        index.add(text, text)

    def why(candidate: Candidate) -> str:
        near = index.similar(candidate.input) if len(index) else []
        return f"{near[0][0]:.0%} like the protected row {excerpt(near[0][1])!r}" if near else ""

    return Rule("leak", why)
