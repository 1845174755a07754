"""Whole rows put behind one another in lines, with the positions and targets by which none sees another.

Refuses to cut a row, and a line longer than its capacity unless one row alone is.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from distill.student.encode import IGNORED, Row

if TYPE_CHECKING:
    import torch


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of rows, each exactly once, in lines of at most `capacity` tokens: best fit, longest first.

    A longer row has a line of its own. At most 11/9 of the fewest lines there can be, and one more
    (Johnson et al. 1974).
    """
    lines: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room, line), the least room first
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        at = bisect_left(free, (lengths[index], -1))
        room, line = free.pop(at) if at < len(free) else (max(capacity, lengths[index]), len(lines))
        if line == len(lines):
            lines.append([])
        lines[line].append(index)
        insort(free, (room - lengths[index], line))
    return lines


def joined(rows: Sequence[Row]) -> Row:
    """`rows` as one, which remembers where each begins. A joined row may be joined again."""
    if len(rows) == 1:
        return rows[0]
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    starts: list[int] = []
    for row in rows:
        spans += [(len(ids) + start, len(ids) + end) for start, end in row.spans]
        starts += [len(ids) + start for start in row.starts]
        ids += row.ids
    answers = tuple(length for row in rows for length in row.answer_tokens)
    name = "+".join(row.id for row in rows)
    return Row(name, tuple(ids), tuple(spans), rows[0].stop, tuple(starts), answers)


def separated(row: Row) -> list[Row]:
    """The rows that were joined to `row`, in order; they keep its id."""
    if len(row.starts) == 1:
        return [row]
    parts = []
    for start, end in zip(row.starts, (*row.starts[1:], len(row.ids)), strict=True):
        spans = tuple((first - start, last - start) for first, last in row.spans if start <= first < end)
        parts.append(Row(row.id, row.ids[start:end], spans, row.stop))
    return parts


def like_lengths(rows: Sequence[Row]) -> list[list[int]]:
    """Indices of rows, each exactly once, in groups that are padded by a quarter at most."""
    groups: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index].ids)):
        if groups and 4 * len(rows[index].ids) >= 3 * len(rows[groups[-1][0]].ids):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def packed(rows: Sequence[Row], capacity: int) -> list[Row]:
    """`rows` joined to lines of at most `capacity` tokens."""
    lines = best_fit([len(row.ids) for row in rows], capacity)
    return [joined([rows[index] for index in sorted(line)]) for line in lines]


@dataclass(frozen=True)
class Layout:
    """Lines as tensors: L lines, T tokens. Positions begin anew with each row: that is the block mask.

    `at_N` are the places (in L x T, flat) that the targets `labels_N` are predicted from, row after row in
    the order the rows came in. `begins` are the flat places where a row, or the padding after the last of a
    line, begins, with L x T at the end: varlen attention's cumulative lengths.
    """

    ids_LT: "torch.Tensor"
    positions_LT: "torch.Tensor"
    at_N: "torch.Tensor"
    labels_N: "torch.Tensor"
    begins: tuple[int, ...]


def lay(rows: Sequence[Row], pad: int, capacity: int, device: Any = "cpu") -> Layout:
    """`rows` in lines of at most `capacity` tokens (a longer row alone), padded to the longest line."""
    import torch

    lines = best_fit([len(row.ids) for row in rows], capacity)
    width = max(sum(len(rows[index].ids) for index in line) for line in lines)
    ids, positions, begins = [pad] * (len(lines) * width), [0] * (len(lines) * width), []
    place = [0] * len(rows)
    for number, line in enumerate(lines):
        at = number * width
        for index in line:
            place[index], row = at, rows[index]
            ids[at : at + len(row.ids)] = row.ids
            bounds = [*row.starts, len(row.ids)]
            for start, end in pairwise(bounds):
                positions[at + start : at + end] = range(end - start)
                begins.append(at + start)
            at += len(row.ids)
        if at < (number + 1) * width:
            positions[at : (number + 1) * width] = range((number + 1) * width - at)
            begins.append(at)
    targets = [
        (place[index] + at - 1, label)
        for index, row in enumerate(rows)
        for at, label in enumerate(row.labels)
        if label != IGNORED
    ]
    return Layout(
        torch.tensor(ids, device=device).view(len(lines), width),
        torch.tensor(positions, device=device).view(len(lines), width),
        torch.tensor([at for at, _ in targets], device=device),
        torch.tensor([label for _, label in targets], device=device),
        (*begins, len(ids)),
    )
