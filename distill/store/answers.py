"""answers.jsonl: what every system said to every held-out row, under a key of all that decides the answer.

Refuses to lose an answer or to ask for one twice: a row whose key is known is not missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.parse import parse_answer
from distill.store import jsonl
from distill.types import Pair, Prediction, Task


class Row(NamedTuple):
    """One row for one system to answer; `key` is a digest of all that decides the answer.

    Rows of one `cluster` are not independent of each other.
    """

    split: str
    pair: Pair
    key: str
    cluster: str = ""


class Said(msgspec.Struct, frozen=True):
    """An answer as given; `spent_s` is a student's time for this row, its share of a batch."""

    key: str
    text: str
    latency_s: float | None = None
    cost_usd: float | None = None
    finish_reason: str = "stop"
    spent_s: float | None = None
    tokens: int | None = None
    confidence: float | None = None


class Answers:
    """Everything answered so far, kept in answers.jsonl; a row with a known key is not answered again."""

    def __init__(self, path: Path, task: Task) -> None:
        self._task = task
        self._appender = jsonl.Appender(path)  # repairs a torn end before it is read
        self._said = {said.key: said for _, said in jsonl.read(path, Said)}
        self._records: dict[str, dict[str, Any]] = {}

    def missing(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that nobody answered yet, each key once."""
        return list({row.key: row for row in rows if row.key not in self._said}.values())

    def add(self, who: str, row: Row, said: Said) -> None:
        """Write one answer down. Raises StorageError where the disk is full."""
        self._said[row.key] = said
        self._appender.append(self._record(who, row))

    def price(self, key: str, cost_usd: float | None) -> None:
        """Let the answer of this key have cost that; None: what it is said to have cost stands."""
        if cost_usd is not None:
            self._said[key] = msgspec.structs.replace(self._said[key], cost_usd=cost_usd)

    def of(self, who: str, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction a row, in order; parsed anew, so that a changed parser or label counts."""
        return [self._prediction(who, row) for row in rows]

    def keep_only(self, systems: Mapping[str, Sequence[Row]]) -> None:
        """Make the file hold exactly the answers to these rows, in their order."""
        self.close()
        records = {row.key: self._record(who, row) for who, rows in systems.items() for row in rows}
        jsonl.replace(self._appender.path, records.values())

    def close(self) -> None:
        """Sync and close the file."""
        self._appender.close()

    def _prediction(self, who: str, row: Row) -> Prediction:
        said = self._said[row.key]
        return Prediction(
            row=row.pair.id,
            who=who,
            split=row.split,
            text=said.text,
            answer=parse_answer(self._task, said.text),
            gold=row.pair.answer,
            latency_s=said.latency_s,
            cost_usd=said.cost_usd,
            finish_reason=said.finish_reason,
            input=row.pair.input,
            attributes=row.pair.attributes,
            cluster=row.cluster,
            spent_s=said.spent_s,
            tokens=said.tokens,
            confidence=said.confidence,
        )

    def _record(self, who: str, row: Row) -> dict[str, Any]:
        return {"key": row.key, **msgspec.structs.asdict(self._prediction(who, row))}
