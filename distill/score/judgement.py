"""The section "judged" of report.json, from the verdicts that were cast: one line of judged.jsonl each. Pure.

Refuses a judged number without the judge's trial: each is marked where it is partial or not "trustworthy".
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from distill.score.judge_trial import trust
from distill.score.judged import Ballot, Side, results

PAIR, AGAIN = "pair", "again"
OUTCOMES: dict[Side | None, str] = {"a": "won", "b": "lost", "tie": "tie", None: "unscored"}
"""What becomes of a row, for a."""
MARK, PARTIAL = "not trustworthy", "the judge is partial"


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict as judged.jsonl keeps it: what was asked (PAIR, AGAIN or a trial's name) and what was said.

    Of AGAIN, `forth` alone is asked; all else is as in `Ballot`.
    """

    what: str
    row: str
    forth: Side | None
    back: Side | None = None
    questions: tuple[tuple[Side | None, Side | None], ...] = ()
    lengths: tuple[int, int] = (0, 0)
    cluster: str = ""
    same: bool = False

    @property
    def ballot(self) -> Ballot:
        """The verdict without what it was for."""
        return Ballot(self.row, self.forth, self.back, self.questions, self.lengths, self.cluster, self.same)


def section(
    casts: Sequence[Cast], *, judge: str, banner: str, questions: Sequence[str], a: str, b: str, seed: int
) -> dict[str, Any]:
    """`a` against `b` by `judge`, and whether to believe it; `banner` says why the judge is partial, or "".

    judge, a, b, same_family, banner, mark ("", MARK or PARTIAL, also at every number by length and question),
    trust (judge_trial.py), win, tie, loss, unscored, win_rate, low, high, length_ratio, by_length, dimensions
    (judged.py), rows [{row, outcome "won|tie|lost|unscored", flipped}].
    """
    by_what: dict[str, list[Ballot]] = {}
    for cast in casts:
        by_what.setdefault(cast.what, []).append(cast.ballot)
    pairs, again = by_what.pop(PAIR, []), by_what.pop(AGAIN, [])
    forth = {ballot.row: ballot.forth for ballot in pairs}
    trusted = trust(pairs, by_what, [(forth[ballot.row], ballot.forth) for ballot in again])
    found = results(pairs, questions, seed)
    mark = {"mark": MARK if trusted["grade"] != "trustworthy" else PARTIAL if banner else ""}
    return {
        "judge": judge,
        "a": a,
        "b": b,
        "same_family": bool(banner),
        "banner": banner,
        **mark,
        "trust": trusted,
        **found,
        "by_length": [each | mark for each in found["by_length"]],
        "dimensions": {question: each | mark for question, each in found["dimensions"].items()},
        "rows": [
            {"row": each.row, "outcome": OUTCOMES[each.choice], "flipped": each.flipped} for each in pairs
        ],
    }
