"""Rows behind a start that all of them share, as one line without padding: the start is run once a pass.

Each row attends to the start and, causally, to itself: the numbers are those of rows run apart, and the
gradients of all rows add up in the start. Refuses sliding windows, soft caps and sinks, which it has not.
Shapes in tensor names: T tokens of the line, P of the start, B rows, S tokens of the longest rest, H heads on
G key-value heads (C = H / G), D width of a head.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.student.batches import shared_prefix
from distill.student.encode import IGNORED, Row

NAME = "distill_shared"
MOST_SCORES = (
    1 << 16
)  # of a row and head, S x K, that are held whole: in longer rows torch's own way is faster


@dataclass(frozen=True)
class Line:
    """Rows as one line: the start (P tokens, may be 0), then what is left of each row.

    What comes after a row's last target is left out: nothing is learned from it. `at_N` are the places that
    the targets `labels_N` are predicted from, row after row. `rest_BS` are the places of each row's rest, its
    last repeated to the longest; `kept_M` are the places in B x S that are no repetition (None: all are).
    """

    ids_1T: Tensor
    positions_1T: Tensor
    at_N: Tensor
    labels_N: Tensor
    start: int
    rest_BS: Tensor
    kept_M: Tensor | None


def start_of(rows: Sequence[Row]) -> int:
    """Tokens all of `rows` start with, none trained from; 0 for one row, where sharing saves nothing."""
    if len(rows) < 2:
        return 0
    return max(0, min(shared_prefix([row.ids for row in rows]), min(row.spans[0][0] for row in rows) - 1))


def needed(row: Row) -> int:
    """How many of the row's tokens have to be run: those up to the one its last target is predicted from."""
    return row.spans[-1][1] - (row.stop is None)


def line_of(rows: Sequence[Row]) -> Line:
    """`rows` behind their start. None may be joined."""
    start = start_of(rows)
    rests = [needed(row) - start for row in rows]
    begins = [start + sum(rests[:number]) for number in range(len(rows))]
    ids, positions = list(rows[0].ids[:start]), list(range(start))
    targets: list[tuple[int, int]] = []
    for row, begin, rest in zip(rows, begins, rests, strict=True):
        ids += row.ids[start : start + rest]
        positions += range(start, start + rest)
        labelled = ((at, label) for at, label in enumerate(row.labels) if label != IGNORED)
        targets += [(begin + at - 1 - start, label) for at, label in labelled]
    longest = max(rests)
    places = [
        [begin + min(at, rest - 1) for at in range(longest)]
        for begin, rest in zip(begins, rests, strict=True)
    ]
    kept = [number * longest + at for number, rest in enumerate(rests) for at in range(rest)]
    return Line(
        torch.tensor([ids]),
        torch.tensor([positions]),
        torch.tensor([at for at, _ in targets]),
        torch.tensor([label for _, label in targets]),
        start,
        torch.tensor(places),
        torch.tensor(kept) if len(kept) < longest * len(rows) else None,
    )


@contextmanager
def attention(model: Any) -> Iterator[None]:
    """Within it `model` attends as `attend` does, afterwards as before. Raises NotImplementedError."""
    from transformers import AttentionInterface

    if not model._can_set_attn_implementation():
        raise NotImplementedError("an architecture whose attention is its own")
    AttentionInterface.register(NAME, attend)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def is_on(model: Any) -> bool:
    """Whether `model` is inside `attention`."""
    config = getattr(model, "config", None)  # a head on an encoder has none
    return config is not None and bool(config._attn_implementation == NAME)


