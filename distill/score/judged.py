"""What a judge's verdicts come to: win, tie and loss with intervals, by length, by question. Pure.

Refuses to call a missing verdict anything: it is unscored and counted, neither a loss nor a zero.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from distill.score.paired import paired_difference

Side = Literal["a", "b", "tie"]
OUTCOMES: dict[Side | None, str] = {"a": "win", "b": "loss", "tie": "tie", None: "unscored"}
BINS = (("shorter", 0.0, 0.8), ("alike", 0.8, 1.25), ("longer", 1.25, float("inf")))
"""By how long a's answer is beside b's."""


class Ballot(NamedTuple):
    """What the judge said of one pair, a shown first and b shown first; None: no verdict.

    `questions` are its verdicts by question, in the same two orders; `lengths` are the two answers', in
    characters; `cluster` is the same for pairs that are not independent; `same` answers were not asked about.
    """

    row: str
    forth: Side | None
    back: Side | None
    questions: tuple[tuple[Side | None, Side | None], ...] = ()
    lengths: tuple[int, int] = (0, 0)
    cluster: str = ""
    same: bool = False

    @property
    def choice(self) -> Side | None:
        """What holds in both orders; where they disagree it is a tie."""
        return agreed(self.forth, self.back)

    @property
    def flipped(self) -> bool:
        """Whether the order decided."""
        return self.choice is not None and self.forth != self.back


def agreed(forth: Side | None, back: Side | None) -> Side | None:
    """The verdict of two orders: a tie where they disagree, none where one is missing."""
    if forth is None or back is None:
        return None
    return forth if forth == back else "tie"


def results(ballots: Sequence[Ballot], questions: Sequence[str], seed: int) -> dict[str, Any]:
    """Win, tie and loss of a against b, over all, by length and by question; null is unknown, never 0."""
    characters = [sum(ballot.lengths[place] for ballot in ballots) for place in (0, 1)]
    return {
        **counted([ballot.choice for ballot in ballots], ballots, seed),
        "length_ratio": characters[0] / characters[1] if characters[1] else None,
        "by_length": by_length(ballots, seed),
        "dimensions": {
            question: counted([agreed(*ballot.questions[place]) for ballot in ballots], ballots, seed)
            for place, question in enumerate(questions)
        },
    }


def counted(choices: Sequence[Side | None], ballots: Sequence[Ballot], seed: int) -> dict[str, Any]:
    """How many are won, tied, lost and unscored, and the win rate (a tie is half) with its 95% interval."""
    scored = [(choice, ballot) for choice, ballot in zip(choices, ballots, strict=True) if choice is not None]
    points = [{"a": 1.0, "tie": 0.5, "b": 0.0}[choice] for choice, _ in scored]
    clusters = [ballot.cluster or ballot.row for _, ballot in scored]
    rate: dict[str, Any] = {"win_rate": None, "low": None, "high": None}
    if scored:
        found = paired_difference(points, [1 - point for point in points], seed, clusters)
        values = ((1 + value) / 2 for value in (found.value, found.low, found.high))
        rate = dict(zip(rate, values, strict=True))
    return {
        "n": len(scored),
        **{name: sum(OUTCOMES[choice] == name for choice in choices) for name in OUTCOMES.values()},
        **rate,
    }


def by_length(ballots: Sequence[Ballot], seed: int) -> list[dict[str, Any]]:
    """Where a's answer is shorter than b's, as long, and longer; a bin without a pair is not there."""
    found = []
    for name, least, most in BINS:
        mine = [ballot for ballot in ballots if least <= ratio(ballot.lengths) < most]
        if mine:
            found.append({"a_is": name, **counted([ballot.choice for ballot in mine], mine, seed)})
    return found


def ratio(lengths: tuple[int, int]) -> float:
    """a's length as a multiple of b's; nothing beside nothing is alike."""
    return max(1, lengths[0]) / max(1, lengths[1])
