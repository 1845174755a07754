"""Greedy decoding of a batch: the shared start run once, finished rows dropped. Holds no text.

Refuses to sample: the same weights and prompt give the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.student.batches import pad_left, shared_prefix
from distill.student.chat import Chat
from distill.student.forward import Net, expanded, last_logits, prefix_cache


@dataclass(frozen=True)
class Start:
    """The tokens all prompts start with, run: how many, and their keys and values (batch 1)."""

    length: int
    cache: Any


def stop_ids(model: Any, chat: Chat) -> frozenset[int]:
    """Every id that ends an answer: the template's end of turn, and what model and tokenizer call the end."""
    named: set[int] = {chat.stop}
    for value in (
        chat.tokenizer.eos_token_id,
        model.config.eos_token_id,
        getattr(model.generation_config, "eos_token_id", None),
    ):
        named.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    return frozenset(named)


def shared_start(net: Net, prompts: Sequence[Sequence[int]]) -> Start:
    """What all `prompts` start with, run once; length 0 where nothing is shared or may be."""
    length = shared_prefix(prompts) if net.shares_prefix and len(prompts) > 1 else 0
    ids_P = torch.tensor(prompts[0][:length], device=net.model.device, dtype=torch.long)
    return Start(length, prefix_cache(net, ids_P) if length else None)


def greedy(
    net: Net,
    prompts: Sequence[Sequence[int]],
    start: Start,
    stops: frozenset[int],
    pad: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """The new ids of each prompt, its stop id last where it came within `max_new_tokens`.

    Rows are padded on the left and leave the batch as they finish.
    """
    device = net.model.device
    ids_BT, mask_BT = (
        tensor.to(device) for tensor in pad_left([prompt[start.length :] for prompt in prompts], pad)
    )
    state = first_state(net, start, mask_BT)
    outputs: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        next_B = last_logits(net, ids_BT, **state).argmax(-1)
        going = []
        for column, token in enumerate(next_B.tolist()):
            outputs[alive[column]].append(token)
            if token not in stops:
                going.append(column)
        if not going:
            break
        if len(going) < len(alive):
            keep_B = torch.tensor(going, device=device)
            next_B, state = next_B[keep_B], kept(state, keep_B)
            alive = [alive[column] for column in going]
        ids_BT, state = next_B[:, None], advanced(state)
    return outputs


def first_state(net: Net, start: Start, mask_BT: Tensor) -> dict[str, Any]:
    """Cache, mask and positions for the first pass; mask and positions None where no row is padded."""
    from transformers.cache_utils import DynamicCache

    rows = len(mask_BT)
    cache = expanded(net, start.cache, rows) if start.length else DynamicCache(config=net.model.config)
    if bool(mask_BT.all()):
        return {"past_key_values": cache, "attention_mask": None, "position_ids": None}
    mask_BK = torch.cat([mask_BT.new_ones(rows, start.length), mask_BT], dim=1)
    positions_BT = (mask_BK.cumsum(1) - 1).clamp(min=0)[:, start.length :]
    return {"past_key_values": cache, "attention_mask": mask_BK, "position_ids": positions_BT}


def kept(state: dict[str, Any], keep_B: Tensor) -> dict[str, Any]:
    """`state` of the rows that go on."""
    state["past_key_values"].batch_select_indices(keep_B)
    if state["attention_mask"] is None:
        return state
    return {
        **state,
        "attention_mask": state["attention_mask"][keep_B],
        "position_ids": state["position_ids"][keep_B],
    }


def advanced(state: dict[str, Any]) -> dict[str, Any]:
    """`state` one token further."""
    mask_BK = state["attention_mask"]
    if mask_BK is None:
        return state
    return {
        **state,
        "attention_mask": torch.cat([mask_BK, mask_BK.new_ones(len(mask_BK), 1)], dim=1),
        "position_ids": state["position_ids"][:, -1:] + 1,
    }
