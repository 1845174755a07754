"""Where a training is reported to beside the run folder: nowhere unless asked, and nothing public.

Refuses a service whose package is not there, before anything is trained.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.config import FinetuneConfig
from distill.errors import UsageError

PROJECT = "distill"
"""What runs are filed under, unless WANDB_PROJECT says else."""


def check(config: FinetuneConfig) -> None:
    """Raise UsageError where reports are asked for that cannot be made."""
    name = config.report_to
    if name == "none":
        return
    if config.engine == "loop":
        raise UsageError(
            "the loop sends no reports", where=f"--report-to {name}", hint="use --engine trainer"
        )
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"{name} is not installed",
            where=f"--report-to {name}",
            hint=f"pip install {name}, or leave it out",
        )


@contextmanager
def reporting(config: FinetuneConfig, name: str, folder: Path | None) -> Iterator[None]:
    """Within it a W&B run called `name` is open, its files in `folder`; other services need nothing.

    transformers would open one under no name in the working directory, and leave it open for the next
    training to write into. One that is open already is used, and left. Raises UsageError where W&B refuses.
    """
    if config.report_to != "wandb":
        yield
        return
    import wandb

    if wandb.run is not None:
        yield
        return
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", name) or None,
            dir=folder,
        )
    except wandb.Error as error:
        raise UsageError(
            f"W&B opens no run: {error}",
            where="--report-to wandb",
            hint="run: wandb login, or set WANDB_MODE=offline",
        ) from None
    code = 1
    try:
        yield
        code = 0
    finally:
        run.finish(exit_code=code)
