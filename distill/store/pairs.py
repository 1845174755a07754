"""The run's pairs on disk: all of them, and each in its split. Every step that makes pairs writes them here.

Refuses to move a pair that was held out before.
"""

from typing import Protocol

from distill.store import jsonl
from distill.store.run import Run
from distill.store.split import Splits, split_pairs
from distill.types import Pair, Split, Task


class Dealing(Protocol):
    """How pairs are dealt out; the config of a step that makes them says it."""

    @property
    def valid_share(self) -> float: ...  # noqa: D102
    @property
    def test_share(self) -> float: ...  # noqa: D102
    @property
    def near_duplicate(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def read_pairs(run: Run) -> list[Pair]:
    """The pairs there are, in order; none where nothing was generated or imported yet."""
    return [pair for _, pair in jsonl.read(run.pairs, Pair)] if run.pairs.exists() else []


def frozen(run: Run) -> dict[str, Split]:
    """Which split each pair made before is in: held-out rows stay held out."""
    return {
        record.id: name
        for name, path in run.splits.items()
        if path.exists()
        for _, record in jsonl.read(path, Pair)
    }


def write_pairs(
    run: Run, task: Task, dealing: Dealing, pairs: list[Pair], before: dict[str, Split]
) -> dict[str, int]:
    """Write pairs.jsonl and the three splits; returns the size of each split."""
    splits = split_pairs(
        pairs,
        valid_share=dealing.valid_share,
        test_share=dealing.test_share,
        seed=dealing.seed,
        near_duplicate=dealing.near_duplicate,
        by_answer=task.kind == "label",
        frozen=before,
    )
    jsonl.replace(run.pairs, pairs)
    for name, rows in by_split(splits).items():
        jsonl.replace(run.splits[name], rows)
    return {name: len(rows) for name, rows in by_split(splits).items()} | {"left_out": len(splits.left_out)}


def by_split(splits: Splits) -> dict[Split, list[Pair]]:
    """The pairs of each split by its name."""
    return {"train": splits.train, "valid": splits.valid, "test": splits.test}
