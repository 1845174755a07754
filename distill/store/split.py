"""Train, valid and test: frozen once given, free of leaks, in proportion for every answer.

Refuses to put near-duplicates on both sides of a line: a group goes whole, and a new pair that is near rows
of two splits is left out of all three.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

from distill.store.near import groups
from distill.types import Pair, Split, content_id

SPLITS: tuple[Split, ...] = get_args(Split)


class Splits(NamedTuple):
    """Every pair once, in the order given. `left_out`: near rows of two frozen splits, so fit for none."""

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    left_out: list[Pair]

    def assignment(self) -> dict[str, Split]:
        """Pair id -> split: what to pass as `frozen` when more pairs have come."""
        parts: tuple[tuple[Split, list[Pair]], ...] = (
            ("train", self.train),
            ("valid", self.valid),
            ("test", self.test),
        )
        return {pair.id: name for name, pairs in parts for pair in pairs}


def split_pairs(
    pairs: Sequence[Pair],
    *,
    valid_share: float,
    test_share: float,
    seed: int,
    near_duplicate: float = 0.7,
    by_answer: bool = False,
    frozen: Mapping[str, Split] | None = None,
) -> Splits:
    """Deal `pairs` out, groups of near-duplicates whole; the order of `pairs` decides nothing, `seed` does.

    `by_answer` deals every answer out in proportion (label tasks). `frozen` (pair id -> split) is kept
    whatever else is given. A share above 0 gets a row at least where there are 10 pairs and enough groups.
    """
    assigned, fresh = _follow_frozen(_grouped(pairs, near_duplicate), frozen or {})
    waiting = _in_order(fresh, seed, by_answer=by_answer)
    wanted: tuple[tuple[Split, float], ...] = (("test", test_share), ("valid", valid_share))
    for name, share in wanted:
        held = sum(split == name for split in assigned.values())
        taken, waiting = _take(waiting, _target(len(pairs), share) - held, at_least_one=not held)
        assigned.update({pair.id: name for group in taken for pair in group})
    assigned.update({pair.id: "train" for group in waiting for pair in group})
    parts = [[pair for pair in pairs if assigned.get(pair.id) == name] for name in (*SPLITS, None)]
    return Splits(*parts)


def sampled(names: Sequence[str], most: int) -> list[int]:
    """The places, in order, of up to `most` of `names`: no pattern among them decides which.

    The same ones each time; more of them, or other names beside them, leave them in.
    """
    places = sorted(range(len(names)), key=lambda place: content_id("sample", names[place]))
    return sorted(places[:most])


def _grouped(pairs: Sequence[Pair], near_duplicate: float) -> list[list[Pair]]:
    """Groups of near-duplicates, each and all sorted by id, so that the order of `pairs` decides nothing."""
    found: dict[int, list[Pair]] = {}
    for number, pair in zip(groups([pair.input for pair in pairs], near_duplicate), pairs, strict=True):
        found.setdefault(number, []).append(pair)
    ordered = [sorted(group, key=lambda pair: pair.id) for group in found.values()]
    return sorted(ordered, key=lambda group: group[0].id)


def _follow_frozen(
    grouped: list[list[Pair]], frozen: Mapping[str, Split]
) -> tuple[dict[str, Split], list[list[Pair]]]:
    """(assignments that what is frozen decides, groups that are free)."""
    assigned: dict[str, Split] = {}
    fresh = []
    for group in grouped:
        kept = {pair.id: frozen[pair.id] for pair in group if pair.id in frozen}
        splits = set(kept.values())
        if not splits:
            fresh.append(group)
        elif len(splits) == 1:
            assigned.update(dict.fromkeys((pair.id for pair in group), *splits))
        else:
            assigned.update(kept)
    return assigned, fresh


def _in_order(fresh: list[list[Pair]], seed: int, *, by_answer: bool) -> list[list[Pair]]:
    """`fresh` so that every stretch holds each answer in proportion: systematic sampling by answer."""
    strata: dict[str, list[list[Pair]]] = {}
    for group in fresh:
        strata.setdefault(group[0].answer if by_answer else "", []).append(group)
    placed: list[tuple[float, str, list[Pair]]] = []
    for answer, members in strata.items():
        # A start drawn by answer, so that rare answers reach the small splits as often as they should.
        start = int(content_id(seed, answer), 16) / 16**16
        members.sort(key=lambda group: content_id(seed, group[0].id))
        placed.extend(
            ((rank + start) / len(members), group[0].id, group) for rank, group in enumerate(members)
        )
    return [group for _, _, group in sorted(placed, key=lambda each: each[:2])]


def _target(n: int, share: float) -> int:
    return 0 if share == 0 else max(round(share * n), 1 if n >= 10 else 0)


def _take(
    waiting: list[list[Pair]], want: int, *, at_least_one: bool
) -> tuple[list[list[Pair]], list[list[Pair]]]:
    """(groups from the front of `waiting` that hold `want` pairs at most, the others); one is always left."""
    taken: list[list[Pair]] = []
    rest: list[list[Pair]] = []
    for place, group in enumerate(waiting):
        last = place == len(waiting) - 1 and not rest
        if len(group) <= want and not last:
            taken.append(group)
            want -= len(group)
        else:
            rest.append(group)
    if not taken and want > 0 and at_least_one and len(rest) > 1:
        smallest = min(rest, key=len)
        return [smallest], [group for group in rest if group is not smallest]
    return taken, rest
