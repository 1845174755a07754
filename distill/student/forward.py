"""How a causal model is run here: decoder, then the head at the positions that matter, the shared start once.

Both shortcuts are tried on the model at hand when it is opened, and given up where they change a number.
Shapes in tensor names: B rows, T tokens, S tokens after the shared prefix, N targets, D width, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.errors import UsageError
from distill.student.encode import IGNORED
from distill.student.packing import Layout
from distill.student.shared import Line
from distill.student.varlen import varlen

PROBE = 12  # tokens of a start and of what follows it in the trial run
SPREAD = 127  # parts of a vocabulary, one token of each for a trial
LEAK = 0.01  # share by which early logits may change with later tokens: none, up to bfloat16's rounding
NEARER = 0.1  # how far sharing a start may move states, as a share of what another start does
EAGER_TOKENS = 256  # longest row that may hold its whole attention matrix


@dataclass(frozen=True)
class Net:
    """A causal model in parts.

    `head` is None where the model does more to its logits than a matrix product (soft caps, scales): then
    the model's own forward gives them. `shares_prefix`: a start that all rows have may be run once.
    `packs`: rows of a pass go behind one another, in lines of so many tokens; 0: each is a line of its own.
    """

    model: Any
    decoder: Any
    head: Any | None
    shares_prefix: bool
    packs: int = 0


def open_net(model: Any) -> Net:
    """`model` (a transformers causal LM, with LoRA or without) with the shortcuts that are exact for it.

    Raises UsageError where it is no causal model.
    """
    words = model.config.get_text_config().vocab_size
    start, *rests = (trial_ids(words, PROBE, PROBE * number) for number in range(3))
    ids_BT = torch.tensor([start + rest for rest in rests], device=model.device)
    with torch.inference_mode():
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        whole_BTV = model(input_ids=ids_BT, use_cache=False).logits
        check_causal(whole_BTV[:, :PROBE])
        if head is not None:
            parts_BTV = head(decoder(input_ids=ids_BT, use_cache=False).last_hidden_state)
            head = head if same(whole_BTV, parts_BTV) else None
        net = Net(model, decoder, head, shares_prefix=False)
        if head is None or not has_plain_cache(model):
            return net
        return replace(net, shares_prefix=may_share(net, ids_BT, rounds=whole_BTV.dtype != torch.float32))


def may_share(net: Net, ids_BT: Tensor, *, rounds: bool) -> bool:
    """Whether `ids_BT`'s first half, run once for all rows, leads to the states it leads to in each.

    In arithmetic that `rounds`, where states behind a trained adapter may move by more than `same` lets
    pass, they must be far nearer to those than the states behind another start are.
    """
    half = ids_BT.shape[1] // 2
    elsewhere_BT = torch.cat([ids_BT[:, half:].flip(0), ids_BT[:, half:]], dim=1)
    alone, behind_other = (hidden(net, each)[:, half:].float() for each in (ids_BT, elsewhere_BT))
    shared = hidden(replace(net, shares_prefix=True), ids_BT, half).float()
    is_nearer = (alone - shared).norm() <= NEARER * (alone - behind_other).norm()
    return same(alone, shared) or (rounds and bool(is_nearer))


def trial_ids(words: int, count: int, first: int = 0) -> list[int]:
    """`count` ids to try a model of so many words on, spread over its vocabulary.

    Not its first ones: those are special tokens, behind which a trained model's states are mostly the
    rounding of bfloat16 (3.5% between two orders of the same products, 0.5% behind ordinary tokens).
    """
    step = max(1, words // SPREAD)
    return [(words // 2 + (first + at) * step) % words for at in range(count)]


def check_causal(early_2TV: Tensor) -> None:
    """Raise UsageError unless two rows that differ later on alone have the same logits up to there."""
    one_TV, other_TV = early_2TV.float() - early_2TV.float().mean(-1, keepdim=True)
    if (one_TV - other_TV).norm() > LEAK * one_TV.norm():
        raise UsageError(
            "this model's answer to a token depends on what comes after it: it is an encoder, not a language"
            " model",
            where="--student",
            hint="--student-kind classifier, or choose a language model",
        )


def choose_attention(model: Any, longest_row: int) -> None:
    """Plain products for short rows on a CPU, where torch's fused attention has a slow backward pass.

    So too where an architecture has no fused attention; one whose attention cannot be set keeps its own.
    Measured on SmolLM2-135M, 16 rows of 62 tokens, one core: 440 against 355 tokens/s.
    """
    if not model._can_set_attn_implementation():
        return
    is_short = model.device.type == "cpu" and longest_row <= EAGER_TOKENS
    model.set_attn_implementation("eager" if is_short or not model._supports_sdpa else "sdpa")


@contextmanager
def attention_for(model: Any, longest_row: int = EAGER_TOKENS + 1) -> Iterator[None]:
    """Within it attention is as `choose_attention` sets it for such rows; by default what `generate` has."""
    before = model.config._attn_implementation
    choose_attention(model, longest_row)
    try:
        yield
    finally:
        if model._can_set_attn_implementation():
            model.set_attn_implementation(before)


def same(left: Tensor, right: Tensor) -> bool:
    """Equal up to the rounding of two orders of the same products (which bfloat16 makes visible)."""
    left, right = left.float(), right.float()
    return bool((left - right).norm() <= 0.02 * left.norm())


def has_plain_cache(model: Any) -> bool:
    """Whether every layer keeps all keys and values: a sliding window or a recurrent state does not."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def prefix_cache(net: Net, ids_P: Tensor) -> Any:
    """Keys and values of one run over the shared start, batch 1; with gradients where they are on."""
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache(config=net.model.config)
    net.decoder(input_ids=ids_P[None], past_key_values=cache, use_cache=True)
    return cache


