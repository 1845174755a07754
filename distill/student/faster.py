"""The ways a CPU trains faster, each tried on the model at hand first. Refuses one that changes a number."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from distill.student import shared
from distill.student.batches import pad_right
from distill.student.encode import Row
from distill.student.forward import Net, same, shared_logits, target_logits, trial_ids
from distill.student.fused import products
from distill.student.loop import Learner, without_dropout

START, REST = 6, 5  # tokens of the trial's rows
LEAK = 1e-5  # share by which a row may change with its neighbour: none, up to rounding


@contextmanager
def faster(learner: Learner) -> Iterator[None]:
    """Within it rows stand behind the start they share, and LoRA's layers are one product each, on a CPU."""
    net = learner.net
    with ExitStack() as stack:
        if learner.device.name == "cpu":
            stack.enter_context(products(net.model, getattr(torch, learner.device.dtype)))
            if net.shares_prefix and not net.packs and shares(learner):
                stack.enter_context(shared.attention(net.model))
        yield


def shares(learner: Learner) -> bool:
    """Whether rows behind a shared start give what they give alone, and none changes with its neighbour.

    Tried without dropout: else a run that goes on from a checkpoint would find otherwise than a fresh one.
    """
    net: Net = learner.net
    first, other, last = (row_of(net, seed) for seed in (40, 70, 90))
    try:
        with without_dropout(learner):
            alone = torch.cat([logits_alone(learner, row) for row in (first, last)])
        with without_dropout(learner), shared.attention(net.model):
            together, beside = logits_behind(learner, first, last), logits_behind(learner, other, last)
    except (NotImplementedError, TypeError, ValueError):
        return False  # attention that is not to be set, or does more than ours
    change = (together[-REST:] - beside[-REST:]).norm()
    return same(alone, together) and bool(change <= LEAK * together[-REST:].norm())


def row_of(net: Net, seed: int) -> Row:
    """A row of the trial: the start that all have, then its own tokens."""
    words = net.model.config.get_text_config().vocab_size
    ids = (*trial_ids(words, START), *trial_ids(words, REST + 1, seed))
    return Row(str(seed), ids, ((START + 1, len(ids)),))


@torch.no_grad()
def logits_alone(learner: Learner, row: Row) -> torch.Tensor:
    """logits_NV of the row run by itself."""
    with learner.device.autocast():
        return target_logits(learner.net, *pad_right([row], learner.pad))[0]


@torch.no_grad()
def logits_behind(learner: Learner, *rows: Row) -> torch.Tensor:
    """logits_NV of rows run as one line."""
    with learner.device.autocast():
        return shared_logits(learner.net, shared.line_of(rows))
