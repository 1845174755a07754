"""Cross-entropy on target positions, summed, with their number: whoever adds pieces up divides once.

Refuses to average by itself: a mean of means weighs a short answer's tokens more (transformers #37766).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.student import shared
from distill.student.batches import pad_right
from distill.student.encode import Row
from distill.student.forward import Net, line_logits, shared_logits, target_logits
from distill.student.packing import lay, like_lengths, separated


def loss_sum(net: Net, rows: Sequence[Row], pad: int) -> Tensor:
    """Summed cross-entropy in nats over all target tokens of `rows`: a scalar that carries gradients."""
    logits_NV, labels_N = predicted(net, rows, pad)
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="sum")


def loss_and_right(net: Net, rows: Sequence[Row], pad: int) -> tuple[float, int]:
    """`loss_sum` as a number, and how many of `rows` have every target on top.

    Those are the rows whose answers, each after the conversation as it stands, greedy decoding gives exactly.
    """
    logits_NV, labels_N = predicted(net, rows, pad)
    loss = torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="sum")
    hits = torch.split(logits_NV.argmax(-1) == labels_N, [row.target_tokens for row in rows])
    return loss.item(), sum(bool(hit.all()) for hit in hits)


def predicted(net: Net, rows: Sequence[Row], pad: int) -> tuple[Tensor, Tensor]:
    """logits_NV and labels_N of all targets, row after row.

    The shared start is run once where `shared.attention` is on: on a CPU, while training.
    """
    if net.packs:
        layout = lay(rows, pad, net.packs, net.model.device)
        return line_logits(net, layout), layout.labels_N
    if is_joined(rows):
        return predicted_apart(net, [part for row in rows for part in separated(row)], pad)
    if shared.is_on(net.model):
        line = shared.line_of(rows)
        return shared_logits(net, line), line.labels_N
    return target_logits(net, *(tensor.to(net.model.device) for tensor in pad_right(rows, pad)))


def predicted_apart(net: Net, parts: Sequence[Row], pad: int) -> tuple[Tensor, Tensor]:
    """The same of rows taken apart again, each run with its like: on a CPU faster than a block mask."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for group in like_lengths(parts):
        logits_NV, labels_N = predicted(net, [parts[index] for index in group], pad)
        counts = [parts[index].target_tokens for index in group]
        parted = zip(torch.split(logits_NV, counts), torch.split(labels_N, counts), strict=True)
        found |= zip(group, parted, strict=True)
    logits, labels = zip(*(found[index] for index in range(len(parts))), strict=True)
    return torch.cat(logits), torch.cat(labels)


def is_joined(rows: Sequence[Row]) -> bool:
    """Whether some row is several, joined."""
    return any(len(row.starts) > 1 for row in rows)


def tokens_run(net: Net, rows: Sequence[Row]) -> int:
    """How many real tokens `loss_sum` sends through the decoder: a start that rows share counts once."""
    if net.packs or not shared.is_on(net.model):
        return sum(len(row.ids) for row in rows)
    if is_joined(rows):
        parts = [part for row in rows for part in separated(row)]
        return sum(tokens_run(net, [parts[index] for index in group]) for group in like_lengths(parts))
    start = shared.start_of(rows)
    return start + sum(shared.needed(row) - start for row in rows)
