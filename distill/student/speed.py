"""How much of the machine training uses: products counted from the weights, over a measured matmul peak.

Refuses to flatter: padding, attention's own products, norms and the optimiser count as no work.
"""

import time
from collections.abc import Callable, Sequence

import torch

from distill.student.device import Device
from distill.student.encode import Row
from distill.student.forward import Net
from distill.student.loss import tokens_run

FROZEN, TRAINED = 4, 6  # FLOP per weight and token: forward 2, the input's gradient 2, the weight's own 2
SIZES = {"cpu": 2048, "cuda": 8192}  # sides of the square matrices that are multiplied
MEASURED_S = 1.0


def flops_of(net: Net) -> Callable[[Sequence[Row]], float] | None:
    """A function: FLOP that a training pass over rows takes, by the weights its real tokens go through.

    Decoder weights count for every real token (a start that rows share once), the head's for every target.
    Slightly too much: below the first LoRA layer no input's gradient is needed. None for a mixture of
    experts, where a token goes through some of the weights only.
    """
    if any("expert" in name for name, _ in net.decoder.named_modules()):
        return None
    body = sum(map(flops_per_token, net.decoder.modules()))
    head = flops_per_token(net.head) if net.head is not None else 0
    if net.head is None:
        body += flops_per_token(net.model.get_output_embeddings())

    def count(rows: Sequence[Row]) -> float:
        return float(body * tokens_run(net, rows) + head * sum(row.target_tokens for row in rows))

    return count


def flops_per_token(module: torch.nn.Module | None) -> int:
    """Of a module that is itself a matrix, else 0. 4-bit weights count by their shape, not bytes."""
    # Its own alone: a LoRA layer also shows the weight of the layer it wraps.
    weight = dict(module.named_parameters(recurse=False)).get("weight") if module is not None else None
    if weight is None or isinstance(module, torch.nn.Embedding) or weight.dim() < 2:
        return 0
    count = weight.numel()
    if isinstance(module, torch.nn.Linear):
        count = module.in_features * module.out_features
    return int(count) * (TRAINED if weight.requires_grad else FROZEN)


def matmul_peak(device: Device) -> float:
    """FLOP/s of the fastest of the square products that fit into a second, in the device's arithmetic."""
    side = SIZES[device.name]
    left = torch.randn(side, side, device=device.name).to(getattr(torch, device.dtype))
    right = left.T.contiguous()
    best = float("inf")
    ends = time.perf_counter() + MEASURED_S
    while best == float("inf") or time.perf_counter() < ends:
        began = time.perf_counter()
        left @ right
        if device.name == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best
