"""When a teacher has nothing new to say: the share of repeats among the newest candidates. Pure.

Refuses to stop on a few: a window of candidates must be full first.
"""

from collections import Counter, deque

from distill.types import Candidate, Verdict

REPEATS = ("exact", "near_duplicates", "semantic", "echo")
"""The rules that drop what was there before."""
SMALLEST, LARGEST = 60, 300
EXHAUSTED = 0.9
TRIES = 3
NAMED = 4


class Saturation:
    """The newest candidates, whether each was a repeat, and what it was to be about."""

    def __init__(self, n: int, share: float) -> None:
        self._share = share
        self._newest: deque[tuple[bool, int, dict[str, str]]] = deque(
            maxlen=max(SMALLEST, min(LARGEST, n // 3))
        )
        self._reached = False

    def reached(self, candidate: Candidate, verdict: Verdict, accepted: int) -> bool:
        """Note one verdict; True once the share of repeats in a full window is the limit or more."""
        repeat = not verdict.keep and verdict.rule in REPEATS
        self._newest.append((repeat, accepted, candidate.attributes))
        full = len(self._newest) == self._newest.maxlen
        self._reached = full and self._repeated() >= self._share
        return self._reached

    def _repeated(self) -> float:
        return sum(repeat for repeat, _, _ in self._newest) / len(self._newest)

    def sentence(self) -> str:
        """ "since row 620, 71% repeats; exhausted: about acting, about plot"; "" where it is not reached."""
        if not self._reached:
            return ""
        since = self._newest[0][1]
        spent = self.exhausted()
        names = ", ".join(spent[:NAMED]) + (", …" if len(spent) > NAMED else "")
        return f"since row {since:,}, {self._repeated():.0%} repeats" + (
            f"; exhausted: {names}" if names else ""
        )

    def exhausted(self) -> list[str]:
        """The attribute values whose newest candidates are nearly all repeats, the most tried first."""
        tried: Counter[str] = Counter()
        repeated: Counter[str] = Counter()
        for repeat, _, attributes in self._newest:
            for name, value in attributes.items():
                tried[f"{name} {value}"] += 1
                repeated[f"{name} {value}"] += repeat
        return [
            value
            for value, count in tried.most_common()
            if count >= TRIES and repeated[value] >= EXHAUSTED * count
        ]
