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
