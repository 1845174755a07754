"""What a rule is: a name, a judgement, and (where it has a memory) what it remembers of accepted candidates.

Refuses to rank or repair: candidate in, `Verdict` out.
"""

from collections.abc import Callable
from typing import NamedTuple

from distill.types import KEEP, Candidate, Verdict


def forget(candidate: Candidate) -> None:
    """What a rule without a memory does with an accepted candidate."""


def nothing() -> None:
    """What a rule that holds nothing open does to close."""


class Rule(NamedTuple):
    """`why(candidate)` is the reason to drop it, or "" to keep it; `admit` remembers an accepted one."""

    name: str
    why: Callable[[Candidate], str]
    admit: Callable[[Candidate], None] = forget
    close: Callable[[], None] = nothing

    def __call__(self, candidate: Candidate) -> Verdict:
        """Keep, or drop with this rule's name and reason."""
        why = self.why(candidate)
        return Verdict(keep=False, rule=self.name, why=why) if why else KEEP

    @property
    def has_memory(self) -> bool:
        """True where what was accepted before decides."""
        return self.admit is not forget


def excerpt(text: str, width: int = 60) -> str:
    """`text` on one line, cut to `width` characters, for a reason."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
