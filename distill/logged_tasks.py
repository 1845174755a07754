"""The tasks that a log of real traffic holds: its templates, named, each with its prompt, volume and cost.

Refuses to be silent about what it leaves out: lines skipped, one-offs and templates that are not scouted are
counted.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.naming import Named, name_all
from distill.scouted import Scouted
from distill.teacher.prices import Prices
from distill.teacher.protocol import Teacher
from distill.traffic.clusters import Cluster, Row, Traffic, UsdOf, sort_log
from distill.traffic.tasks import as_answer, fallback_names, task_of
from distill.types import Example, Progress, Task
from distill.worth import period, traffic_of

REASONS_SHOWN = 5
LINES_SHOWN = 3


class LoggedTask(NamedTuple):
    """A task, the user's own prompt for it ("": the log has none), its traffic, some rows of it."""

    task: Task
    baseline: str
    traffic: dict[str, Any]
    rows: list[Example]


async def logged_tasks(
    path: Path, rows: Path, most: int, usd_of: UsdOf, teacher: Teacher, progress: Progress
) -> tuple[list[LoggedTask], dict[str, Any]]:
    """(The `most` tasks that cost most, else come most often; what is to be said of the log).

    Every request of a template is written to `rows`, without it. Raises as `sort_log`.
    """
    traffic = sort_log(path, rows, usd_of, progress)
    by_cost = sorted(traffic.clusters, key=lambda cluster: (-(cluster.usd or 0.0), -cluster.volume))
    chosen, others = by_cost[:most], by_cost[most:]
    named = await name_all(teacher, chosen, progress)
    tasks = [_task(cluster, name, traffic) for cluster, name in zip(chosen, named, strict=True)]
    return tasks, told(path, traffic, others)


def _task(cluster: Cluster, named: Named, traffic: Traffic) -> LoggedTask:
    task = task_of(cluster, named.name)
    rows = [Example(row.input, as_answer(task, row.response)) for row in distinct(cluster.rows)]
    return LoggedTask(task, cluster.frame.baseline, traffic_of(cluster, traffic, named.description), rows)


def by_log(found: Scouted, models: Sequence[str]) -> Scouted:
    """What was scored against logged answers, called what it is: agreement with whoever gave them."""
    trust = f"what {' and '.join(models) or 'your model'} answered in the log: agreement with it, not truth"
    trials = [msgspec.structs.replace(trial, basis="agreement", trusted=False) for trial in found.trials]
    probes = [msgspec.structs.replace(probe, gold=False) for probe in found.probes]
    reason = found.reason.replace("your rows", "the log's rows")
    return msgspec.structs.replace(
        found, trials=trials, probes=probes, trusted=False, trust=trust, reason=reason
    )


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows, each input once."""
    return list({row.input: row for row in reversed(rows)}.values())[::-1]


def told(path: Path, traffic: Traffic, others: Sequence[Cluster]) -> dict[str, Any]:
    """The log in numbers: what was read, what was not and why, what is no task, and what is not scouted."""
    reasons = Counter(why for _, why in traffic.skipped)
    first: dict[str, list[int]] = {}
    for number, why in traffic.skipped:
        first.setdefault(why, []).append(number)
    return {
        "file": path.name,
        "requests": traffic.requests,
        "templates": len(traffic.clusters),
        "share": 1 - traffic.noise / traffic.requests,
        "noise": traffic.noise,
        "skipped": len(traffic.skipped),
        "skipped_why": dict(reasons.most_common(REASONS_SHOWN)),
        "skipped_lines": {why: first[why][:LINES_SHOWN] for why, _ in reasons.most_common(REASONS_SHOWN)},
        "estimated": sum(cluster.estimated for cluster in traffic.clusters),
        "period": period(traffic),
        "not_scouted": [
            {"name": name, "requests": cluster.volume, "usd": cluster.usd}
            for name, cluster in zip(fallback_names(others), others, strict=True)
        ],
    }


def priced(price: Any) -> UsdOf:
    """USD of a logged call by `price(model)`, which is asked once a model."""

    @cache
    def known(model: str) -> Prices:
        found: Prices = price(model)
        return found

    def usd(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        prices = known(model)
        if prices.input is None or prices.output is None:
            return None
        return (prompt_tokens * prices.input + completion_tokens * prices.output) / 1e6

    return usd


def write_picked(rows: Path, template: int, to: Path) -> int:
    """Write the requests of one template to `to`, as `generate --from-logs` reads them; returns how many."""
    from distill.store import jsonl

    count = 0

    def picked() -> Any:
        nonlocal count
        for _, row in jsonl.read(rows, Row):
            if row.template == template:
                count += 1
                # As a turn, so that an answer which is JSON itself is not taken for a provider's body.
                said = {"role": "assistant", "content": row.response}
                yield {"messages": [*msgspec.to_builtins(row.messages), said]}

    jsonl.replace(to, picked())
    return count
