"""Cross-entropy on target positions, summed, with their number: whoever adds pieces up divides once.

Refuses to average by itself: a mean of means weighs a short answer's tokens more (transformers #37766).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.student.batches import pad_right
from distill.student.encode import Row
from distill.student.forward import Net, shareable, target_logits


def loss_sum(net: Net, rows: Sequence[Row], pad: int) -> Tensor:
    """Summed cross-entropy in nats over all target tokens of `rows`: a scalar that carries gradients.

    The shared start is run once on a CPU only: on a GPU a second, short pass costs more than it saves.
    """
    ids_BT, labels_BT = (tensor.to(net.model.device) for tensor in pad_right(rows, pad))
    prefix = prefix_of(rows) if net.shares_prefix and ids_BT.device.type == "cpu" else 0
    logits_NV, labels_N = target_logits(net, ids_BT, labels_BT, prefix)
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="sum")


def prefix_of(rows: Sequence[Row]) -> int:
    """Tokens all of `rows` start with, none trained from; 0 for one row, where sharing saves nothing."""
    if len(rows) < 2:
        return 0
    return max(0, shareable([row.ids for row in rows], [row.spans[0][0] for row in rows]))
