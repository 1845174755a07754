"""Weights packed into 4 bits each, for QLoRA. Refuses machines and files that cannot be packed."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from distill.errors import DeviceError, UsageError
from distill.student.device import Device

if TYPE_CHECKING:
    from distill.weights import Weights


def four_bits(device: Device, weights: "Weights") -> Any:
    """NF4 with double quantization (Dettmers et al. 2023). Raises UsageError, DeviceError where it fails."""
    import transformers

    where = "--method qlora"
    if device.name != "cuda":
        raise DeviceError("4-bit weights need a CUDA device", where=where, hint="use --method lora")
    if weights.gguf_file:
        raise UsageError("a GGUF file is packed already", where=where, hint="use --method lora")
    if find_spec("bitsandbytes") is None:
        raise UsageError("bitsandbytes is not installed", where=where, hint="pip install bitsandbytes")
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, device.dtype),
    )


def packed(model: Any) -> Any:
    """A 4-bit `model` frozen, in evaluation mode, what is not packed in float32."""
    import peft

    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False).eval()