def attend(
    module: torch.nn.Module,
    query_1HTD: Tensor,
    key_1GTD: Tensor,
    value_1GTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    line: Line | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention of a `Line`, as transformers calls it. Without one, torch's fused attention.

    Raises NotImplementedError.
    """
    if line is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        fused: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_1HTD, key_1GTD, value_1GTD, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return fused
    if dropout or sliding_window or more.get("softcap") or more.get("s_aux") is not None:
        raise NotImplementedError("attention dropout, sliding windows, soft caps and sinks")
    scale = query_1HTD.shape[-1] ** -0.5 if scaling is None else scaling
    longest = line.rest_BS.shape[1]
    attention = Attention.apply if longest * (line.start + longest) <= MOST_SCORES else by_torch
    out_THD: Tensor = attention(query_1HTD[0], key_1GTD[0], value_1GTD[0], line, scale)
    return out_THD[None], None


def by_torch(query_HTD: Tensor, key_GTD: Tensor, value_GTD: Tensor, line: Line, scale: float) -> Tensor:
    """out_THD by torch's fused attention, which holds no scores: for long rows."""
    keys, values = (behind(part.to(value_GTD.dtype), line).transpose(0, 1) for part in (key_GTD, value_GTD))
    queries = spread(query_HTD.to(value_GTD.dtype), line).transpose(0, 1)
    seen = ~future(queries.shape[2], keys.shape[2])
    fused = torch.nn.functional.scaled_dot_product_attention
    out_BHSD = fused(queries, keys, values, attn_mask=seen, scale=scale, enable_gqa=True)
    out_HTD = gathered(out_BHSD.transpose(0, 1), line)
    if line.start:
        query, key, value = (
            part[None, :, : line.start].to(value_GTD.dtype) for part in (query_HTD, key_GTD, value_GTD)
        )
        first_1HPD = fused(query, key, value, is_causal=True, scale=scale, enable_gqa=True)
        out_HTD = torch.cat([first_1HPD[0], out_HTD], dim=1)
    return out_HTD.transpose(0, 1)


def future(queries: int, keys: int) -> Tensor:
    """(S, K) True where a key comes after the query; queries are the last S of K positions."""
    return torch.ones(queries, keys, dtype=torch.bool).triu_(keys - queries + 1)


class Attention(torch.autograd.Function):
    """Softmax attention of a `Line`, products in the arithmetic in force and the softmax in float32."""

    @staticmethod
    def forward(
        ctx: Any, query_HTD: Tensor, key_GTD: Tensor, value_GTD: Tensor, line: Line, scale: float
    ) -> Tensor:
        """out_THD."""
        dtype, start = arithmetic(value_GTD), line.start
        query_HTD, key_GTD, value_GTD = (part.to(dtype) for part in (query_HTD * scale, key_GTD, value_GTD))
        out_HMD, *saved = rows_forward(
            spread(query_HTD, line), *(behind(part, line) for part in (key_GTD, value_GTD))
        )
        out_HTD = gathered(out_HMD, line)
        if start:
            parts = (part[:, None, :start] for part in (query_HTD, key_GTD, value_GTD))
            first_HBSD, *more = rows_forward(*parts)
            out_HTD = torch.cat([first_HBSD[:, 0], out_HTD], dim=1)
            saved += more
        ctx.save_for_backward(*saved)
        ctx.line, ctx.scale = line, scale
        return out_HTD.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of query, key and value."""
        line, start, saved = ctx.line, ctx.line.start, ctx.saved_tensors
        grad_HTD = grads[0].transpose(0, 1)
        query, *pair = rows_backward(spread(grad_HTD, line, fill=0.0), *saved[:4])
        query = gathered(query, line)
        rests = [gathered(part[:, :, start:], line) for part in pair]
        if start:
            first, *firsts = rows_backward(grad_HTD[:, None, :start], *saved[4:])
            query = torch.cat([first[:, 0], query], dim=1)
            rests = [
                torch.cat([one[:, 0] + part[:, :, :start].sum(1), rest], dim=1)
                for one, part, rest in zip(firsts, pair, rests, strict=True)
            ]
        return query * ctx.scale, *rests, None, None


def arithmetic(values: Tensor) -> torch.dtype:
    """What products run in: as autocast says, which the backward pass is not in; else as `values` are."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return values.dtype


def spread(part_XTD: Tensor, line: Line, fill: float | None = None) -> Tensor:
    """part_XBSD: each row's rest, its repetitions filled."""
    if line.kept_M is None:
        return part_XTD[:, line.start :].reshape(len(part_XTD), *line.rest_BS.shape, -1)
    if fill is None:
        return part_XTD[:, line.rest_BS]
    spread_XMD = part_XTD.new_full((len(part_XTD), line.rest_BS.numel(), part_XTD.shape[-1]), fill)
    spread_XMD[:, line.kept_M] = part_XTD[:, line.start :]
    return spread_XMD.view(len(part_XTD), *line.rest_BS.shape, -1)


def behind(part_GTD: Tensor, line: Line) -> Tensor:
    """part_GBKD, K = P + S: the start and each row's rest."""
    rest_GBSD = spread(part_GTD, line)
    first = part_GTD[:, None, : line.start].expand(-1, rest_GBSD.shape[1], -1, -1)
    return torch.cat([first, rest_GBSD], dim=2)


def gathered(part_XBSD: Tensor, line: Line) -> Tensor:
    """part_XMD: the rests behind one another, without repetitions."""
    part_XMD = part_XBSD.flatten(1, 2)
    return part_XMD if line.kept_M is None else part_XMD[:, line.kept_M]


def rows_forward(query_HBSD: Tensor, key_GBKD: Tensor, value_GBKD: Tensor) -> tuple[Tensor, ...]:
    """out_HBSD of queries that are the last S of K positions, and what `rows_backward` wants."""
    groups, rows, keys, width = key_GBKD.shape
    heads, _, length, _ = query_HBSD.shape
    query = query_HBSD.reshape(groups, -1, rows, length, width).transpose(1, 2)
    query = query.reshape(groups * rows, -1, width)
    key, value = key_GBKD.flatten(0, 1), value_GBKD.flatten(0, 1)
    scores = (query @ key.mT).float().view(groups * rows, -1, length, keys)
    scores = scores.masked_fill_(future(length, keys), -torch.inf)
    shares = scores.softmax(-1).to(query.dtype).flatten(1, 2)
    out = (shares @ value).view(groups, rows, heads // groups, length, width)
    return out.transpose(1, 2).flatten(0, 1), query, key, value, shares


def rows_backward(
    grad_HBSD: Tensor, query: Tensor, key: Tensor, value: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query_HBSD, key_GBKD and value_GBKD."""
    heads, rows, length, width = grad_HBSD.shape
    groups = len(key) // rows
    grad = grad_HBSD.reshape(groups, -1, rows, length, width).transpose(1, 2)
    grad = grad.reshape(groups * rows, -1, width)
    of_shares = (grad @ value.mT).mul_(shares)
    of_scores = of_shares - shares * of_shares.sum(-1, keepdim=True)
    of_query = (of_scores @ key).view(groups, rows, heads // groups, length, width)
    of_key, of_value = of_scores.mT @ query, shares.mT @ grad
    return (
        of_query.transpose(1, 2).flatten(0, 1),
        of_key.view(groups, rows, -1, width),
        of_value.view(groups, rows, -1, width),
    )
