"""More pairs like those a student fails on: planned on its clusters of failures, filtered as any.

Refuses to copy: the rows that failed are shown as style, and what comes near them, or near any held-out row,
is dropped.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from distill.clustering import Cluster
from distill.errors import DataError, DistillError
from distill.filters.correction import corrected
from distill.making import Making, next_round
from distill.planning import Cell, plan
from distill.probing import write_input
from distill.store import jsonl
from distill.store.near import cleaned, grams, jaccard
from distill.store.refills import REFILL, ROUND
from distill.teacher.flow import ordered
from distill.types import Candidate, Example, Pair, Task, Verdict

SHOTS = 6
"""Rows of a cluster that a writer is shown, three at a time."""
EACH, LEAST, SHARE = 10, 20, 0.25
"""Pairs a miss; but no more than this share of the training rows, or LEAST where they are few."""


class Slot(NamedTuple):
    """So many pairs of one cluster to be written for one label (None: for none), in the style of `task`'s
    examples, which are the cluster's.
    """

    cluster: Cluster
    asked: str | None
    pairs: int
    task: Task


class Draft(NamedTuple):
    """One input to be written: for which slot, and the planned cell."""

    slot: int
    cell: Cell


def derived(misses: int, n_train: int) -> int:
    """How many pairs so many misses are worth where nobody says."""
    return min(EACH * misses, max(LEAST, round(SHARE * n_train)))


def slots(task: Task, clusters: Sequence[Cluster], n: int, train: Sequence[Pair]) -> list[Slot]:
    """`n` pairs dealt to the clusters by their size (Webster), and each cluster's to both labels confused."""
    least = 2 if task.labels else 1
    clusters = clusters[: max(1, n // least)]
    counts = [min(least, n)] * len(clusters)
    for _ in range(n - sum(counts)):
        place = max(range(len(clusters)), key=lambda at: clusters[at].count / (2 * counts[at] + 1))
        counts[place] += 1
    found = []
    for cluster, count in zip(clusters, counts, strict=True):
        if not task.labels:
            found.append(Slot(cluster, None, count, like(task, cluster)))
            continue
        other = count // 2 if cluster.answered in task.label_names else 0
        found.append(Slot(cluster, cluster.given, count - other, like_label(task, cluster, cluster.given)))
        if other:
            shown = nearest(cluster, [pair for pair in train if pair.answer == cluster.answered])
            task_of_other = with_examples(task, cluster.answered, shown)
            found.append(Slot(cluster, cluster.answered, other, task_of_other))
    return found


def like(task: Task, cluster: Cluster) -> Task:
    """`task` with the cluster's rows as its examples."""
    shown = tuple(Example(miss.input, miss.gold) for miss in cluster.rows[:SHOTS])
    return msgspec.structs.replace(task, examples=shown)


def like_label(task: Task, cluster: Cluster, label: str) -> Task:
    """`task` with the cluster's inputs as the examples of `label`, which they have."""
    return with_examples(task, label, [miss.input for miss in cluster.rows[:SHOTS]])


def with_examples(task: Task, label: str, inputs: Sequence[str]) -> Task:
    """`task` with these examples of that label, where there are any."""
    labels = (
        msgspec.structs.replace(each, examples=tuple(inputs)) if each.name == label and inputs else each
        for each in task.labels
    )
    return msgspec.structs.replace(task, labels=tuple(labels))


def nearest(cluster: Cluster, pairs: Sequence[Pair]) -> list[str]:
    """The inputs of `pairs` most like any of the cluster's."""
    own = [grams(cleaned(miss.input)) for miss in cluster.rows[:SHOTS]]
    near = {pair.input: max(jaccard(mine, grams(cleaned(pair.input))) for mine in own) for pair in pairs}
    return sorted(near, key=lambda text: (-near[text], text))[:SHOTS]


class Refilling:
    """The slots being filled: in rounds, so that what is asked depends on verdicts alone and a resumed run
    finds it in the ledger.

    `start` is the first candidate's index; `dropped` counts what the rules dropped.
    """

    def __init__(
        self, making: Making, filling: Sequence[Slot], number: int, start: int, log: jsonl.Appender
    ) -> None:
        self.making, self.slots, self.number, self.log = making, filling, number, log
        self.quota = [slot.pairs for slot in filling]
        self.kept, self.lost, self.dropped = Counter[int](), Counter[int](), Counter[str]()
        self._index = itertools.count(start)
        self._plans = [self._attributes(slot) for slot in filling]
        self._slot_of: dict[int, int] = {}

    async def accepted(self) -> list[Candidate]:
        """The kept candidates; fewer than asked for where clusters run dry. Raises DistillError on none."""
        found: list[Candidate] = []
        self.making.progress.begin("refilling", sum(self.quota))
        while drafts := list(self._round()):
            written = ordered(drafts, self._write, self.making.teacher.ahead)
            sieved = self.making.sieve(written, self._drop)
            answer = self.making.answering.answer
            async with aclosing(ordered(sieved, answer, self.making.teacher.ahead)) as answered:
                async for each in answered:
                    found += self._kept(corrected(each, self.making.corrections))
        if not found:
            worst = ", ".join(f"{count} {rule}" for rule, count in self.dropped.most_common(3))
            raise DistillError(
                f"none of {self.lost.total()} candidates for the failures was accepted ({worst})",
                where=str(self.making.run.candidates),
                hint="perhaps the teacher cannot tell these apart: see distill rows; or --agreement off",
            )
        return found

    def _round(self) -> Iterator[Draft]:
        """What to write next: what is missing of each slot; what a dry one leaves goes to the others."""
        cap = [math.ceil(self.making.config.max_tries * slot.pairs) for slot in self.slots]
        tried = [self.kept[place] + self.lost[place] for place in range(len(self.slots))]
        able = [place for place in range(len(self.slots)) if tried[place] < cap[place] and self.kept[place]]
        left = sum(
            self.quota[place] - self.kept[place] for place in range(len(cap)) if tried[place] >= cap[place]
        )
        for place in itertools.islice(itertools.cycle(able), left if able else 0):
            self.quota[place] += 1
        for place in range(len(cap)):
            if tried[place] >= cap[place]:
                self.quota[place] = self.kept[place]
            missing = self.quota[place] - self.kept[place]
            need = next_round(missing, self.kept[place], self.lost[place])
            for _ in range(min(need, cap[place] - tried[place])):
                cell = Cell(next(self._index), self.slots[place].asked, next(self._plans[place]))
                self._slot_of[cell.index] = place
                yield Draft(place, cell)

    def _attributes(self, slot: Slot) -> Iterator[dict[str, str]]:
        """The planned attributes of inputs for the slot's label, other ones each round.

        Raises DataError where the task has no such label: none would ever be planned.
        """
        labels: Sequence[str | None] = self.making.task.label_names or (None,)
        if slot.asked not in labels:
            raise DataError(
                f"the failures are of a label that the task has not: {slot.asked}",
                where=str(self.making.run.failures),
                hint="run: distill failures",
            )
        cells = plan(self.making.task, self.making.config.seed + self.number)
        mine = itertools.islice(cells, labels.index(slot.asked), None, len(labels))
        return (cell.attributes for cell in mine)

    async def _write(self, draft: Draft) -> Candidate:
        slot, config = self.slots[draft.slot], self.making.config
        text, finish = await write_input(
            slot.task, self.making.teacher, draft.cell, temperature=config.temperature, seed=config.seed
        )
        about = {ROUND: str(self.number), "cluster": slot.cluster.name}
        return Candidate(
            index=draft.cell.index,
            input=text,
            answer=slot.asked or "",
            asked=slot.asked,
            attributes={**draft.cell.attributes, **about},
            origin=REFILL,
            finish_reason=finish,
        )

    def _drop(self, candidate: Candidate, verdict: Verdict) -> None:
        self.dropped[verdict.rule] += 1
        self.lost[self._slot_of[candidate.index]] += 1
        self.log.append(msgspec.structs.replace(candidate, verdict=verdict))

    def _kept(self, candidate: Candidate) -> list[Candidate]:
        """The candidate if it is accepted, written to the log in any case."""
        place = self._slot_of[candidate.index]
        verdict = self.making.judged(candidate)
        if verdict.keep and self.kept[place] >= self.quota[place]:
            verdict = Verdict(keep=False, rule="surplus", why="there are enough of this cluster")
        if verdict.keep:
            whole = msgspec.structs.replace(candidate, input=candidate.said)
            verdict = self.making.on_input.admit(whole)
        if not verdict.keep:
            self._drop(candidate, verdict)
            return []
        self.log.append(candidate)
        self.kept[place] += 1
        self.making.progress.advance()
        return [candidate]
