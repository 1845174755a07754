"""How weights are read: safe ones, in silence, all of them there; what loaders raise becomes UsageError.

Refuses a checkpoint that lacks weights: transformers would fill them with random values and go on.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill.errors import UsageError
from distill.student.guard import is_out_of_memory

if TYPE_CHECKING:
    from distill.weights import Weights

POOLER = r".*pooler\..*"
"""Layers that some encoders carry, and that are never used: they stay as they are."""
NAMED = 4  # missing weights an error names, of all it counts


WHOLE = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
"""How a model is loaded whose completeness `check_complete` proves."""


def source(weights: "Weights") -> dict[str, Any]:
    """What every loader of transformers is told: no code that comes with a model."""
    gguf = {"gguf_file": weights.gguf_file} if weights.gguf_file else {}
    return {"trust_remote_code": False, **gguf}


@contextmanager
def loading(
    weights: "Weights",
    what: str = "student",
    hint: str = "give a Hub id, a folder with config.json and *.safetensors, a .gguf file, or 'local'",
) -> Iterator[None]:
    """Turn what transformers and safetensors raise on a model they cannot load into UsageError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise UsageError(
            f"the {what} cannot be loaded: {first_line(error)}",
            where=f"--student {weights.label}",
            hint=hint,
        ) from None


def check_complete(model: Any, found: Mapping[str, Any], weights: "Weights") -> None:
    """Raise UsageError naming the weights of `model` that the files lack or have otherwise, as `found`.

    `found` is what transformers says of a load told WHOLE. A pooler is not missed: it is set to zero, so
    that `model` is the same each time.
    """
    where, hint = f"--student {weights.label}", "config.json and *.safetensors do not belong together"
    if others := sorted(found["mismatched_keys"]):
        name, held, asked = others[0]
        raise UsageError(
            f"the files have {name} as {tuple(held)}, and the model's config asks for {tuple(asked)}"
            + (f" (and {len(others) - 1} more)" if others[1:] else ""),
            where=where,
            hint=hint,
        )
    missing = set(found["missing_keys"])
    poolers = {name for name in missing if re.fullmatch(POOLER, name)}
    with torch.no_grad():
        for name in poolers:
            model.get_parameter(name).zero_()
    if lacking := sorted(missing - poolers):
        more = ", …" if len(lacking) > NAMED else ""
        raise UsageError(
            f"the files lack {len(lacking)} of the weights that the model's config asks for:"
            f" {', '.join(lacking[:NAMED])}{more}",
            where=where,
            hint=f"{hint}, or a file is missing",
        )


def check_folder(folder: Path, gguf_file: str | None) -> None:
    """Raise UsageError where `folder` exists and holds no weights that are safe to load."""
    if gguf_file or not folder.is_dir():
        return
    if any(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
        return
    pickles = [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    raise UsageError(
        f"only pickled weights here ({', '.join(sorted(pickles))}), which can run code and are never loaded"
        if pickles
        else "no model here",
        where=f"--student {folder}",
        hint="convert them to safetensors" if pickles else "a model folder has config.json and *.safetensors",
    )


@contextmanager
def silent() -> Iterator[None]:
    """Keep transformers' bars and warnings off the terminal, and put its settings back."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """What an error says, its first line."""
    return (str(error) or type(error).__name__).splitlines()[0]
