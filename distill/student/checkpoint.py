"""A run's state between two steps in one safetensors file: weights, optimiser, best weights, counters.

Refuses pickles (torch.save is one), a file made from other data or settings, and one that is damaged: a
sentence says which, and training starts anew. The file is whole or the one before, never half of one.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from distill.store import jsonl

KEY = "distill"
UNLEARNED = ("micro_batch", "packing", "engine", "device", "report_to", "learning_curve")
"""Knobs of how and where steps are run, and of what is told of them: with others the same is learned."""


class State(msgspec.Struct):
    """Where a run stands after `step`. Losses in nats per target token, `seconds` of training alone.

    `worse` counts validations in a row that brought no lower loss than `lowest`.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_loss: float = 0.0
    last_loss: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    best_exact: float | None = None
    best_score: float | None = None
    lowest: float | None = None
    worse: int = 0


class Header(msgspec.Struct):
    """What the file says of itself."""

    made_from: dict[str, Any]
    state: State


@dataclass(frozen=True)
class Checkpoint:
    """A state with the tensors that belong to it."""

    state: State
    weights: Sequence[torch.Tensor]
    best: Sequence[torch.Tensor] | None
    moments: Mapping[int, Mapping[str, torch.Tensor]]


def save(path: Path, made_from: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Write beside, sync, rename over `path`. Raises StorageError."""
    import safetensors.torch

    tensors = {f"weight.{index}": value.detach() for index, value in enumerate(checkpoint.weights)}
    tensors |= {f"best.{index}": value for index, value in enumerate(checkpoint.best or ())}
    for index, moments in checkpoint.moments.items():
        tensors |= {f"moment.{index}.{name}": value for name, value in moments.items()}
    header = msgspec.json.encode(Header(dict(made_from), checkpoint.state)).decode()
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = {name: value.cpu().contiguous() for name, value in tensors.items()}
        safetensors.torch.save_file(plain, beside, metadata={KEY: header})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise jsonl.full_disk(path, error) from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def learned_of(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `knobs` that decide what is learned: what a checkpoint has to have been made from."""
    return {name: value for name, value in knobs.items() if name not in UNLEARNED}


def put_aside(path: Path) -> Path:
    """Rename a checkpoint that is not used, over the one put aside before; where it is now."""
    return path.replace(path.with_name(f"other-{path.name}"))


def load(
    path: Path, made_from: Mapping[str, Any], shapes: Sequence[torch.Size]
) -> tuple[Checkpoint | None, str]:
    """The checkpoint in `path`, and ""; or None and the sentence why not ("" where there is no file)."""
    import safetensors

    if not path.is_file():
        return None, ""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = msgspec.json.decode((file.metadata() or {})[KEY], type=Header)
            now = msgspec.json.decode(msgspec.json.encode(dict(made_from)))
            changed = [
                name for name in {*now, *header.made_from} if now.get(name) != header.made_from.get(name)
            ]
            if changed:
                return None, f"there is a checkpoint of another run ({', '.join(sorted(changed))}): not used"
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, msgspec.DecodeError, KeyError, OSError) as error:
        return None, f"the checkpoint is damaged and not used: {type(error).__name__}"
    weights = [tensors[name] for name in numbered(tensors, "weight")]
    if [weight.shape for weight in weights] != list(shapes):
        return None, "there is a checkpoint of another model: not used"
    best = [tensors[name] for name in numbered(tensors, "best")]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("moment."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
    return Checkpoint(header.state, weights, best or None, moments), ""


def numbered(tensors: Mapping[str, Any], kind: str) -> list[str]:
    """The names 'kind.0', 'kind.1', … that there are, in that order."""
    found = [name for name in tensors if name.startswith(f"{kind}.")]
    return sorted(found, key=lambda name: int(name.partition(".")[2]))
