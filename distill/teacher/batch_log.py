"""Which requests went into which batch, on disk before the batch can cost anything.

Refuses to forget a batch that nobody collected yet; holds no answer and no API key.
"""

import time
from pathlib import Path
from typing import Any

import msgspec

from distill.store import jsonl
from distill.teacher.batch_group import Asked, Group

HINT = "never edited by hand: restore the file, or move it away (what its batches hold is then bought again)"


class Sent(msgspec.Struct, frozen=True, tag_field="kind", tag="sent"):
    """A group's file is uploaded: from here on a batch of it may exist.

    `at` is Unix time, `held_usd` what a budget has set aside for it.
    """

    group: str
    teacher: str
    file: str
    requests: int
    at: float
    held_usd: float = 0.0


class Created(msgspec.Struct, frozen=True, tag_field="kind", tag="created"):
    """The endpoint has made a batch of a group's file."""

    group: str
    batch: str
    at: float


class Ended(msgspec.Struct, frozen=True, tag_field="kind", tag="ended"):
    """A group's answers are in the ledger; what is not will be asked in another."""

    group: str
    status: str


class BatchLog:
    """The groups of `teacher` (its identity) in `path`; `open` are those not collected, the oldest first.

    Raises DataError (file:line) where the middle of the file is damaged; a torn last line is cut off.
    """

    def __init__(self, path: Path, teacher: str) -> None:
        self._teacher = teacher
        self._file = jsonl.Appender(path)
        try:
            self.open = self._load(path)
        except BaseException:
            self._file.close()
            raise

    def _load(self, path: Path) -> list[Group]:
        asked: dict[str, list[Asked]] = {}
        groups: dict[str, Group] = {}
        for _, line in jsonl.read(path, Asked | Sent | Created | Ended, hint=HINT):  # type: ignore[arg-type]
            record: Any = line
            match record:
                case Asked():
                    asked.setdefault(record.group, []).append(record)
                case Sent() if record.teacher == self._teacher:
                    group = groups[record.group] = Group(record.group, asked.pop(record.group, []))
                    group.file, group.at, group.held_usd = record.file, record.at, record.held_usd
                case Created() if record.group in groups:
                    groups[record.group].batch = record.batch
                case Ended():
                    groups.pop(record.group, None)
        return list(groups.values())

    def sent(self, group: Group, file: str) -> None:
        """`group` is uploaded as `file`. Raises StorageError, as the other two do."""
        for one in group.asked.values():
            self._file.append(one)
        group.file, group.at = file, time.time()
        requests = len(group.asked)
        self._file.append(Sent(group.name, self._teacher, file, requests, group.at, group.held_usd))
        self.open.append(group)

    def created(self, group: Group, batch: str) -> None:
        """`batch` is made of `group`."""
        group.batch = batch
        self._file.append(Created(group.name, batch, time.time()))

    def ended(self, group: Group, status: str) -> None:
        """`group` is collected."""
        self._file.append(Ended(group.name, status))
        self.open.remove(group)

    def close(self) -> None:
        """Sync to the disk and close."""
        self._file.close()
