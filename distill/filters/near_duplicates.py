"""Drops inputs that nearly are one that was accepted before, by character n-grams, in any script."""

from distill.filters.rule import Rule
from distill.store.near import NearIndex, Sketcher
from distill.types import Candidate


def near_duplicates(sketcher: Sketcher) -> Rule:
    """Drop an input whose Jaccard similarity to an accepted one is `sketcher.threshold` or more."""
    index = NearIndex(sketcher.threshold, sketcher=sketcher)

    def why(candidate: Candidate) -> str:
        near = index.similar(candidate.input)
        return f"{near[0][0]:.0%} like candidate {near[0][1]}" if near else ""

    def admit(candidate: Candidate) -> None:
        index.add(str(candidate.index), candidate.input)

    return Rule("near_duplicates", why, admit)
