"""Cross-entropy on target positions, summed, with their number: whoever adds pieces up divides once.

Refuses to average by itself: a mean of means weighs a short answer's tokens more (transformers #37766).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.student.batches import pad_right
from distill.student.encode import Row
from distill.student.forward import Net, line_logits, shareable, target_logits
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

    The shared start is run once on a CPU only: on a GPU a second, short pass costs more than it saves.
    """
    if net.packs:
        layout = lay(rows, pad, net.packs, net.model.device)
        return line_logits(net, layout), layout.labels_N
    if is_joined(rows):
        return predicted_apart(net, [part for row in rows for part in separated(row)], pad)
    ids_BT, labels_BT = (tensor.to(net.model.device) for tensor in pad_right(rows, pad))
    prefix = prefix_of(rows) if net.shares_prefix and ids_BT.device.type == "cpu" else 0
    return target_logits(net, ids_BT, labels_BT, prefix)


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
    alone = net.shares_prefix and net.model.device.type == "cpu" and not net.packs and not is_joined(rows)
    shared = prefix_of(rows) if alone else 0
    return sum(len(row.ids) for row in rows) - shared * (len(rows) - 1)


def prefix_of(rows: Sequence[Row]) -> int:
    """Tokens all of `rows` start with, none trained from; 0 for one row, where sharing saves nothing."""
    if len(rows) < 2:
        return 0
    return max(0, shareable([row.ids for row in rows], [row.spans[0][0] for row in rows]))
