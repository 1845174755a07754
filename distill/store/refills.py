"""refills.jsonl: what each refilling of the training rows was made from and came to, a line a round.

Refuses to count a round that is not whole: its line is written last.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.store import jsonl
from distill.store.pairs import read_pairs
from distill.store.run import Run
from distill.types import Pair, Task, content_id

REFILL = "refill"
"""The origin of candidates and pairs written for failures."""
ROUND = "round"
"""The attribute that says which refilling made a pair, from 1."""


class Refill(msgspec.Struct, frozen=True, kw_only=True):
    """One round: `failures` is the digest of the failures it filled, `task` that of the task."""

    round: int
    task: str
    failures: str
    asked: int
    accepted: int
    tried: int
    dropped: dict[str, int]
    clusters: list[dict[str, Any]]


def of_task(task: Task) -> str:
    """A digest of the task, whatever prompt was found best for it."""
    return content_id(msgspec.structs.replace(task, prompt=None))


def read_refills(run: Run, task: Task) -> list[Refill]:
    """The rounds made for this task, in order."""
    if not run.refills.exists():
        return []
    jsonl.repair(run.refills)
    return [each for _, each in jsonl.read(run.refills, Refill) if each.task == of_task(task)]


def refilled_pairs(run: Run, task: Task) -> list[Pair]:
    """The pairs of those rounds; they stay whatever generate makes anew."""
    rounds = {str(each.round) for each in read_refills(run, task)}
    return [
        pair for pair in read_pairs(run) if pair.origin == REFILL and pair.attributes.get(ROUND) in rounds
    ]


def with_refills(
    receipt: Mapping[str, Any], refills: Sequence[Refill], pairs: Sequence[Pair]
) -> dict[str, Any]:
    """Generate's receipt with what the refills tried, kept and dropped; `pairs` are the refilled ones."""
    dropped, answers = Counter(receipt["dropped"]), Counter(pair.answer for pair in pairs)
    for each in refills:
        dropped.update(each.dropped)
    return {
        **receipt,
        "asked_for": receipt["asked_for"] + len(pairs),
        "tried": receipt["tried"] + sum(each.tried for each in refills),
        "dropped": dict(dropped.most_common()),
        "by_answer": {name: count + answers[name] for name, count in receipt["by_answer"].items()},
        "refills": [msgspec.to_builtins(each) for each in refills],
    }
