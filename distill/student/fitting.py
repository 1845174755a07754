"""How a classifier learns under either engine: its loss, its validation, what is derived, its calibration.

Refuses to hold a loop of its own: `fit` runs the steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.config import FinetuneConfig
from distill.score.metrics import macro_f1
from distill.student.batches import sorted_batches
from distill.student.classifier import trained
from distill.student.device import Device
from distill.student.guard import is_out_of_memory, release
from distill.student.heads import Head
from distill.student.loop import Learner
from distill.student.pairs_in import Row, padded
from distill.student.recipe import Recipe, derive

LORA_RATE, FULL_RATE = 1e-3, 1e-4
"""Tried on MiniLM-L6 with an eighth of trec's training rows held out, batch 16."""
PASSES = ((600, 20.0), (1_200, 10.0), (10_000, 6.0), (100_000, 3.0))
"""(rows below which it holds, passes): a new head needs some 600 steps, whatever the number of rows."""
TOGETHER = (64, 8, 1)
"""Rows scored at once; fewer where memory runs out."""


@dataclass(frozen=True)
class Wrapped:
    """The net as an engine holds it and counts its work; nothing of a row is shared or packed."""

    model: Head
    packs: bool = False
    shares_prefix: bool = False

    @property
    def decoder(self) -> Any:
        """What every token goes through."""
        return self.model.encoder

    @property
    def head(self) -> torch.nn.Module:
        """What every target goes through."""
        return self.model.linear


def recipe_of(config: FinetuneConfig, rows: int, width: int) -> Recipe:
    """`config` with what was left open filled in for an encoder, each number with its reason."""
    reasons: list[str] = []
    epochs, rate = config.epochs, config.learning_rate
    if epochs is None:
        epochs = next((passes for limit, passes in PASSES if rows < limit), 1.0)
        if config.max_steps is None:
            reasons.append(f"--epochs {epochs:g}, for a new head and {rows:,} rows")
    if rate is None:
        rate = FULL_RATE if config.method == "full" else LORA_RATE
        reasons.append(f"--learning-rate {rate:g}, for {config.method} on an encoder")
    recipe = derive(replace(config, epochs=epochs, learning_rate=rate), rows, width)
    return replace(recipe, reasons=(*reasons, *recipe.reasons))


def learner_of(net: Head, pad: int, device: Device) -> Learner:
    """What an engine works on."""
    net.train()
    return Learner(Wrapped(net), list(trained(net).values()), pad, device, net, loss_sum, judge)


def loss_sum(wrapped: Any, rows: Sequence[Any], pad: int) -> Tensor:
    """Summed cross-entropy of `rows`, in nats."""
    return cross_entropy(logits_of(wrapped.model, rows, pad), rows)


def judge(wrapped: Any, rows: Sequence[Any], pad: int) -> tuple[float, int]:
    """The same as a number, dropout off, and how many rows are right."""
    net = wrapped.model.eval()  # torch's fused attention drops by the module's mode, not by its Dropout
    logits_BK = logits_of(net, rows, pad)
    net.train()
    right = sum(at == row.label for at, row in zip(logits_BK.argmax(1).tolist(), rows, strict=True))
    return cross_entropy(logits_BK, rows).item(), right


def logits_of(net: torch.nn.Module, rows: Sequence[Row], pad: int) -> Tensor:
    """Logits (B, K) of `rows`."""
    device = next(net.parameters()).device
    logits_BK: Tensor = net(**padded([(row.ids, row.kinds) for row in rows], pad, device.type))
    return logits_BK


def cross_entropy(logits_BK: Tensor, rows: Sequence[Row]) -> Tensor:
    """Summed, in nats."""
    wanted_B = torch.tensor([row.label for row in rows], device=logits_BK.device)
    return torch.nn.functional.cross_entropy(logits_BK, wanted_B, reduction="sum")


@dataclass(frozen=True)
class Outcome:
    """What the best weights do on the rows held out, and the temperature fitted to them."""

    temperature: float = 1.0
    accuracy: float | None = None
    macro_f1: float | None = None


def outcome(learner: Learner, valid: Sequence[Row]) -> Outcome:
    """Measured on `valid`; without rows the temperature is 1 and nothing is known."""
    if not valid:
        return Outcome()
    learner.net.model.eval()
    found: dict[int, Tensor] = {}
    for together in TOGETHER:
        try:
            score(learner, valid, together, found)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or together == TOGETHER[-1]:
                raise
        release()
    logits_NK = torch.stack([found[index] for index in range(len(valid))])
    said = logits_NK.argmax(1).tolist()
    rows = [(str(at), str(row.label)) for at, row in zip(said, valid, strict=True)]
    accuracy = sum(at == gold for at, gold in rows) / len(rows)
    return Outcome(temperature(logits_NK, valid), accuracy, macro_f1(rows))


def score(learner: Learner, rows: Sequence[Row], together: int, found: dict[int, Tensor]) -> None:
    """Put the logits (K,) of each of `rows` into `found` by its place, unless they are there."""
    left = [place for place in range(len(rows)) if place not in found]
    for indices in sorted_batches([len(rows[place].ids) for place in left], together):
        places = [left[index] for index in indices]
        with torch.inference_mode(), learner.device.autocast():
            logits_BK = logits_of(learner.net.model, [rows[place] for place in places], learner.pad)
        found.update(zip(places, logits_BK.cpu(), strict=True))


def temperature(logits_NK: Tensor, rows: Sequence[Row]) -> float:
    """What to divide logits by for the likeliest held-out answers (Guo et al. 2017), from 1/20 to 20."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits_NK / math.exp(log_temperature), rows).item()

    return math.exp(float(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))
