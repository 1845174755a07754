"""What of a model is trained: LoRA (Hu et al. 2021, arXiv 2106.09685) and its kin by peft, or all of it.

Refuses an adapter whose base is not the model it is put on, by the weights themselves, not by a name; and
pickled adapters.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from distill.errors import UsageError
from distill.store import jsonl
from distill.weights import PICKLES

CARD = "distill_adapter.json"
WEIGHTS, WHOLE = "adapter_model.safetensors", "model.safetensors"
Method = Literal["lora", "qlora", "dora", "rslora", "full"]


@dataclass(frozen=True)
class LoraShape:
    """The update is B A x * alpha / rank (rslora: / root of rank, arXiv 2312.03732); `dropout` on x.

    dora (arXiv 2402.09353) trains each row's length too; qlora (arXiv 2305.14314) is LoRA on 4-bit weights;
    full trains all weights and has no use for the numbers. `targets`: ends of layer names, or "all-linear".
    """

    rank: int
    alpha: int
    dropout: float = 0.0
    method: Method = "lora"
    targets: str = "all-linear"


class Card(msgspec.Struct, frozen=True):
    """What an adapter folder says of itself beside what peft needs."""

    base: str
    fingerprint: str
    rank: int
    alpha: int
    dropout: float
    schema: int = 1
    method: Method = "lora"


def attach(model: Any, shape: LoraShape, seed: int) -> Any:
    """`model` as a PeftModel: its weights frozen, LoRA's (float32, B zero) trainable. Same seed, same A.

    For method full it is `model` itself, all of it trainable. Raises UsageError on targets it does not have.
    """
    if shape.method == "full":
        return model.requires_grad_(True)
    import peft
    import torch

    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=target_names(model, shape.targets),
        use_dora=shape.method == "dora",
        use_rslora=shape.method == "rslora",
        fan_in_fan_out=any(isinstance(module, linear_kinds()[1]) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def target_names(model: Any, targets: str, never: str = "") -> str | list[str]:
    """`targets` as peft takes them; layers whose whole name matches the pattern `never` are none.

    Raises UsageError naming those that no linear layer ends in.
    """
    if targets == "all-linear":
        return targets
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, linear_kinds()) and not re.fullmatch(never, name)
    ]
    wanted = [name.strip() for name in targets.split(",")]
    unknown = [name for name in wanted if not any(f".{path}".endswith(f".{name}") for path in linear)]
    if unknown:
        raise UsageError(
            f"the student has no linear layer called {', '.join(unknown)}",
            where="--lora-targets",
            hint="it has " + ", ".join(sorted({path.rpartition(".")[2] for path in linear})),
        )
    return wanted


def linear_kinds() -> tuple[type, ...]:
    """The layers that are a matrix: torch's, and that of GPT-2's kind, which lies the other way round."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return torch.nn.Linear, Conv1D


def trainable(peft_model: Any) -> list[Any]:
    """The parameters that learn: LoRA's and nothing else, or (method full) all."""
    return [parameter for parameter in peft_model.parameters() if parameter.requires_grad]


def fingerprint(model: Any) -> str:
    """16 hex digits from the first values of every weight matrix, the same for float32 and bfloat16 copies.

    A LoRA layer is seen through to the matrix it wraps. One packed into bits is passed over: each device and
    arithmetic rounds it its own way.
    """
    import torch

    seen = hashlib.sha256()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2 or "lora_" in name or not weight.is_floating_point():
                continue
            plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            head = weight.flatten()[:16].to(torch.bfloat16).float().cpu()
            seen.update(f"{plain}{tuple(weight.shape)}".encode() + head.numpy().tobytes())
    return seen.hexdigest()[:16]


def save(
    peft_model: Any, folder: Path, base: str, shape: LoraShape | None = None, *, known_as: str | None = None
) -> None:
    """Write WEIGHTS, adapter_config.json and CARD into `folder`. Raises StorageError.

    `base` is what people are shown. `known_as` (default `base`) is what peft may load the base by where it is
    handed none; peft's own guess is where the weights lay on this machine.
    """
    import peft
    import safetensors.torch

    settings = peft_model.peft_config["default"]
    settings.base_model_name_or_path = known_as or base
    method = shape.method if shape else "lora"
    state = peft.get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    card = Card(
        base, fingerprint(peft_model), settings.r, settings.lora_alpha, settings.lora_dropout, method=method
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()},
            folder / WEIGHTS,
            metadata={"format": "pt"},
        )
        settings.save_pretrained(str(folder))
    except OSError as error:
        raise jsonl.full_disk(folder, error) from None
    jsonl.replace_json(folder / CARD, card)


def save_whole(model: Any, tokenizer: Any, folder: Path, base: str) -> None:
    """Write a model of which all weights were trained, ready to load by itself. Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise jsonl.full_disk(folder, error) from None
    jsonl.replace_json(folder / CARD, Card(base, fingerprint(model), 0, 0, 0.0, method="full"))


def load(model: Any, folder: Path, base: str) -> Any:
    """`model` with the adapter in `folder` on it, not trainable. Raises UsageError where it does not fit."""
    import peft

    check_base(model, folder, base)
    try:
        return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the adapter cannot be loaded: {error}", where=str(folder), hint="run: distill finetune"
        ) from None


def check_base(model: Any, folder: Path, base: str) -> None:
    """Raise UsageError unless the adapter in `folder` was trained on the weights of `model`, named `base`."""
    card = read_card(folder)
    if card.fingerprint != fingerprint(model):
        raise UsageError(
            f"this adapter was trained on {card.base}, whose weights are not those of {base}",
            where=str(folder),
            hint=f"use --student {card.base}, or run: distill finetune",
        )


def read_card(folder: Path) -> Card:
    """What the adapter in `folder` was trained on and how. Raises UsageError where it is not one of ours."""
    path = folder / CARD
    if not any((folder / name).is_file() for name in (WEIGHTS, WHOLE)) or not path.is_file():
        pickles = sorted(file.name for file in folder.glob("*") if file.suffix in PICKLES)
        if pickles:
            raise UsageError(
                f"only pickled weights here ({', '.join(pickles)}), which can run code and are never loaded",
                where=str(folder),
                hint="convert them to safetensors, or run: distill finetune",
            )
        raise UsageError("no adapter here", where=str(folder), hint="run: distill finetune")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise UsageError(f"damaged: {error}", where=str(path), hint="run: distill finetune") from None
