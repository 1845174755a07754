"""Every number of a training run; what the user left open is derived from model and data, with the reason.

Refuses to guess in silence: each derived number comes with the sentence that is printed.
"""

import math
from dataclasses import dataclass

from distill.config import FinetuneConfig
from distill.student.lora import LoraShape

# (rows below which it holds, passes): small sets need more passes to take as many steps, large ones fewer.
PASSES = ((200, 5.0), (2_000, 3.0), (20_000, 2.0))
# (rows below which it holds, rank): what a rank can store grows with it, and so does what is to be stored.
RANKS = ((5_000, 16), (50_000, 32))
LORA_RATE = 5e-4  # found on SmolLM2-135M and 360M, 400 to 1000 rows, batch 16
FULL_SHARE = 0.1  # LoRA's best rate is about ten times that of all weights (Schulman et al. 2025)
WIDTH = 1024  # up to this hidden size the rate stays; above, it falls with the root of the width


@dataclass(frozen=True)
class Recipe:
    """A config with nothing left open. `reasons`: a sentence for each number that was derived."""

    config: FinetuneConfig
    epochs: float
    learning_rate: float
    lora: LoraShape
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How many optimiser steps, and at which of them what happens."""

    steps: int
    steps_per_epoch: int
    warmup: int
    evaluate_every: int
    schedule: str = "linear"

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at `step` (from 1): up over `warmup` steps, then down to 0.

        0 is reached one step after the last, so that no step is for nothing.
        """
        if step <= self.warmup:
            return step / self.warmup
        gone = (step - self.warmup - 1) / (self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * gone)) if self.schedule == "cosine" else 1 - gone

    def evaluates(self, step: int) -> bool:
        """Whether the validation loss is measured after `step`."""
        return step % self.evaluate_every == 0 or step == self.steps


def derive(config: FinetuneConfig, rows: int, width: int) -> Recipe:
    """`config` with what is None filled in, for `rows` training rows and a model of hidden size `width`."""
    reasons = []
    epochs = config.epochs
    if epochs is None:
        epochs = next((passes for limit, passes in PASSES if rows < limit), 1.0)
        if config.max_steps is None:
            reasons.append(f"--epochs {epochs:g}, for {rows:,} rows")
    rate = config.learning_rate
    if rate is None:
        share = FULL_SHARE if config.method == "full" else 1.0
        rate = float(f"{LORA_RATE * share * min(1.0, math.sqrt(WIDTH / width)):.2g}")
        reasons.append(f"--learning-rate {rate:g}, for {config.method} on a model {width} wide")
    rank = config.lora_rank
    if rank is None:
        rank = next((rank for limit, rank in RANKS if rows < limit), 64)
        if config.method != "full":
            reasons.append(f"--lora-rank {rank}, for {rows:,} rows")
    alpha = config.lora_alpha
    if alpha is None:
        alpha = max(1, round(2 * math.sqrt(rank))) if config.method == "rslora" else 2 * rank
        if config.method != "full":
            reasons.append(f"--lora-alpha {alpha}, so that the update is scaled by 2")
    shape = LoraShape(rank, alpha, config.lora_dropout, config.method, config.lora_targets)
    return Recipe(config, epochs, rate, shape, tuple(reasons))


def plan(recipe: Recipe, windows: int) -> Plan:
    """The schedule where an epoch has `windows` optimiser steps; `max_steps` overrides the epochs."""
    config = recipe.config
    steps = config.max_steps or max(1, round(recipe.epochs * windows))
    warmup = min(steps - 1, math.ceil(config.warmup_share * steps))
    return Plan(steps, windows, warmup, max(1, windows // config.evaluations), config.schedule)
