"""Drops candidates on whose answer the teacher does not agree with itself.

Refuses to ask anybody: votes and the answer asked for are already in the candidate.
"""

from distill.filters.rule import Rule, excerpt
from distill.types import Candidate


def agreement(min_agreement: float) -> Rule:
    """Drop what was read as another answer than written for, got too few of the votes, or does not lead.

    `min_agreement` is the share of votes needed; `candidate.margin` the lead over the next answer, in shares.
    """

    def why(candidate: Candidate) -> str:
        if candidate.asked is not None and candidate.answer != candidate.asked:
            return f"written for {excerpt(candidate.asked)!r}, read as {excerpt(candidate.answer)!r}"
        share = candidate.agreement
        # Votes come in thirds and the like: 2/3 must pass 0.66 and 0.6667 alike.
        if share is not None and share < min_agreement - 1e-3:
            return f"{share:.0%} of the votes, {min_agreement:.0%} needed"
        if min_agreement > 0 and candidate.margin is not None and candidate.margin <= 0:
            return "another answer got as many votes, or more"
        return ""

    return Rule("agreement", why)
