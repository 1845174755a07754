"""A person looks at kept rows: which ones, what was decided, what that says of all, what a rule changes.

It refuses to estimate from rows picked unevenly without weighing them, and to move a row between splits.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from distill.filters.correction import (
    NAME,
    Correction,
    corrected,
    dropping,
    read_corrections,
    save_corrections,
    settled,
)
from distill.score.stats import wilson
from distill.store import jsonl
from distill.store.run import Run
from distill.types import Candidate, Pair, Split, Task, Verdict, content_id

Kind = tuple[str, ...]
"""What rows are sampled by: answer and origin, or less where there are more kinds than rows to look at."""
Said = Literal["right", "wrong", "edit", "ruled", "skip"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of one row as it stood; `to` is the answer it should have had, `becomes` its new id.

    "ruled": not shown, as a correction made for another row says that this one was wrong too. `row` is the
    hash of what is shown, whatever the answer. `weight` is the share of rows of its kind over the share of
    rows picked that are of it: 1 where the sample is in proportion.
    """

    id: str
    row: str
    said: Said
    input: str
    answer: str
    weight: float = 1.0
    split: Split | None = None
    to: str = ""
    becomes: str = ""


class Drawn(NamedTuple):
    """A pair picked to be looked at, with the `weight` of a decision on it."""

    pair: Pair
    weight: float


class Audit:
    """One run's rows under review; `split` narrows them to one file."""

    def __init__(self, run: Run, task: Task, split: Split | None, rules: Sequence[Correction]) -> None:
        self.run, self.task, self.split, self.rules = run, task, split, tuple(rules)
        self.where: dict[str, Split] = {}
        self.read()
        made = list(jsonl.read(run.audit, Decision)) if run.audit.exists() else []
        self.decisions = [decision for _, decision in made]

    def read(self) -> None:
        """Read the pairs again; where one was that a correction took is still known."""
        self.pairs = read_pairs(self.run.splits[self.split] if self.split else self.run.pairs)
        for name, path in self.run.splits.items():
            self.where |= dict.fromkeys((pair.id for pair in read_pairs(path)), name)

    def correct(self, rule: Correction) -> int:
        """Save `rule` and hold every row to it; how many pairs of the run that changed."""
        save_corrections(self.run.corrections, [rule])
        self.rules = read_corrections(self.run.corrections)
        changed = apply_corrections(self.run, self.task, self.rules)
        self.read()
        return changed

    def would_change(self, rule: Correction) -> Counter[str]:
        """How many pairs of the run `rule` would drop or answer anew, by the answer they have."""
        pairs = read_pairs(self.run.pairs)
        return Counter(pair.answer for pair in pairs if touched([rule], pair.input, pair.answer))

    def to_show(self, n: int, seed: int) -> list[Drawn]:
        """The rows still to look at, of `n` in all; asked again with more, the same and some others."""
        shown = self.standing()
        seen = {decision.id for decision in shown} | {decision.becomes for decision in shown}
        drawn = sample(self.pairs, n, seed, self.kind)
        return [each for each in drawn if each.pair.id not in seen][: max(0, n - len(shown))]

    def kind(self, pair: Pair) -> Kind:
        """(answer, origin); free answers are all of one kind."""
        return (pair.answer if self.task.labels else "", pair.origin)

    def ruled(self, pair: Pair) -> bool:
        """Whether a correction drops the pair as it was drawn, or gives it another answer."""
        return touched(self.rules, pair.input, pair.answer)

    def decide(self, drawn: Drawn, said: Said, to: str = "") -> None:
        """Write a decision to audit.jsonl; it is on disk when this returns."""
        pair = drawn.pair
        decision = Decision(
            id=pair.id,
            row=content_id(pair.messages),
            said=said,
            input=pair.input,
            answer=pair.answer,
            weight=round(drawn.weight, 6),
            split=self.where.get(pair.id),
            to=to,
            becomes=content_id(pair.messages, to) if to else "",
        )
        with jsonl.Appender(self.run.audit) as log:
            log.append(decision)
        self.decisions.append(decision)

    def standing(self) -> list[Decision]:
        """Decisions on rows that are here, or were until a correction took them; one a row, the first."""
        here = {pair.id for pair in self.pairs}
        first: dict[str, Decision] = {}
        for decision in self.decisions:
            of_split = self.split in (None, decision.split)
            if decision.id in here or (of_split and touched(self.rules, decision.input, decision.answer)):
                first.setdefault(decision.row, decision)
        return list(first.values())

    def estimate(self) -> dict[str, Any]:
        """Counts, the share of wrong rows with its 95% Wilson interval, and the share right by answer.

        A row counts by its weight (Hajek's estimator); Wilson's n is then Kish's effective one,
        (sum w)^2 / sum w^2, which is the number of rows where all weigh the same.
        """
        standing = self.standing()
        looked = [decision for decision in standing if decision.said != "skip"]
        right = [decision for decision in looked if decision.said == "right"]
        total = math.fsum(decision.weight for decision in looked) or 1.0
        share = 1 - math.fsum(decision.weight for decision in right) / total if looked else 0.0
        effective = round(total**2 / (math.fsum(decision.weight**2 for decision in looked) or 1.0))
        bound = wilson(min(max(share, 0.0), 1.0) * effective, effective if looked else 0)
        return {
            "looked_at": len(looked),
            "right": len(right),
            "wrong": len(looked) - len(right),
            "skipped": len(standing) - len(looked),
            "rows": len(self.pairs),
            "wrong_share": round(share, 4),
            "low": round(bound.low, 4),
            "high": round(bound.high, 4),
            "by_answer": self._by_answer(looked),
        }

    def _by_answer(self, looked: Sequence[Decision]) -> dict[str, Any]:
        found = {}
        for name in self.task.label_names:
            mine = [decision.said == "right" for decision in looked if decision.answer == name]
            bound = wilson(sum(mine), len(mine))
            found[name] = {
                "looked_at": len(mine),
                "right": sum(mine),
                "low": round(bound.low, 4),
                "high": round(bound.high, 4),
            }
        return found


