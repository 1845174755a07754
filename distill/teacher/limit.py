"""How many calls may be in flight: slow start, a cut at "slow down", and a ceiling that is remembered.

TCP's slow start and multiplicative decrease (RFC 5681); then the binary search of BIC (Xu, Harfoush & Rhee
2004) towards the ceiling where "slow down" was last heard and, slowly at first, beyond it. Refuses to grow
while less than half of it is used (as RFC 7661): answers to few calls say nothing of many.
"""

CUT = 0.75
SHARE = 0.25
SLOWEST = 0.1


class Limit:
    """At least 1, at most `most`, and `start` to begin with."""

    def __init__(self, start: int, *, most: int) -> None:
        self._most = float(most)
        self._now = float(min(start, most))
        self._ceiling: float | None = None

    @property
    def calls(self) -> int:
        """How many may be in flight."""
        return int(self._now)

    def rise(self, busy: int) -> None:
        """A call was answered while `busy` were under way, itself included.

        Until the first cut the limit doubles with every round of answers. After it, a round brings it
        `SHARE` of its distance to the ceiling nearer or, once past it, that much further away.
        """
        if 2 * busy < self.calls:
            return
        step = 1.0
        if self._ceiling is not None:
            step = min(1.0, max(SLOWEST, SHARE * abs(self._ceiling - self._now)) / self._now)
        self._now = min(self._most, self._now + step)

    def cut(self, busy: int) -> None:
        """The endpoint could not bear the `busy` calls under way."""
        self._ceiling = min(self._now, float(busy))
        self._now = max(1.0, self._ceiling * CUT)
