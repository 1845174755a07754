"""The training loop, to be read from top to bottom: learner, optimiser, a step, train, validate.

Holds no file name and no flag. Refuses to go on with a loss that is not finite or has nothing to train,
and names the row it came from.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.errors import DataError, DistillError
from distill.student.batches import sorted_batches
from distill.student.device import Device
from distill.student.encode import Row
from distill.student.loss import loss_and_right, loss_sum

if TYPE_CHECKING:
    from distill.student.scoring import TaskMetric

CLIP = 1.0  # the gradient's norm, at most
SEED_STRIDE = 1_000_003

Cut = Callable[[Sequence[Row]], Sequence[Sequence[Row]]]
"""A batch to the pieces it is run in."""


@dataclass(frozen=True)
class Learner:
    """What an engine works on: the net, its trainable parameters, the id to pad with and the device.

    `loss(net, rows, pad)` is the loss summed over the rows' targets, with gradients; `judge` the same as a
    number without, and how many rows greedy decoding would answer exactly. `whole` is what transformers'
    Trainer is told it trains (default `net.model`). `metric` is measured with every validation.
    """

    net: Any
    parameters: Sequence[torch.nn.Parameter]
    pad: int
    device: Device
    whole: Any = None
    loss: Callable[[Any, Sequence[Row], int], Tensor] = loss_sum
    judge: Callable[[Any, Sequence[Row], int], tuple[float, int]] = loss_and_right
    metric: "TaskMetric | None" = None


@dataclass(frozen=True)
class Measured:
    """A pass over rows held out: nats per target token, and the share answered exactly.

    `score`: the task's own metric, in [0, 1], on `scored` of them, where that is another one.
    """

    loss: float
    exact: float
    score: float | None = None
    scored: int = 0


def optimizer_of(learner: Learner, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) at its defaults."""
    return torch.optim.AdamW(learner.parameters, lr=rate, weight_decay=weight_decay, fused=True)


def train_loop(
    learner: Learner,
    batches: Iterable[Sequence[Row]],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    backward: Callable[[Sequence[Row]], float],
    stepped: Callable[[float, float], bool],
) -> None:
    """One optimiser step a batch, until there are none or `stepped(loss, norm)` says that it is over.

    `backward` leaves the batch's gradients and returns its loss: `step_loss`, with what a run puts around it.
    """
    for batch in batches:
        loss = backward(batch)
        norm = torch.nn.utils.clip_grad_norm_(learner.parameters, CLIP).item()
        check_norm(norm, batch)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if stepped(loss, norm):
            break


def step_loss(learner: Learner, batch: Sequence[Row], cut: Cut) -> float:
    """The batch's mean loss over all its target tokens, its gradients added to the parameters'.

    Every piece is divided by the whole batch's targets, so in how many pieces it runs changes no number.
    Raises DataError where nothing is to be trained, DistillError where the loss is not finite.
    """
    targets = sum(row.target_tokens for row in batch)
    for row in batch:
        if not row.target_tokens:
            raise DataError("nothing of this row is trained", where=f"row {row.id}", hint="drop this row")
    total = torch.zeros((), device=learner.device.name)
    for piece in cut(batch):
        with learner.device.autocast():
            loss = learner.loss(learner.net, piece, learner.pad) / targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    if not math.isfinite(total.item()):
        raise not_finite("training loss", guilty(learner, batch))
    return total.item()


def valid_loop(learner: Learner, rows: Sequence[Row], batch_size: int, cut: Cut) -> Measured:
    """The loss over all target tokens of `rows`. Raises DistillError where it is not finite."""
    total, right = 0.0, 0
    with torch.no_grad(), without_dropout(learner), learner.device.autocast():
        for indices in sorted_batches([len(row.ids) for row in rows], batch_size):
            for piece in cut([rows[index] for index in indices]):
                loss, exact = learner.judge(learner.net, piece, learner.pad)
                if not math.isfinite(loss):
                    raise not_finite("validation loss", guilty(learner, piece))
                total, right = total + loss, right + exact
    return Measured(total / sum(row.target_tokens for row in rows), right / len(rows))


def seed_step(seed: int, step: int) -> None:
    """Dropout of a step depends on (seed, step) alone: a resumed run drops what the unbroken one does."""
    torch.manual_seed(seed * SEED_STRIDE + step)


@contextmanager
def without_dropout(learner: Learner) -> Iterator[None]:
    """Dropout off inside, afterwards as it was."""
    on = [module for module in learner.net.model.modules() if module.training]
    dropouts = [module for module in on if isinstance(module, torch.nn.Dropout)]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()


def snapshot(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Copies on the CPU."""
    return [parameter.detach().to("cpu", copy=True) for parameter in parameters]


def restore(parameters: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Put a snapshot back."""
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)


def check_norm(norm: float, batch: Sequence[Row]) -> None:
    """Raise DistillError where the gradient is not finite."""
    if not math.isfinite(norm):
        raise not_finite("gradient", batch)


def guilty(learner: Learner, batch: Sequence[Row]) -> Sequence[Row]:
    """The rows of `batch` whose own loss is not finite; all of them where each alone is."""
    with torch.no_grad(), learner.device.autocast():
        alone = [learner.loss(learner.net, [row], learner.pad).item() for row in batch]
    return [row for row, loss in zip(batch, alone, strict=True) if not math.isfinite(loss)] or batch


def not_finite(what: str, batch: Sequence[Row]) -> DistillError:
    """The error that names the rows."""
    return DistillError(
        f"the {what} is not finite; training stopped and nothing was saved",
        where="rows " + ", ".join(row.id for row in batch),
        hint="lower --learning-rate, use --dtype float32, or look at these rows in train.jsonl",
    )
