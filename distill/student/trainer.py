"""transformers' Trainer as an engine: our batches, loss, optimiser and schedule under its loop and reports.

Refuses several processes (gradients would not be shared), and to write or publish anything of its own.
"""

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from distill.errors import UsageError
from distill.student.encode import Row
from distill.student.loop import CLIP, Measured, check_norm
from distill.student.reports import PROJECT, reporting

if TYPE_CHECKING:
    from distill.student.session import Session

STATE = "trainer_state.json"  # what transformers looks for in a checkpoint folder


class Batches:
    """A batch sampler: the epoch's batches of the session, in its order."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    def __len__(self) -> int:
        return self._session.plan.steps_per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        # Trainer asks at the start of each epoch, and skips what a resumed one has done.
        return iter(self._session.epoch(self._session.state.step // len(self)))


class Engine(transformers.Trainer):  # type: ignore[misc]
    """A Trainer whose step is a whole batch, run in as many passes as memory wants, through our net."""

    def __init__(self, session: "Session", arguments: TrainingArguments) -> None:
        self.session = session
        super().__init__(
            model=session.learner.whole if session.learner.whole is not None else session.learner.net.model,
            args=arguments,
            train_dataset=list(session.rows),
            optimizers=(session.optimizer, session.scheduler),
            callbacks=[Steps(self)],
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Batches of rows as they are: the loss makes tensors of them."""
        rows: Any = list(self.session.rows)
        return torch.utils.data.DataLoader(rows, batch_sampler=Batches(self.session), collate_fn=list)

    def training_step(
        self, model: torch.nn.Module, inputs: Sequence[Row], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The batch's loss over its target tokens, its gradients in the parameters."""
        self.batch, self.loss = inputs, self.session.backward(inputs)
        return torch.tensor(self.loss, device=self.args.device)

    def floating_point_ops(self, inputs: Sequence[Row]) -> int:
        """Of a step, as far as the session counts them."""
        count = self.session.watch.flops
        return int(sum(map(count, self.session.passes.cut(inputs)))) if count else 0

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the session has put its own checkpoint in."""


class Steps(TrainerCallback):  # type: ignore[misc]
    """Hands each step's numbers to the session, and its verdict back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """After the optimiser's step."""
        if "grad_norm" not in logs:
            return
        engine, session = self._engine, self._engine.session
        norm = float(logs["grad_norm"])
        check_norm(norm, engine.batch)
        control.should_training_stop = session.stepped(engine.loss, norm)
        if session.measured is not None:
            engine.log({f"eval_{name}": value for name, value in told(session.measured).items()})


def told(measured: Measured) -> dict[str, float]:
    """What reports have of a validation."""
    found = {"loss": measured.loss, "exact": measured.exact}
    return found if measured.score is None else {**found, "score": measured.score}


def run(session: "Session") -> None:
    """Train what is left of `session`. Raises UsageError in one of several processes, or as `reporting`."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "the student is trained by one process",
            where="WORLD_SIZE",
            hint="start distill without a launcher",
        )
    config, watch = session.recipe.config, session.watch
    with tempfile.TemporaryDirectory() as scratch, reporting(config, watch.name, watch.reports):
        arguments = arguments_of(session, Path(scratch))
        engine = Engine(session, arguments)
        folder = None
        if session.state.step:
            folder = scratch
            state = TrainerState(global_step=session.state.step, train_batch_size=arguments.train_batch_size)
            state.compute_steps(arguments, session.plan.steps)
            state.save_to_json(str(Path(scratch) / STATE))
        engine.train(resume_from_checkpoint=folder)


def arguments_of(session: "Session", scratch: Path) -> TrainingArguments:
    """One log a step; no evaluation, checkpoint or model card of Trainer's own, and nothing on the Hub."""
    config = session.recipe.config
    reports = session.watch.reports if config.report_to == "tensorboard" else None
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    # trackio's default is a public page; older releases of transformers know none.
    trackio = {"trackio_static_space_id": False, "project": PROJECT}
    private = {name: value for name, value in trackio.items() if name in known}
    arguments = TrainingArguments(
        output_dir=str(reports or scratch),
        max_steps=session.plan.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=session.recipe.learning_rate,
        max_grad_norm=CLIP,
        seed=config.seed,
        use_cpu=session.learner.device.name == "cpu",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cache=True,  # else Trainer switches it off in the model's own config
        report_to=config.report_to,
        run_name=session.watch.name or None,
        push_to_hub=False,
        **private,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # else Trainer wraps the model for all GPUs it sees
    return arguments
