"""Weights packed into 4 bits each, for QLoRA. Refuses machines and files that cannot be packed."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from distill.errors import DeviceError, UsageError
from distill.student.device import Device

if TYPE_CHECKING:
    from distill.weights import Weights

PLACES = ("cuda", "cpu")
"""Where bitsandbytes packs and multiplies."""


def four_bits(device: Device, weights: "Weights") -> Any:
    """NF4 with double quantization (Dettmers et al. 2023). Raises UsageError, DeviceError where it fails."""
    import transformers

    where = "--method qlora"
    if device.name not in PLACES:
        raise DeviceError(
            f"4-bit weights run on {' and '.join(PLACES)}, not on {device.name}",
            where=where,
            hint="use --method lora",
        )
    if weights.gguf_file:
        raise UsageError("a GGUF file is packed already", where=where, hint="use --method lora")
    if find_spec("bitsandbytes") is None:
        raise UsageError("bitsandbytes is not installed", where=where, hint='pip install "distill[qlora]"')
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, device.dtype),
    )


def packed(model: Any) -> Any:
    """A 4-bit `model` frozen, in evaluation mode, what is not packed in float32.

    On a CPU bitsandbytes lays a matrix out anew at its first use without gradients, and no gradient passes
    through it from then on, in training either: that is switched off.
    """
    import peft

    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False).eval()
