"""The training loop, to be read from top to bottom: plan, step, validate, keep the best. Holds no file name.

Refuses to go on with a loss or gradient that is not finite, and names the rows it came from.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from distill.config import FinetuneConfig
from distill.errors import DistillError
from distill.student.batches import by_tokens, epoch_batches, sorted_batches
from distill.student.device import Device
from distill.student.encode import Row
from distill.student.forward import Net
from distill.student.loss import loss_sum

MICRO_TOKENS = 16384  # padded tokens a forward pass holds at most; a longer batch is run in pieces
CLIP = 1.0

Record = dict[str, float | int | None]


@dataclass(frozen=True)
class Plan:
    """How many optimiser steps, and at which of them what happens."""

    steps: int
    steps_per_epoch: int
    warmup: int
    evaluate_every: int

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at `step` (from 1): up over `warmup` steps, then straight to 0."""
        if step <= self.warmup:
            return step / self.warmup
        return (self.steps - step + 1) / (self.steps - self.warmup)

    def evaluates(self, step: int) -> bool:
        """Whether the validation loss is measured after `step`."""
        return step % self.evaluate_every == 0 or step == self.steps


@dataclass(frozen=True)
class Trained:
    """What the loop came to. Losses: nats per target token; `tokens` and `seconds`: of training alone."""

    steps: int
    best_step: int
    best_valid_loss: float | None
    first_loss: float
    last_loss: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Learner:
    """What the loop works on: the net, its trainable parameters, the id to pad with and the device."""

    net: Net
    parameters: Sequence[torch.nn.Parameter]
    pad: int
    device: Device


def plan(config: FinetuneConfig, rows: int) -> Plan:
    """The schedule for `rows` training rows; `max_steps` overrides the epochs."""
    per_epoch = math.ceil(rows / config.batch_size)
    steps = config.max_steps or max(1, round(config.epochs * per_epoch))
    warmup = min(steps - 1, math.ceil(config.warmup_share * steps))
    return Plan(steps, per_epoch, warmup, max(1, per_epoch // config.evaluations))


def train(
    learner: Learner,
    rows: Sequence[Row],
    valid: Sequence[Row],
    config: FinetuneConfig,
    on_record: Callable[[Record], None],
) -> Trained:
    """Train in place; the best weights by validation loss (the last, without `valid`) are in when it returns.

    One record a step goes to `on_record` as it comes. Raises DistillError where a number is not finite.
    """
    schedule = plan(config, len(rows))
    torch.manual_seed(config.seed)
    optimizer = torch.optim.AdamW(
        learner.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    best: tuple[float, int, list[torch.Tensor]] | None = None
    losses: list[float] = []
    tokens, seconds = 0, 0.0
    for step, batch in enumerate(batches(rows, config, schedule), start=1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule.rate(step)
        began = time.perf_counter()
        losses.append(update(learner, optimizer, batch))
        took = time.perf_counter() - began
        count = sum(len(row.ids) for row in batch)
        tokens, seconds = tokens + count, seconds + took
        valid_loss = None
        if valid and schedule.evaluates(step):
            valid_loss = mean_loss(learner, valid, config.batch_size)
            if best is None or valid_loss < best[0]:
                best = (valid_loss, step, snapshot(learner.parameters))
        on_record(
            {
                "step": step,
                "epoch": step / schedule.steps_per_epoch,
                "loss": losses[-1],
                "lr": config.learning_rate * schedule.rate(step),
                "tokens_per_s": count / took,
                "valid_loss": valid_loss,
            }
        )
    best_loss, best_step, weights = best or (None, schedule.steps, None)
    if weights is not None:
        restore(learner.parameters, weights)
    return Trained(schedule.steps, best_step, best_loss, losses[0], losses[-1], tokens, seconds)


def batches(rows: Sequence[Row], config: FinetuneConfig, schedule: Plan) -> Iterator[list[Row]]:
    """`schedule.steps` batches of rows, a new order each epoch."""
    lengths = [len(row.ids) for row in rows]
    for step in range(schedule.steps):
        epoch, index = divmod(step, schedule.steps_per_epoch)
        if index == 0:
            order = epoch_batches(lengths, config.batch_size, config.seed * 100_003 + epoch)
        yield [rows[row] for row in order[index]]


def update(learner: Learner, optimizer: Any, batch: Sequence[Row]) -> float:
    """One optimiser step; the batch's mean loss over its target tokens, however many pieces it was run in."""
    targets = sum(row.target_tokens for row in batch)
    total = 0.0
    for piece in by_tokens(batch, MICRO_TOKENS):
        with learner.device.autocast():
            loss = loss_sum(learner.net, piece, learner.pad) / targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(learner.parameters, CLIP).item()
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise not_finite("training loss" if not math.isfinite(total) else "gradient", batch)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def mean_loss(learner: Learner, rows: Sequence[Row], batch_size: int) -> float:
    """Mean loss over all target tokens of `rows`, in nats. Raises DistillError where it is not finite."""
    total = 0.0
    for indices in sorted_batches([len(row.ids) for row in rows], batch_size):
        batch = [rows[index] for index in indices]
        for piece in by_tokens(batch, MICRO_TOKENS):
            with torch.no_grad(), learner.device.autocast():
                loss = loss_sum(learner.net, piece, learner.pad).item()
            if not math.isfinite(loss):
                raise not_finite("validation loss", piece)
            total += loss
    return total / sum(row.target_tokens for row in rows)


def snapshot(parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    """Copies on the CPU."""
    return [parameter.detach().to("cpu", copy=True) for parameter in parameters]


def restore(parameters: Sequence[torch.nn.Parameter], weights: Sequence[torch.Tensor]) -> None:
    """Put a snapshot back."""
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)


def not_finite(what: str, batch: Sequence[Row]) -> DistillError:
    """The error that names the rows."""
    return DistillError(
        f"the {what} is not finite; training stopped and nothing was saved",
        where="rows " + ", ".join(row.id for row in batch),
        hint="lower --learning-rate, use --dtype float32, or look at these rows in train.jsonl",
    )
