"""A teacher that answers from a script: for the tests of distill and of those who build on it.

Refuses to guess: a request the script does not cover is an error.
"""

from collections.abc import Callable, Mapping, Sequence

from distill.errors import TeacherError
from distill.types import Completion, Request

Reply = str | Completion
Script = Callable[[Request, int], Reply] | Mapping[str, Reply] | Sequence[Reply]


class ScriptedTeacher:
    """Answers by a function of (request, sample), by the last message's text, or one after the other.

    `requests` is every (request, sample) asked, in order. A call costs nothing (0.0 USD).
    """

    def __init__(self, reply: Script, model: str = "scripted") -> None:
        self._reply = reply
        self._model = model
        self.requests: list[tuple[Request, int]] = []

    @property
    def model(self) -> str:
        """The name it was given."""
        return self._model

    @property
    def identity(self) -> str:
        """The name it was given: a script has no endpoint."""
        return f"scripted {self._model}"

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """What the script says. Raises TeacherError where it says nothing."""
        self.requests.append((request, sample))
        reply = self._answer(request, sample)
        if isinstance(reply, Completion):
            return reply
        return Completion(text=reply, model=self._model, prompt_tokens=0, completion_tokens=0, cost_usd=0.0)

    def _answer(self, request: Request, sample: int) -> Reply:
        if callable(self._reply):
            return self._reply(request, sample)
        try:
            if isinstance(self._reply, Mapping):
                return self._reply[request.messages[-1].content]
            return self._reply[len(self.requests) - 1]
        except LookupError:
            raise TeacherError(
                "the script has no answer to this request",
                where=request.messages[-1].content[:80],
                hint=f"request {len(self.requests)} of this teacher",
            ) from None

    async def close(self) -> None:
        """Nothing to free."""
