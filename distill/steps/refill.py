"""`generate --from-failures`: a round of new training pairs for what the student fails on.

Refuses to touch a held-out row: valid and test stay as they are, and no new pair may be like one of theirs.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from distill.clustering import Failures
from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.held_out import read_split
from distill.making import Making
from distill.pairing import explained, pair
from distill.preparing import read_sources, settle_prompt, settle_stages
from distill.refilling import Refilling, derived, slots
from distill.store import jsonl
from distill.store.pairs import read_pairs
from distill.store.refills import REFILL, ROUND, Refill, of_task, read_refills, refilled_pairs, with_refills
from distill.store.run import Run, digest, read_json
from distill.store.taskfile import read_task
from distill.systems import adapter_digest
from distill.teacher.ledgered import Ledgered
from distill.types import Candidate, Pair, Progress, Split, Task


def failures_of(run: Run) -> Failures:
    """What `distill failures` found of the student there is. Raises UsageError where it is absent or old."""
    hint = "run: distill failures"
    if not run.failures.exists():
        raise UsageError("no failures were looked at yet", where="--from-failures", hint=hint)
    found = msgspec.convert(read_json(run.failures), Failures)
    if found.made_from["adapter"] != adapter_digest(run):
        raise UsageError(
            "the failures are those of another student", where=str(run.failures), hint=f"{hint}, then again"
        )
    if found.made_from.get("task.toml") != of_task(read_task(run.task)):
        raise UsageError(
            "task.toml has changed since the failures were looked at",
            where=str(run.task),
            hint=f"{hint}, then again",
        )
    if not found.clusters:
        raise UsageError(
            "the student missed no row that may be refilled",
            where=str(run.failures),
            hint="distill failures --on train looks at the training rows too",
        )
    return found


def already(run: Run) -> dict[str, Any] | None:
    """The receipt where the newest round filled these very failures, else None."""
    task = read_task(run.task)
    made = read_refills(run, task)
    if not made or made[-1].failures != digest(run.failures):
        return None
    return write_receipt(run, task)  # a kill may have come between the round and its receipt


async def refill(
    run: Run, config: GenerateConfig, n: int | None, teacher: Ledgered, progress: Progress
) -> dict[str, Any]:
    """Add `n` pairs (None: a number derived, and said) to train and return generate's receipt with the round.

    Raises UsageError without failures to fill, DistillError where no pair is accepted; a round that was cut
    off is made again from the ledger.
    """
    task, failures = read_task(run.task), failures_of(run)
    made = read_refills(run, task)
    number = len(made) + 1
    train = without(read_split(run, "train"), number)
    misses = sum(cluster.count for cluster in failures.clusters)
    if n is None:
        n = derived(misses, len(train))
        progress.say(f"--n {n}, for {misses} misses and {len(train):,} training rows")
    pairs = without(read_pairs(run), number)
    sources = read_sources(run, task, config, progress)
    task = await settle_prompt(run, task, config, teacher, progress, sources.seeds)
    config, stages = await settle_stages(task, config, teacher, progress, sources.seeds)
    held_out: tuple[Split, ...] = ("valid", "test")
    protected = [each.input for name in held_out for each in read_split(run, name)]
    with Making(
        run,
        task,
        config,
        teacher,
        progress,
        seeds=sources.seeds,
        protected=[*sources.protected, *protected],
        known=pairs,
        stages=stages,
    ) as making:
        lines = other_lines(run, number)
        jsonl.replace(run.candidates, lines)
        with jsonl.Appender(run.candidates) as log:
            start = 1 + max((line["index"] for line in lines), default=-1)
            filling = Refilling(making, slots(task, failures.clusters, n, train), number, start, log)
            accepted = await filling.accepted()
        new = await as_pairs(making, accepted)
    jsonl.replace(run.pairs, [*pairs, *new])
    jsonl.replace(run.splits["train"], [*train, *new])
    record = Refill(
        round=number,
        task=of_task(task),
        failures=digest(run.failures) or "",
        asked=n,
        accepted=len(new),
        tried=len(new) + filling.dropped.total(),
        dropped=dict(filling.dropped.most_common()),
        clusters=counted(filling),
    )
    with jsonl.Appender(run.refills) as done:
        done.append(record)
    return write_receipt(
        run, task, calls=teacher.ledger.calls, calls_now=teacher.bought, cost_usd=teacher.ledger.cost_usd
    )


def without(pairs: Sequence[Pair], number: int) -> list[Pair]:
    """`pairs` less those of an unfinished attempt at that round."""
    return [each for each in pairs if each.origin != REFILL or each.attributes.get(ROUND) != str(number)]


def other_lines(run: Run, number: int) -> list[dict[str, Any]]:
    """The lines of candidates.jsonl that are not of that round."""
    if not run.candidates.exists():
        return []
    jsonl.repair(run.candidates)
    lines = [line for _, line in jsonl.read(run.candidates, dict[str, Any])]
    mine = (REFILL, str(number))
    return [line for line in lines if (line["origin"], line.get("attributes", {}).get(ROUND)) != mine]


async def as_pairs(making: Making, accepted: list[Candidate]) -> list[Pair]:
    """The candidates as pairs, with reasons where the run asks for them."""
    reasons = await explained(making, accepted) if making.config.rationale else {}
    return [pair(making.task, candidate, reasons.get(candidate.index, "")) for candidate in accepted]


def counted(filling: Refilling) -> list[dict[str, Any]]:
    """What was asked for and what was accepted, slot by slot."""
    return [
        {
            "cluster": slot.cluster.name,
            "misses": slot.cluster.count,
            "written_for": slot.asked,
            "asked": slot.pairs,
            "accepted": filling.kept[place],
        }
        for place, slot in enumerate(filling.slots)
    ]


def write_receipt(run: Run, task: Task, **spent: Any) -> dict[str, Any]:
    """Bring generate's receipt up to the rounds there are and return it; what it was made from stays."""
    receipt = run.summary("generate") or {}
    rounds = read_refills(run, task)
    fresh = rounds[len(receipt.get("refills", ())) :]
    numbers = {str(each.round) for each in fresh}
    pairs = [each for each in refilled_pairs(run, task) if each.attributes[ROUND] in numbers]
    summary = {
        **with_refills(receipt, fresh, pairs),
        "refills": [msgspec.to_builtins(each) for each in rounds],
        "accepted": sum(1 for _ in jsonl.lines(run.pairs)),
        "splits": {**receipt["splits"], "train": sum(1 for _ in jsonl.lines(run.splits["train"]))},
        **spent,
    }
    if summary != receipt:
        jsonl.replace_json(run.summary_path("generate"), summary)
    return summary
