"""What both engines do around their steps: records, validation, the best weights, stopping, checkpoints.

Refuses to hold a run's file names or a terminal: it is handed a `Watch`.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from distill.errors import Interrupted
from distill.student import checkpoint
from distill.student.batches import epoch_batches
from distill.student.checkpoint import Checkpoint, State
from distill.student.encode import Row
from distill.student.guard import Passes, used_bytes
from distill.student.loop import Learner, Measured, optimizer_of, restore, seed_step, snapshot
from distill.student.recipe import Plan, Recipe, plan

Record = dict[str, float | int | None]
CHECKPOINT_EVERY_S = 120.0


def ignore(_: Any) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Watch:
    """Who is told of each step, whether to stop, and where a checkpoint goes (None: nowhere).

    `reports` is a folder for reports' files, `name` what they call the run. `flops` of a batch and the
    machine's `peak_flops` give MFU; without them it is None.
    """

    record: Callable[[Record], None] = ignore
    say: Callable[[str], None] = ignore
    stopped: Callable[[], bool] = lambda: False
    checkpoint: Path | None = None
    made_from: Mapping[str, Any] = field(default_factory=dict)
    reports: Path | None = None
    flops: Callable[[Sequence[Row]], float] | None = None
    peak_flops: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Trained:
    """What training came to. Losses: nats per target token; `tokens` and `seconds`: of training alone.

    `best_valid_exact`: share of the validation rows that greedy decoding answers exactly, given the right
    beginning; `best_valid_score`: the task's own metric of greedy answers, where that is another.
    """

    steps: int
    best_step: int
    best_valid_loss: float | None
    best_valid_exact: float | None
    best_valid_score: float | None
    first_loss: float
    last_loss: float
    tokens: int
    seconds: float

    @property
    def perplexity(self) -> float | None:
        """e to the best validation loss: among how many tokens the student is as good as undecided."""
        return None if self.best_valid_loss is None else math.exp(self.best_valid_loss)


class Session:
    """One run, from its first step or from a checkpoint on."""

    def __init__(
        self,
        learner: Learner,
        rows: Sequence[Row],
        valid: Sequence[Row],
        recipe: Recipe,
        watch: Watch,
        passes: Passes,
    ) -> None:
        config = recipe.config
        self.learner, self.rows, self.valid = learner, rows, valid
        self.recipe, self.watch, self.passes = recipe, watch, passes
        self.plan: Plan = plan(recipe, math.ceil(len(rows) / config.batch_size))
        self.state = State()
        self.optimizer = optimizer_of(learner, recipe.learning_rate, config.weight_decay)
        self.best: list[torch.Tensor] | None = None
        self._began = self._saved = time.perf_counter()
        self._batch: Sequence[Row] = ()
        self.measured: Measured | None = None  # after the newest step, where it was validated
        self._resume()
        self.scheduler = self._scheduler()

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch as indices of rows: the order depends on seed and epoch alone."""
        lengths = [len(row.ids) for row in self.rows]
        config = self.recipe.config
        return epoch_batches(lengths, config.batch_size, config.seed * 100_003 + number)

    def batches(self) -> Iterator[Sequence[Row]]:
        """The batch of each step that is left."""
        order: list[list[int]] = []
        for step in range(self.state.step, self.plan.steps):
            epoch, index = divmod(step, self.plan.steps_per_epoch)
            if not index or not order:
                order = self.epoch(epoch)
            yield [self.rows[row] for row in order[index]]

    def backward(self, batch: Sequence[Row]) -> float:
        """The batch's mean loss, its gradients in the parameters. Raises as `Passes.step_loss`."""
        self._began, self._batch = time.perf_counter(), batch
        seed_step(self.recipe.config.seed, self.state.step + 1)
        return self.passes.step_loss(self.learner, batch)

    def stepped(self, loss: float, norm: float) -> bool:
        """To be called after the optimiser's step: whether training is over.

        Raises Interrupted, with a checkpoint written, where somebody asked to stop.
        """
        took = time.perf_counter() - self._began
        state, tokens = self.state, sum(len(row.ids) for row in self._batch)
        state.step += 1
        state.tokens, state.seconds, state.last_loss = state.tokens + tokens, state.seconds + took, loss
        if state.step == 1:
            state.first_loss = loss
        self.measured = None
        if self.valid and self.plan.evaluates(state.step):
            self.measured = self._measure()
            self._judge(self.measured)
        self.watch.record(self._record(loss, norm, tokens / took, took))
        if not self.is_over:
            self._look_up()
            return False
        if state.step < self.plan.steps:
            patience = self.recipe.config.early_stopping
            self.watch.say(
                f"stopping early at step {state.step}: {patience} validations without a lower loss"
            )
        self.save()
        return True

    @property
    def is_over(self) -> bool:
        """Whether no step is left: all are done, or validation has not improved for long enough."""
        patience = self.recipe.config.early_stopping
        had_enough = patience is not None and self.state.worse >= patience
        return self.state.step >= self.plan.steps or had_enough

    def finish(self) -> Trained:
        """Put the best weights in (the last, where nothing was validated) and say what it came to."""
        if self.best is not None:
            restore(self.learner.parameters, self.best)
        state = self.state
        best_step = state.best_step or state.step
        return Trained(
            steps=state.step,
            best_step=best_step,
            best_valid_loss=state.best_loss,
            best_valid_exact=state.best_exact,
            best_valid_score=state.best_score,
            first_loss=state.first_loss,
            last_loss=state.last_loss,
            tokens=state.tokens,
            seconds=state.seconds,
        )

    def save(self) -> None:
        """Write the checkpoint, where there is a place for one; no moments where no step is left."""
        self._saved = time.perf_counter()
        if self.watch.checkpoint is None:
            return
        moments = {} if self.is_over else self.optimizer.state_dict()["state"]
        checkpoint.save(
            self.watch.checkpoint,
            self.watch.made_from,
            Checkpoint(self.state, self.learner.parameters, self.best, moments),
        )

    def _resume(self) -> None:
        """Take up the checkpoint, if there is one of this very run."""
        if self.watch.checkpoint is None:
            return
        shapes = [parameter.shape for parameter in self.learner.parameters]
        found, why_not = checkpoint.load(self.watch.checkpoint, self.watch.made_from, shapes)
        if why_not:
            aside = checkpoint.put_aside(self.watch.checkpoint)
            self.watch.say(f"{why_not}; it is kept as {aside}")
        if found is None:
            return
        self.state, self.best = found.state, list(found.best) if found.best else None
        restore(self.learner.parameters, found.weights)
        fresh = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**fresh, "state": found.moments})
        where = f"step {self.state.step} of {self.plan.steps}, from the checkpoint"
        self.watch.say(f"no step is left after {where}" if self.is_over else f"going on after {where}")

    def _scheduler(self) -> torch.optim.lr_scheduler.LambdaLR:
        for group in self.optimizer.param_groups:
            group["initial_lr"] = self.recipe.learning_rate
        return torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda done: self.plan.rate(done + 1), last_epoch=self.state.step - 1
        )

    def _measure(self) -> Measured:
        """What the weights do on the rows held out, and by the task's metric where it is another."""
        found = self.passes.measure(self.learner, self.valid, self.recipe.config.batch_size)
        metric = self.learner.metric
        if metric is None:
            return found
        return replace(found, score=metric.measure(self.learner), scored=metric.rows)

    def _judge(self, measured: Measured) -> None:
        """Keep the weights if they are the best so far; count validations without a lower loss."""
        state = self.state
        is_lower = state.lowest is None or measured.loss < state.lowest
        state.lowest = measured.loss if is_lower else state.lowest
        state.worse = 0 if is_lower else state.worse + 1
        before = None
        if state.best_loss is not None and state.best_exact is not None:
            before = Measured(state.best_loss, state.best_exact, state.best_score)
        if before is None or is_better(measured, before, len(self.valid)):
            state.best_loss, state.best_exact, state.best_step = measured.loss, measured.exact, state.step
            state.best_score = measured.score
            self.best = snapshot(self.learner.parameters)

    def _look_up(self) -> None:
        """Checkpoint where somebody asked to stop, and from time to time."""
        if self.watch.stopped():
            self.save()
            raise Interrupted(f"interrupted after step {self.state.step} of {self.plan.steps}; it is kept")
        if time.perf_counter() - self._saved > CHECKPOINT_EVERY_S:
            self.save()

    def _record(self, loss: float, norm: float, pace: float, took: float) -> Record:
        step, watch, measured = self.state.step, self.watch, self.measured
        mfu = None
        if watch.flops is not None and watch.peak_flops:
            pieces = self.passes.cut(self._batch)
            mfu = sum(watch.flops(piece) for piece in pieces) / took / watch.peak_flops
        return {
            "step": step,
            "epoch": step / self.plan.steps_per_epoch,
            "loss": loss,
            "lr": self.recipe.learning_rate * self.plan.rate(step),
            "grad_norm": norm,
            "tokens_per_s": pace,
            "mfu": mfu,
            "memory_bytes": used_bytes(self.learner.device),
            "valid_loss": measured.loss if measured else None,
            "valid_exact": measured.exact if measured else None,
            "valid_score": measured.score if measured else None,
        }


def is_better(new: Measured, old: Measured, rows: int) -> bool:
    """Whether `new` is the better checkpoint: by its metric where that differs beyond chance, else by loss.

    The metric is `score`, or exact answers where a task has no other. Beyond chance: by more than one
    standard error, at its most, of a mean over so many rows (the one-standard-error rule of Breiman et al.
    1984).
    """
    now, before = new.exact, old.exact
    if new.score is not None and old.score is not None:
        now, before, rows = new.score, old.score, new.scored
    higher = max(now, before)
    error = math.sqrt(max(higher * (1 - higher), 1 / rows) / rows)
    if abs(now - before) > error:
        return now > before
    return new.loss < old.loss
