"""What a reader must know before believing a number of the report: notes, rows left out, what n can show.

Refuses to hide that a row was left out, cut, or answered by the teacher itself.
"""

import math
from collections.abc import Mapping
from typing import Any

from distill.report.scored import Scored, Split
from distill.results import Measured
from distill.score.paired import detectable_difference
from distill.score.stats import wilson
from distill.score.verdict import CAVEAT, IMPORTED

LIMITED = (
    "Students could say nothing but the task's labels (--answers labels), and so were never off-label; the"
    " teacher was asked freely. Serve the student the same way: its numbers hold for no other."
)


def notes(
    by_split: Mapping[str, Split],
    measured: Measured,
    systems: Mapping[str, Mapping[str, Any]],
    *,
    limited: bool = False,
) -> list[str]:
    """What a reader must know before believing a number. `limited`: students could say labels alone."""
    told = [
        f"The teacher is gone: it has no answer to {count} {name} rows. They are left out for everybody."
        for name, count in measured.without_teacher.items()
    ]
    told += [f"On test rows: {IMPORTED if measured.test_imported else CAVEAT}."] if "test" in by_split else []
    told += [LIMITED] if limited else []
    if measured.gold_left_out:
        told.append(f"{measured.gold_left_out} gold rows were left out: trained on, or shown in prompts.")
    for name, count in (("gold", measured.gold_duplicates), ("test", measured.test_duplicates)):
        if count:
            told.append(f"{count} {name} rows repeat an earlier one; a row counts once.")
    for name, split in by_split.items():
        seen = sees(split["student"], split["teacher"])
        those = f"{len(split['student'].rows)} {name} rows"
        told.append(
            f"{those} can show a difference between student and teacher of about {100 * seen:.1f} points or"
            " more (80% power)."
            if seen < 1
            else f"{those} are too few to show any difference between student and teacher at all."
        )
    for who in systems:
        rows = [row for split in by_split.values() for row in split[who].rows]
        if cut := sum(row.finish_reason == "length" for row in rows):
            told.append(f"{cut} answers of the {who} were cut at their token limit.")
    if measured.single_s:
        most = max(map(len, measured.single_s.values()))
        timed = f"a student's latency is one row at a time, up to {most} rows."
        told.append(f"Teacher latency is per call, as it came; {timed}")
    return [*told, *measured.told]


def left_out(measured: Measured) -> dict[str, Any]:
    """How many rows were not asked about, by why."""
    names = ("gold_left_out", "gold_duplicates", "test_duplicates")
    gone = {"without_teacher": measured.without_teacher} if measured.without_teacher else {}
    return {name: getattr(measured, name) for name in names} | gone


def sees(one: Scored, other: Scored) -> float:
    """The smallest true difference (a share) that these rows show with 80% power.

    By the mean squared row difference (right/wrong: the share of rows that differ), its upper 95% bound.
    """
    squares = math.fsum((x - y) ** 2 for x, y in zip(one.main, other.main, strict=True))
    return detectable_difference(len(one.rows), wilson(squares, len(one.rows)).high)