def expanded(net: Net, cache: Any, rows: int) -> Any:
    """A new cache that shows `cache`'s one row to each of `rows` rows; no copy, and gradients add up."""
    from transformers.cache_utils import DynamicCache

    wide = DynamicCache(config=net.model.config)
    for index, layer in enumerate(cache.layers):
        wide.update(
            layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), layer_idx=index
        )
    return wide


def hidden(net: Net, ids_BT: Tensor, prefix: int = 0) -> Tensor:
    """hidden_BSD, S = T - prefix: the decoder's last states after the first `prefix` tokens all rows share.

    The prefix is run once and its keys and values shown to every row: the same numbers, fewer products,
    and autograd sums the rows' gradients into it.
    """
    if not prefix or not net.shares_prefix:
        whole_BTD: Tensor = net.decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
        return whole_BTD[:, prefix:]
    cache = expanded(net, prefix_cache(net, ids_BT[0, :prefix]), len(ids_BT))
    output = net.decoder(input_ids=ids_BT[:, prefix:], past_key_values=cache, use_cache=True)
    hidden_BSD: Tensor = output.last_hidden_state
    return hidden_BSD


def target_logits(net: Net, ids_BT: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """logits_NV (float32) and labels_N of the trained positions only; the head runs nowhere else."""
    next_BT = labels_BT[:, 1:]
    trained_BT = next_BT != IGNORED
    if net.head is None:
        logits_BTV = net.model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        return logits_BTV[trained_BT].float(), next_BT[trained_BT]
    hidden_BTD = hidden(net, ids_BT)[:, :-1]
    return net.head(hidden_BTD[trained_BT]).float(), next_BT[trained_BT]


def line_logits(net: Net, layout: Layout) -> Tensor:
    """logits_NV (float32) of the layout's targets, in its order; no row of a line sees another."""
    return logits_at(net, layout.ids_LT, layout.positions_LT, layout.at_N, **varlen(layout, net.model))


def shared_logits(net: Net, line: Line) -> Tensor:
    """logits_NV (float32) of the targets of rows behind their shared start, row after row."""
    return logits_at(net, line.ids_1T, line.positions_1T, line.at_N, line=line)


def logits_at(net: Net, ids_LT: Tensor, positions_LT: Tensor, at_N: Tensor, **told: Any) -> Tensor:
    """logits_NV (float32) at `at_N`, flat in L x T. `told`: what the attention has to know."""
    state = {"input_ids": ids_LT, "position_ids": positions_LT, "use_cache": False, **told}
    if net.head is None:
        whole_MV: Tensor = net.model(**state).logits.flatten(0, 1)
        return whole_MV[at_N].float()
    hidden_MD = net.decoder(**state).last_hidden_state.flatten(0, 1)
    logits_NV: Tensor = net.head(hidden_MD[at_N]).float()
    return logits_NV


def last_logits(net: Net, ids_BT: Tensor, **state: Any) -> Tensor:
    """logits_BV of the token after the last column. `state`: the decoder's cache, mask and positions."""
    if net.head is None:
        whole = net.model(input_ids=ids_BT, use_cache=True, logits_to_keep=1, **state)
        last_BV: Tensor = whole.logits[:, -1]
        return last_BV
    hidden_BTD = net.decoder(input_ids=ids_BT, use_cache=True, **state).last_hidden_state
    logits_BV: Tensor = net.head(hidden_BTD[:, -1])
    return logits_BV
