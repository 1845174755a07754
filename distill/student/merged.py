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
Factors = Mapping[Any, tuple[Tensor, Tensor, float]]
"""A layer of peft's -> A, B and scale of its update."""


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


def factors(layers: Merged) -> Factors:
    """A, B and scale of those layers in the arithmetic of their matrices: cast once, not at every use."""
    found = {}
    for module, weight_OI in layers.items():
        name = module.active_adapters[0]
        a_RI, b_OR = (
            each[name].weight.detach().to(weight_OI.dtype) for each in (module.lora_A, module.lora_B)
        )
        found[module] = a_RI, b_OR, module.scaling[name]
    return found


@contextmanager
def in_force(layers: Merged) -> Iterator[None]:
    """Within it those layers are their merged matrices."""
    cast = Cast()
    with running(
        {module: product(weight, module.base_layer.bias, cast) for module, weight in layers.items()}
    ):
        yield


@contextmanager
def unmerged(layers: Factors) -> Iterator[None]:
    """Within it those layers do what peft's do, to the last bit, in fewer operations."""
    cast = Cast()
    with running(
        {module: sum_of_products(module.base_layer, *each, cast) for module, each in layers.items()}
    ):
        yield


@contextmanager
def running(forwards: Mapping[Any, Callable[..., Tensor]]) -> Iterator[None]:
    """Within it those modules run so."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward


def sum_of_products(base: Any, a_RI: Tensor, b_OR: Tensor, scale: float, cast: Cast) -> Callable[..., Tensor]:
    """x -> x W' + b + scale x A' B', rounded where peft's layer rounds."""
    linear = torch.nn.functional.linear

    def forward(x: Tensor) -> Tensor:
        x_MI = cast(x, base.weight.dtype)
        y_MO = linear(x_MI, base.weight, base.bias) + linear(linear(x_MI, a_RI), b_OR) * scale
        return y_MO.view(*x.shape[:-1], -1)

    return forward


def product(weight_OI: Tensor, bias_O: Tensor | None, cast: Cast) -> Callable[..., Tensor]:
    """x -> x W' + b, in W's arithmetic; layers that read the same x cast it once."""

    def forward(x: Tensor) -> Tensor:
        y_MO = torch.nn.functional.linear(cast(x, weight_OI.dtype), weight_OI, bias_O)
        return y_MO.view(*x.shape[:-1], -1)

    return forward
