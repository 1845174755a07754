"""Rows of like length put together, and padded to tensors. Holds no model and drops or cuts no row."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill.student.encode import IGNORED, Row

if TYPE_CHECKING:
    import torch

BUCKET_BATCHES = 32


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int) -> list[list[int]]:
    """Indices of rows, each exactly once, in batches of like length.

    Rows are shuffled, cut into buckets of BUCKET_BATCHES batches, sorted by length inside a bucket, and
    the batches are shuffled again; one `seed` gives one order.
    """
    order = list(range(len(lengths)))
    rng = random.Random(seed)
    rng.shuffle(order)
    batches: list[list[int]] = []
    size = BUCKET_BATCHES * batch_size
    for start in range(0, len(order), size):
        bucket = sorted(order[start : start + size], key=lambda index: lengths[index])
        batches += [bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size)]
    rng.shuffle(batches)
    return batches


def sorted_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices of rows, each exactly once, the longest first: what will not fit fails at once."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def by_tokens(rows: Sequence[Row], max_tokens: int) -> list[Sequence[Row]]:
    """`rows` in order, cut so that each piece pads to `max_tokens` at most (a longer row goes alone)."""
    pieces: list[Sequence[Row]] = []
    start = 0
    for end in range(1, len(rows) + 1):
        widest = max(len(row.ids) for row in rows[start:end])
        if widest * (end - start) > max_tokens and end - start > 1:
            pieces.append(rows[start : end - 1])
            start = end - 1
    return [*pieces, rows[start:]]


def pad_right(rows: Sequence[Row], pad: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """ids_BT and labels_BT, for training.

    A causal model never looks ahead, so padding after the last token needs no attention mask: no real
    position sees it, and its own labels are IGNORED.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    ids_BT = torch.tensor([[*row.ids, *[pad] * (width - len(row.ids))] for row in rows])
    labels_BT = torch.tensor([row.labels + [IGNORED] * (width - len(row.ids)) for row in rows])
    return ids_BT, labels_BT


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """ids_BT and mask_BT (1 where a token is real), for generation: every answer starts in one column."""
    import torch

    width = max(len(prompt) for prompt in prompts)
    ids_BT = torch.tensor([[*[pad] * (width - len(prompt)), *prompt] for prompt in prompts])
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids_BT, mask_BT


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all of `prompts` share, one at least left over in each."""
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    shortest = min(len(prompt) for prompt in prompts)
    length = 0
    while length < shortest - 1 and first[length] == last[length]:
        length += 1
    return length
