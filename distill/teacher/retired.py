"""A teacher that cannot be opened any more, no key or no file: known by what the run has of its answers.

Refuses to take a teacher for retired that never answered in this run: that one is a mistake of who asks.
"""

import msgspec

from distill.config import TeacherConfig
from distill.errors import CredentialsError, TeacherGone, UsageError
from distill.store import jsonl
from distill.store.run import Run
from distill.types import Completion, Request

LOCAL = "local "


class Retired:
    """In the place of a teacher that cannot be opened, because of `why`: each call raises that."""

    def __init__(self, model: str, identity: str, why: UsageError | CredentialsError) -> None:
        self.model = model
        self.identity = identity
        self.why = why

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """Raises CredentialsError where that is why, else TeacherGone."""
        kind = CredentialsError if isinstance(self.why, CredentialsError) else TeacherGone
        raise kind(self.why.message, where=self.why.where, hint=self.why.hint)

    async def close(self) -> None:
        """Nothing to free."""


class _Asked(msgspec.Struct, frozen=True):
    """All that is read of a ledger's line to know who answered."""

    teacher: str


def heard(run: Run) -> list[str]:
    """The identities of the teachers that answered in this run, the last report's first.

    Raises DataError where a ledger is damaged.
    """
    before = ((run.summary("compare") or {}).get("made_from") or {}).get("teacher")
    found = dict.fromkeys([before] if before else [])
    for path in run.ledgers():
        jsonl.repair(path)
        found |= dict.fromkeys(call.teacher for _, call in jsonl.read(path, _Asked))
    return list(found)


def heard_local(run: Run, config: TeacherConfig) -> str | None:
    """The identity of the embedded model that `config` names, as the run knows it; None where it does not."""
    name = (config.local_model or "").rpartition("/")[2]
    start = f"{LOCAL}{name} " if name.endswith(".gguf") else LOCAL
    return next((identity for identity in heard(run) if identity.startswith(start)), None)


def label(identity: str) -> str:
    """What the embedded model of this identity is called."""
    return identity.removeprefix(LOCAL).rpartition(" ")[0]