def read_pairs(path: Path) -> list[Pair]:
    """The pairs in `path`; none where it is absent."""
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []


def sample(pairs: Sequence[Pair], n: int, seed: int, kind_of: Callable[[Pair], Kind]) -> list[Drawn]:
    """`n` pairs in proportion to their kinds, one of each at least where `n` has room for that, shuffled.

    Kinds are (answer, origin), answers, or all one, the first of which `n` has room for. Within a kind the
    order is what `seed` decides, so that a larger sample goes on from a smaller one.
    """
    groups: dict[Kind, list[Pair]] = {}
    for depth in (2, 1, 0):
        groups = {}
        for pair in pairs:
            groups.setdefault(kind_of(pair)[:depth], []).append(pair)
        if len(groups) <= n:
            break
    counts = allocated({kind: len(group) for kind, group in groups.items()}, n)
    drawn = []
    for kind, count in counts.items():
        weight = (len(groups[kind]) / len(pairs)) / (count / sum(counts.values()))
        first = sorted(groups[kind], key=lambda pair: content_id(seed, pair.id))[:count]
        drawn += [Drawn(pair, weight) for pair in first]
    return sorted(drawn, key=lambda each: content_id(seed, "order", each.pair.id))


def allocated(sizes: Mapping[Kind, int], n: int) -> dict[Kind, int]:
    """How many of each kind: one, the rest by Webster's method, whose larger samples hold the smaller."""
    given = dict.fromkeys(sizes, 1)
    for _ in range(min(n, sum(sizes.values())) - len(sizes)):
        room = [kind for kind in sizes if given[kind] < sizes[kind]]
        given[max(room, key=lambda kind: sizes[kind] / (2 * given[kind] + 1))] += 1
    return given


def touched(rules: Sequence[Correction], input: str, answer: str) -> bool:
    """Whether the rules drop a row or give it another answer."""
    now = settled(rules, input, answer)
    return now != answer or dropping(rules, input, now) is not None


def mended(pair: Pair, rules: Sequence[Correction]) -> Pair | None:
    """The pair as the rules leave it, under a new id where its answer is new; None where they drop it."""
    answer = settled(rules, pair.input, pair.answer)
    if dropping(rules, pair.input, answer):
        return None
    return pair if answer == pair.answer else Pair.make(pair.messages, answer, pair.origin, pair.attributes)


def judged(candidate: Candidate, rules: Sequence[Correction]) -> Candidate:
    """A kept candidate as the rules leave it; others as they are."""
    if not candidate.verdict.keep:
        return candidate
    candidate = corrected(candidate, rules)
    rule = dropping(rules, candidate.input, candidate.answer)
    verdict = Verdict(keep=False, rule=NAME, why=rule.reason) if rule else None
    return msgspec.structs.replace(candidate, verdict=verdict) if verdict else candidate


def apply_corrections(run: Run, task: Task, rules: Sequence[Correction]) -> int:
    """Hold every row of the run to `rules`; returns how many pairs that changed.

    Each file is replaced by itself and only where something in it changes, every row stays in its split,
    and doing it again changes nothing: a kill in the middle is mended by the next time.
    """
    if run.candidates.exists():
        before = [candidate for _, candidate in jsonl.read(run.candidates, Candidate)]
        after = [judged(candidate, rules) for candidate in before]
        if after != before:
            jsonl.replace(run.candidates, after)
    changed = 0
    for path in (run.pairs, *run.splits.values()):
        pairs = read_pairs(path)
        new = {pair.id: pair for old in pairs if (pair := mended(old, rules)) is not None}
        if list(new) != [pair.id for pair in pairs]:
            jsonl.replace(path, new.values())
        if path == run.pairs:
            changed = len(pairs) - len(new.keys() & {pair.id for pair in pairs})
    if rules:
        write_receipt(run, task)
    return changed


def write_receipt(run: Run, task: Task, audit: Mapping[str, Any] | None = None) -> None:
    """Bring receipt.json up to the files beside it, and put `audit` into it. Nothing where there is none."""
    summary = run.summary("generate")
    if summary is None:
        return
    pairs = read_pairs(run.pairs)
    sizes = {name: len(read_pairs(path)) for name, path in run.splits.items()}
    answers = Counter(pair.answer for pair in pairs)
    dropped = {rule: count for rule, count in summary["dropped"].items() if rule != NAME}
    # What was tried is kept or dropped: this holds whatever a kill left undone before.
    by_hand = summary["tried"] - sum(dropped.values()) - len(pairs)
    changes = {
        "accepted": len(pairs),
        "dropped": {**dropped, NAME: by_hand} if by_hand > 0 else dropped,
        "by_answer": {name: answers[name] for name in task.label_names},
        "splits": {**summary["splits"], **sizes, "left_out": len(pairs) - sum(sizes.values())},
    }
    if audit is not None:
        changes["audit"] = dict(audit)
    if any(summary.get(name) != value for name, value in changes.items()):
        jsonl.replace_json(run.summary_path("generate"), {**summary, **changes})
