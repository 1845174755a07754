"""LoRA's layers with their update added into a copy of the matrix, for answering: one product, not three.

Refuses to touch what was loaded: matrix and adapter stay as they are, and are in force outside.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distill.student.fused import Cast

Merged = Mapping[Any, Tensor]
"""A layer of peft's -> its matrix with the update in it."""


def merged(peft_model: Any) -> Merged:
    """The layers of `peft_model` that are LoRA around a plain linear layer; others (4-bit, DoRA) stay so.

    Summed in float32 and rounded once to the arithmetic the matrix is in.
    """
    return {module: with_update(module) for module in peft_model.modules() if is_plain(module)}


def is_plain(module: Any) -> bool:
    """Whether `module` is one LoRA around a linear layer and nothing beside."""
    from peft.tuners.lora import Linear

    if type(module) is not Linear or type(module.base_layer) is not torch.nn.Linear or module.merged:
        return False
    (name, *more) = module.active_adapters
    return not (more or module.lora_variant or module.lora_bias.get(name))


def with_update(module: Any) -> Tensor:
    """W + scale B A, (outputs, inputs)."""
    weight_OI: Tensor = module.base_layer.weight
    with torch.no_grad():
        update_OI = module.get_delta_weight(module.active_adapters[0])
        summed_OI: Tensor = (weight_OI.float() + update_OI.float()).to(weight_OI.dtype)
    return summed_OI


@contextmanager
def in_force(layers: Merged) -> Iterator[None]:
    """Within it those layers are their merged matrices."""
    cast = Cast()
    for module, weight_OI in layers.items():
        module.forward = product(weight_OI, module.base_layer.bias, cast)
    try:
        yield
    finally:
        for module in layers:
            del module.forward


def product(weight_OI: Tensor, bias_O: Tensor | None, cast: Cast) -> Callable[..., Tensor]:
    """x -> x W' + b, in W's arithmetic; layers that read the same x cast it once."""

    def forward(x: Tensor) -> Tensor:
        y_MO = torch.nn.functional.linear(cast(x, weight_OI.dtype), weight_OI, bias_O)
        return y_MO.view(*x.shape[:-1], -1)

    return forward
