"""The candidates of a run, read while it may still be running: which of them, and how many of each verdict.

Refuses nothing that is there: a last line that is still being written is passed over, not an error.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.types import Candidate


class Wanted(NamedTuple):
    """Which candidates to show: `dropped` by this rule, all `kept`, only those whose answer was `changed`,
    those that hold `text` in input, answer or reason (case aside); `limit` of them.
    """

    dropped: str | None = None
    kept: bool = False
    changed: bool = False
    text: str = ""
    limit: int = 50

    def takes(self, candidate: Candidate) -> bool:
        """Whether `candidate` is one of them."""
        if self.kept and not candidate.verdict.keep:
            return False
        if self.dropped is not None and candidate.verdict.rule != self.dropped:
            return False
        if self.changed and first_answer(candidate) in (None, candidate.answer):
            return False
        held = (candidate.input, candidate.answer, candidate.verdict.why)
        return not self.text or any(self.text.casefold() in part.casefold() for part in held)


class Found(NamedTuple):
    """The first candidates wanted, how many match, and how many each verdict has ("kept" or a rule)."""

    rows: list[Candidate]
    matching: int
    by_verdict: dict[str, int]


def read_rows(path: Path, wanted: Wanted) -> Found:
    """The candidates in `path` that are wanted, in its order.

    Raises UsageError where there is no file, or no rule dropped anything under the name asked for.
    """
    if not path.exists():
        raise UsageError("no candidates yet", where=str(path), hint="run: distill generate --n 1000")
    rows: list[Candidate] = []
    verdicts: Counter[str] = Counter()
    matching = 0
    for candidate in candidates(path):
        verdicts["kept" if candidate.verdict.keep else candidate.verdict.rule] += 1
        if wanted.takes(candidate):
            matching += 1
            if len(rows) < wanted.limit:
                rows.append(candidate)
    by_verdict = dict(verdicts.most_common())
    if wanted.dropped is not None and wanted.dropped not in by_verdict:
        known = ", ".join(f"{rule} ({count})" for rule, count in by_verdict.items() if rule != "kept")
        raise UsageError(
            f"no row was dropped as '{wanted.dropped}'",
            where="--dropped",
            hint=f"there are: {known}" if known else "no row was dropped at all",
        )
    return Found(rows, matching, by_verdict)


def candidates(path: Path) -> Iterator[Candidate]:
    """Each candidate in `path`, but for a last line without its end: another process is writing it.

    Raises DataError with file:line where any other line is damaged.
    """
    decoder = msgspec.json.Decoder(Candidate)
    for number, line in jsonl.raw_lines(path):
        if not line.endswith(b"\n"):
            return
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"not a candidate: {error}", where=f"{path}:{number}") from None


def first_answer(candidate: Candidate) -> str | None:
    """The answer before votes, judge, revision or correction, else the one it was written for, else None."""
    return candidate.raw if candidate.raw is not None else candidate.asked
