"""What a teacher is: one method. Everything else (client, ledger, script) is an implementation of it."""

from typing import Protocol

from distill.types import Completion, Request


class Teacher(Protocol):
    """A large model that answers requests.

    `identity` is all that decides an answer apart from the request (model name and base URL): part of
    the ledger's key.
    """

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        ...

    @property
    def identity(self) -> str:
        """Model and endpoint in one string; never a key."""
        ...

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """Answer `request`; `sample` tells apart repeated askings of the same request.

        Raises TeacherError, CredentialsError or BudgetReached where no retry mends it.
        """
        ...

    async def close(self) -> None:
        """Free sockets and threads."""
        ...


class TryAgain(Exception):
    """One attempt failed in a way another may mend. Never leaves this package: `Pool` catches it.

    `after_s` is what the endpoint asked us to wait, 0 where it did not say. `rate_limited` tells "slow
    down" from "broken"; `unreachable` that no connection was made at all; `lost` that the endpoint may have
    answered, and may charge for what never came (or came damaged); `overdue` that it took too long.
    """

    def __init__(
        self,
        reason: str,
        after_s: float = 0.0,
        *,
        rate_limited: bool = False,
        unreachable: bool = False,
        lost: bool = False,
        overdue: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s
        self.rate_limited = rate_limited
        self.unreachable = unreachable
        self.lost = lost
        self.overdue = overdue
