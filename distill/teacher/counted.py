"""A teacher whose calls are counted: what one task took, however often the ledger answered.

Refuses nothing itself: who spends looks at what is left first.
"""

from distill.teacher.protocol import Teacher
from distill.types import Completion, Request, content_id


class Counted:
    """`teacher`, and how many different calls were asked of it, of `most` that may be."""

    def __init__(self, teacher: Teacher, most: int) -> None:
        self._teacher, self._most = teacher, most
        self._asked: set[str] = set()

    @property
    def model(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.model

    @property
    def identity(self) -> str:
        """The wrapped teacher's."""
        return self._teacher.identity

    @property
    def calls(self) -> int:
        """Different calls so far."""
        return len(self._asked)

    @property
    def left(self) -> int:
        """Calls that may still be asked; 0 where there are none."""
        return max(0, self._most - self.calls)

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """The wrapped teacher's answer."""
        self._asked.add(content_id(request, sample))
        return await self._teacher.complete(request, sample)

    async def close(self) -> None:
        """Close the wrapped teacher."""
        await self._teacher.close()
