"""LoRA's layers as one product each, with a backward pass by hand: a third of the operations of peft's.

Refuses what it would change: dropout, DoRA, packed weights and layers that do more than LoRA stay peft's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Product(torch.autograd.Function):
    """x W' + b + scale x A' B', and its gradients for x, A and B; W and b are frozen.

    Shapes in tensor names: M tokens, I inputs, O outputs, R rank. Products in W's arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, x_MI: Tensor, layer: tuple[Any, ...], a_RI: Tensor, b_OR: Tensor
    ) -> Tensor:
        """`x` is what gradients go to, `x_MI` the same as W wants it; `layer` is (W, b, scale)."""
        weight_OI, bias_O, scale = layer
        a_RI, b_OR = a_RI.to(weight_OI.dtype), (b_OR * scale).to(weight_OI.dtype)
        u_MR = x_MI @ a_RI.T
        y_MO = torch.nn.functional.linear(x_MI, weight_OI, bias_O)
        y_MO.addmm_(u_MR, b_OR.T)
        ctx.save_for_backward(x_MI, weight_OI, a_RI, b_OR, u_MR)
        ctx.scale, ctx.like = scale, (x.shape, x.dtype)
        return y_MO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of x, A and B."""
        x_MI, weight_OI, a_RI, b_OR, u_MR = ctx.saved_tensors
        shape, dtype = ctx.like
        dy_MO = grads[0].reshape(-1, len(weight_OI)).to(weight_OI.dtype)
        v_MR = dy_MO @ b_OR
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy_MO @ weight_OI).addmm_(v_MR, a_RI).view(shape).to(dtype)
        return dx, None, None, (v_MR.T @ x_MI).float(), (dy_MO.T @ u_MR).float() * ctx.scale


class Cast:
    """The last tensor that was cast: layers that read the same states cast them once."""

    def __init__(self) -> None:
        self._from: Tensor | None = None
        self._to: Tensor | None = None

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """`x` flat (M, I) in `dtype`, without its gradient."""
        if self._to is None or self._from is not x:
            self._from, self._to = x, x.detach().reshape(-1, x.shape[-1]).to(dtype)
        return self._to


def forward_of(module: Any, cast: Cast) -> Callable[..., Tensor]:
    """What `module` (peft's LoRA around a linear layer) computes, as one `Product`."""
    base = module.base_layer
    plain: Callable[..., Tensor] = module.forward
    name = module.active_adapters[0]
    a, b, scale = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
    layer = (base.weight, base.bias, scale)
    apply: Any = Product.apply  # torch has no types for it

    def forward(x: Tensor, *args: Any, **more: Any) -> Tensor:
        if args or more or not torch.is_grad_enabled() or module.disable_adapters:
            return plain(x, *args, **more)
        product: Tensor = apply(x, cast(x, base.weight.dtype), layer, a, b)
        return product

    return forward


def is_plain(module: Any) -> bool:
    """Whether `module` is LoRA around a frozen linear layer and nothing beside."""
    from peft.tuners.lora import Linear

    if type(module) is not Linear or type(module.base_layer) is not torch.nn.Linear or module.merged:
        return False
    name = module.active_adapters[0]
    has_more = module.lora_variant or module.lora_bias.get(name) or len(module.active_adapters) > 1
    keeps_all = isinstance(module.lora_dropout[name], torch.nn.Identity)
    return keeps_all and not has_more and not module.base_layer.weight.requires_grad


@contextmanager
def products(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Within it LoRA's layers of `model` run as one product each in `dtype`, which their weights are in."""
    cast = Cast()
    found = [module for module in model.modules() if is_plain(module)]
    found = [module for module in found if module.base_layer.weight.dtype == dtype]
    for module in found:
        module.forward = forward_of(module, cast)
    try:
        yield
    finally:
        for module in found:
            del module.forward
