"""LoRA on every linear layer (Hu et al. 2021, arXiv 2106.09685) by peft: attach, save, load.

Refuses an adapter whose base is not the model it is put on, by the weights themselves, not by a name.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from distill.errors import UsageError
from distill.store import jsonl

CARD = "distill_adapter.json"


@dataclass(frozen=True)
class LoraShape:
    """The update is B A x * alpha / rank; `dropout` on x."""

    rank: int
    alpha: int
    dropout: float = 0.0


class Card(msgspec.Struct, frozen=True):
    """What an adapter folder says of itself beside what peft needs."""

    base: str
    fingerprint: str
    rank: int
    alpha: int
    dropout: float
    schema: int = 1


def attach(model: Any, shape: LoraShape, seed: int) -> Any:
    """`model` as a PeftModel: its weights frozen, LoRA's (float32, B zero) trainable. Same seed, same A."""
    import peft
    import torch

    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def trainable(peft_model: Any) -> list[Any]:
    """The parameters that learn: LoRA's, nothing else."""
    return [parameter for parameter in peft_model.parameters() if parameter.requires_grad]


def fingerprint(model: Any) -> str:
    """16 hex digits from the first values of every weight matrix, the same for float32 and bfloat16 copies.

    A LoRA layer is seen through to the matrix it wraps.
    """
    import torch

    seen = hashlib.sha256()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2 or "lora_" in name:
                continue
            plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            head = weight.flatten()[:16].to(torch.bfloat16).float().cpu()
            seen.update(f"{plain}{tuple(weight.shape)}".encode() + head.numpy().tobytes())
    return seen.hexdigest()[:16]


def save(peft_model: Any, folder: Path, base: str) -> None:
    """Write adapter_model.safetensors, adapter_config.json and CARD into `folder`. Raises StorageError."""
    import peft
    import safetensors.torch

    settings = peft_model.peft_config["default"]
    state = peft.get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    card = Card(base, fingerprint(peft_model), settings.r, settings.lora_alpha, settings.lora_dropout)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        settings.save_pretrained(str(folder))
    except OSError as error:
        raise jsonl.full_disk(folder, error) from None
    jsonl.replace_json(folder / CARD, card)


def load(model: Any, folder: Path, base: str) -> Any:
    """`model` with the adapter in `folder` on it, not trainable. Raises UsageError where it does not fit."""
    import peft

    card = read_card(folder)
    if card.fingerprint != fingerprint(model):
        raise UsageError(
            f"this adapter was trained on {card.base}, whose weights are not those of {base}",
            where=str(folder),
            hint=f"use --student {card.base}, or run: distill finetune",
        )
    try:
        return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the adapter cannot be loaded: {error}", where=str(folder), hint="run: distill finetune"
        ) from None


def read_card(folder: Path) -> Card:
    """What the adapter in `folder` was trained on and how. Raises UsageError where it is not one of ours."""
    path = folder / CARD
    if not (folder / "adapter_model.safetensors").is_file() or not path.is_file():
        raise UsageError("no adapter here", where=str(folder), hint="run: distill finetune")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise UsageError(f"damaged: {error}", where=str(path), hint="run: distill finetune") from None
