"""What an answer takes and what it is worth: latency, speed, price, price of an accepted answer, break-even.

Refuses to call an unknown price nothing: None is unknown, and whatever needs it is None too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from distill.results import Measured
from distill.score.same import same
from distill.types import Prediction, Task


def system(
    task: Task, who: str, rows: Sequence[Prediction], measured: Measured, usd_per_hour: float | None
) -> dict[str, Any]:
    """What one system is and what an answer takes. A student's price is its machine's, at full batches."""
    if who == "teacher":
        latencies = [row.latency_s for row in rows if row.latency_s]
        rate, usd = None, teacher_usd_per_1000(rows)
        tokens_per_s = speed(rows, math.fsum(latencies))
    else:
        latencies = list(measured.single_s.get(who, ()))
        taken = math.fsum(row.spent_s or 0.0 for row in rows)
        rate = len(rows) / taken if taken > 0 else None
        usd = 1000 * usd_per_hour / 3600 / rate if usd_per_hour is not None and rate else None
        tokens_per_s = speed(rows, taken)
    accepted = len([row for row in rows if same(task, row.gold, row.answer)]) / len(rows)
    return {
        "who": who,
        "model": measured.models[who],
        "prompt": measured.prompts[who],
        "latency_p50_s": quantile(latencies, 0.5),
        "latency_p95_s": quantile(latencies, 0.95),
        "rows_per_s": rate,
        "tokens_per_s": tokens_per_s,
        "usd_per_1000": usd,
        "accepted_share": accepted,
        "usd_per_accepted": usd / 1000 / accepted if usd is not None and accepted else None,
    }


def teacher_usd_per_1000(rows: Sequence[Prediction]) -> float | None:
    """What 1000 answers cost at the price of these; None where one price is unknown."""
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return 1000 * math.fsum(costs) / len(rows) if rows and len(costs) == len(rows) else None


def speed(rows: Sequence[Prediction], seconds: float) -> float | None:
    """Answer tokens a second; None where they were not counted, or took no time."""
    counts = [row.tokens for row in rows if row.tokens is not None]
    total = sum(counts)
    return total / seconds if len(counts) == len(rows) and total and seconds > 0 else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def economics(
    teacher: Mapping[str, Any], student: Mapping[str, Any], upfront_usd: Mapping[str, float | None]
) -> dict[str, Any]:
    """When the student has earned what it cost: `break_even_requests`, and `why` in a sentence.

    `teacher` and `student` are as `system` gives them.
    """
    theirs, mine = teacher["usd_per_1000"], student["usd_per_1000"]
    known = [value for value in upfront_usd.values() if value is not None]
    upfront = math.fsum(known) if len(known) == len(upfront_usd) else None
    requests, why = break_even(theirs, mine, upfront)
    return {
        "upfront_usd": dict(upfront_usd),
        "teacher_usd_per_1000": theirs,
        "student_usd_per_1000": mine,
        "break_even_requests": requests,
        "why": why,
    }


def break_even(
    teacher_per_1000: float | None, student_per_1000: float | None, upfront: float | None
) -> tuple[int | None, str]:
    """(requests after which the student is the cheaper one, why); None: never, or unknown."""
    if teacher_per_1000 is None:
        return None, "the teacher's price is unknown: give --price-in and --price-out"
    if student_per_1000 is None:
        return None, "the student's price is unknown: give --hardware-usd-per-hour"
    saved = teacher_per_1000 - student_per_1000
    if saved <= 0:
        return None, "the student is not cheaper than the teacher at these prices"
    if upfront is None:
        return None, f"${saved:.4g} saved per 1000 requests, but what the student cost so far is unknown"
    requests = math.ceil(1000 * upfront / saved)
    return (
        requests,
        f"${saved:.4g} saved per 1000 requests pays back ${upfront:.4g} after {requests:,} of them",
    )
