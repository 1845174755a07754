"""A comparison made aside, then put in the place of the one before it, which stays whole until that moment.

Refuses to take a finished report away before there is another.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.store import jsonl
from distill.store.run import Run

UNFINISHED = "unfinished"


def aside(run: Run) -> Run:
    """Where a comparison of `run` is made: a run of its own in the folder of compare, of the same pairs.

    It has a copy of the rounds so far. Raises StorageError where that cannot be written.
    """
    making = Run(run.folder("compare") / UNFINISHED)
    making.splits, making.refills = run.splits, run.refills
    making.folder("compare")
    jsonl.replace_bytes(making.rounds, [run.rounds.read_bytes()] if run.rounds.exists() else [])
    return making


def finish(run: Run) -> None:
    """Put a comparison in place that was whole when the process died on the way. Raises StorageError."""
    making = Run(run.summary_path("compare").parent / UNFINISHED)
    if making.summary_path("compare").exists():
        put_in_place(run, making)


def answers_of(run: Run, making: Run) -> Path:
    """Which answers.jsonl is added to: the run's, or aside a copy of it where a finished report rests on it.

    Raises StorageError where the copy cannot be written.
    """
    if making.answers.exists():
        return making.answers
    if not run.summary_path("compare").exists():
        return run.answers
    if run.answers.exists():
        with run.answers.open("rb") as known:
            jsonl.replace_bytes(making.answers, known)
    return making.answers


def put_in_place(run: Run, making: Run) -> None:
    """Move what `making` holds into `run`, the report last; verdicts or a cascade it has not are gone after.

    All of it is on disk by then: this does the rest where it was cut off on the way. The student's folder,
    which is what is taken elsewhere, gets a copy of the cascade. Raises StorageError.
    """
    report = making.summary("compare") or {}
    for new, old in ((making.answers, run.answers), (making.rounds, run.rounds)):
        if new.exists():
            _move(new, old)
    for new, old, name in ((making.judged, run.judged, "judged"), (making.cascade, run.cascade, "cascade")):
        if new.exists():
            _move(new, old)
        elif name not in report:
            old.unlink(missing_ok=True)
    if run.cascade.exists() and run.adapter.is_dir():
        jsonl.replace_bytes(run.exported_cascade, [run.cascade.read_bytes()])
    else:
        run.exported_cascade.unlink(missing_ok=True)
    _move(making.summary_path("compare"), run.summary_path("compare"))
    shutil.rmtree(making.root, ignore_errors=True)


def _move(new: Path, old: Path) -> None:
    try:
        new.replace(old)
    except OSError as error:
        raise jsonl.full_disk(old, error) from None


def lacking(report: Mapping[str, Any]) -> str:
    """What a report lacks as the teacher did not answer all it was asked, in words; "" where it is whole."""
    rows = report.get("rows", {})
    gone = sum(rows.get("without_teacher", {}).values())
    wanted = min(report.get("made_from", {}).get("ask_twice", 0), rows.get(report.get("split"), 0))
    again = wanted - report.get("ceiling", {}).get("n", 0)
    told = [f"{gone} rows have no answer of the teacher"] if gone else []
    return "; ".join(told + ([f"{again} rows have no second answer"] if again > 0 else []))
