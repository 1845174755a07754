"""Attention over lines of packed rows with no mask at all: torch's variable-length flash attention on CUDA.

Refuses what that kernel has not (soft caps, sinks, float32): whoever tries it falls back to a block mask.
"""

from typing import Any

import torch
from torch import Tensor

from distill.student.packing import Layout

NAME = "distill_varlen"


def register() -> None:
    """Make `NAME` an attention that transformers' models can be set to."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def varlen(layout: Layout, model: Any) -> dict[str, Any]:
    """What `attend` has to be told of a layout; nothing where the model attends in another way."""
    if model.config._attn_implementation != NAME:
        return {}
    begins = torch.tensor(layout.begins, dtype=torch.int32, device=layout.ids_LT.device)
    return {"row_begins": begins, "longest_row": int(begins.diff().max())}


def attend(
    module: torch.nn.Module,
    query_LHTD: Tensor,
    key_LGTD: Tensor,
    value_LGTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    row_begins: Tensor | None = None,
    longest_row: int = 0,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row, as transformers calls it: L lines, H heads on G key-value heads.

    Without `row_begins` (rows not packed) torch's fused attention. Raises NotImplementedError.
    """
    if row_begins is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        fused: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_LHTD, key_LGTD, value_LGTD, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return fused
    if dropout or more.get("softcap") or more.get("s_aux") is not None:
        raise NotImplementedError("attention dropout, soft caps and sinks")
    from torch.nn.attention.varlen import varlen_attn

    lines, heads, width, _ = query_LHTD.shape
    # Rotary positions may leave queries and keys in float32 where autocast has the values in bfloat16.
    query, key, value = (
        part.to(value_LGTD.dtype).transpose(1, 2).flatten(0, 1) for part in (query_LHTD, key_LGTD, value_LGTD)
    )
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    out_MHD: Any = varlen_attn(
        query,
        key,
        value,
        row_begins,
        row_begins,
        longest_row,
        longest_row,
        scale=scaling,
        window_size=window,
        enable_gqa=heads != key_LGTD.shape[1],
    )
    return out_MHD.unflatten(0, (lines, width)), None
