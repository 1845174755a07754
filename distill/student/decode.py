"""Greedy decoding: the shared start run once, rows that are done replaced by rows that wait. Holds no text.

Refuses to sample: the same weights and prompt give the same answer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from distill.student.batches import pad_left, shared_prefix
from distill.student.chat import Chat
from distill.student.choices import Choices
from distill.student.forward import Net, expanded, has_plain_cache, last_logits, prefix_cache

PASS_TOKENS = (512, 16384)
"""Prompt tokens run at once, on a CPU (more fall out of its caches: dev/LOG.md) and on a GPU."""


ROUNDINGS = 1
"""Two next ids whose logits are no more roundings apart may change places with the order of the products."""


@dataclass(frozen=True)
class Start:
    """The tokens all prompts start with, run: how many, and their keys and values (batch 1)."""

    length: int
    cache: Any


@dataclass
class Going:
    """A row being answered: which prompt, its new ids so far and the logarithm of their probability.

    `unsure`: how many of them there are up to the last one that rounding alone may have chosen.
    """

    index: int
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    unsure: int = 0
    began: float = field(default_factory=time.perf_counter)


@dataclass
class Flight:
    """Rows in one batch, with their keys and values; mask_BK is 1 where a key is real, None: everywhere."""

    rows: list[Going]
    cache: Any
    mask_BK: Tensor | None


@dataclass
class Decoding:
    """All `prompts` on their way to an answer, `width` at a time, in the order given: put the longest first.

    Each `step` is one pass of the model and gives the rows that it ended: a stop id stands last where one
    came within `room` ids. With `choices` a row ends as soon as no two of them begin as it does, and its
    probability is that among them.
    """

    net: Net
    prompts: Sequence[Sequence[int]]
    start: Start
    stops: frozenset[int]
    pad: int
    room: int
    width: int
    choices: Choices | None = None
    flight: Flight | None = None
    begun: int = 0
    joins: bool = False

    def __post_init__(self) -> None:
        # A sliding window or a recurrent state cannot be filled up on the left.
        self.joins = has_plain_cache(self.net.model)

    @property
    def going(self) -> bool:
        """Whether a row is not answered yet."""
        return self.flight is not None or self.begun < len(self.prompts)

    def step(self) -> list[Going]:
        """Start rows where half of the places are free, else give each row under way its next id."""
        free = self.width - (len(self.flight.rows) if self.flight else 0)
        waiting = self.begun < len(self.prompts)
        if self.flight is None or (waiting and self.joins and 2 * free >= self.width):
            ended, flight = self._landed(self._launch(free))
            self.flight = joined(self.flight, flight) if self.flight and flight else self.flight or flight
        else:
            ended, self.flight = self._landed(self._advance(self.flight))
        return ended

    def _launch(self, free: int) -> Flight:
        longest = len(self.prompts[self.begun]) - self.start.length
        most = max(1, PASS_TOKENS[self.net.model.device.type != "cpu"] // longest)
        end = min(self.begun + min(free, most), len(self.prompts))
        rows = [Going(index) for index in range(self.begun, end)]
        self.begun += len(rows)
        rest = [self.prompts[row.index][self.start.length :] for row in rows]
        ids_BT, mask_BT = (tensor.to(self.net.model.device) for tensor in pad_left(rest, self.pad))
        return self._passed(first(self.net, self.start, rows, mask_BT), ids_BT)

    def _advance(self, flight: Flight) -> Flight:
        ids_BT = torch.tensor([row.ids[-1:] for row in flight.rows], device=self.net.model.device)
        if flight.mask_BK is not None:
            flight.mask_BK = torch.cat([flight.mask_BK, flight.mask_BK.new_ones(len(ids_BT), 1)], dim=1)
        return self._passed(flight, ids_BT)

    def _passed(self, flight: Flight, ids_BT: Tensor) -> Flight:
        """`flight` after a pass: one more id in each row."""
        mask_BK, positions_BT = flight.mask_BK, None
        if mask_BK is not None:
            positions_BT = (mask_BK.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        state = {"past_key_values": flight.cache, "attention_mask": mask_BK, "position_ids": positions_BT}
        rounded_BV = last_logits(self.net, ids_BT, **state)
        logits_BV = rounded_BV.float()
        if self.choices:
            logits_BV = self.choices.only(logits_BV, [row.ids for row in flight.rows])
        best_B = logits_BV.argmax(-1)
        sure_B = logits_BV.gather(1, best_B[:, None])[:, 0] - logits_BV.logsumexp(-1)
        for row, token, logprob in zip(flight.rows, best_B.tolist(), sure_B.tolist(), strict=True):
            row.ids.append(token)
            row.logprob += logprob
        if logits_BV.device.type == "cpu":  # elsewhere nobody asks
            for row, is_unsure in zip(
                flight.rows, hangs_on_rounding(logits_BV, rounded_BV.dtype).tolist(), strict=True
            ):
                row.unsure = len(row.ids) if is_unsure else row.unsure
        if self.choices:
            for row in flight.rows:
                row.ids += self.choices.settled(row.ids)
        return flight

    def _landed(self, flight: Flight) -> tuple[list[Going], Flight | None]:
        """(rows that are done, the flight of the others)."""
        done = [row.ids[-1] in self.stops or len(row.ids) >= self.room for row in flight.rows]
        ended = [row for row, is_done in zip(flight.rows, done, strict=True) if is_done]
        keep = [place for place, is_done in enumerate(done) if not is_done]
        if not keep:
            return ended, None
        return ended, kept(flight, keep) if ended else flight


def hangs_on_rounding(logits_BV: Tensor, dtype: torch.dtype) -> Tensor:
    """unsure_B: whether the second best id is within `ROUNDINGS` last places of the best in that arithmetic.

    Rounding further up, which moves small logits by more than their own last place, is not seen.
    """
    best_B, at_B = logits_BV.max(-1)
    second_B = logits_BV.scatter(1, at_B[:, None], -torch.inf).amax(-1)
    last_place_B = torch.finfo(dtype).eps * torch.exp2(best_B.abs().log2().floor())
    return best_B - second_B <= ROUNDINGS * last_place_B


def alone(decoding: Decoding, row: Going) -> Going:
    """`row`, or what its prompt gets by itself where that is something else up to the last unsure id.

    No pass is run after that one where it is the same; then the probability stays what it was, too. How the
    model is set to run meanwhile is the caller's.
    """
    prompt = decoding.prompts[row.index]
    one = replace(decoding, prompts=[prompt], start=Start(0, None), width=1, flight=None, begun=0)
    while True:
        ended = one.step()
        (now,) = ended or (one.flight.rows if one.flight else [])
        if len(now.ids) >= row.unsure and now.ids == row.ids[: len(now.ids)]:
            return row
        if ended:
            return replace(now, index=row.index, began=row.began)


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


def first(net: Net, start: Start, rows: list[Going], mask_BT: Tensor) -> Flight:
    """`rows` before their first pass; no mask where no row is padded."""
    from transformers.cache_utils import DynamicCache

    cache = expanded(net, start.cache, len(rows)) if start.length else DynamicCache(config=net.model.config)
    if bool(mask_BT.all()):
        return Flight(rows, cache, None)
    return Flight(rows, cache, torch.cat([mask_BT.new_ones(len(rows), start.length), mask_BT], dim=1))


def kept(flight: Flight, keep: list[int]) -> Flight:
    """`flight` of the rows at those places alone."""
    keep_B = torch.tensor(keep, device=flight.cache.layers[0].keys.device)
    flight.cache.batch_select_indices(keep_B)
    mask_BK = None if flight.mask_BK is None else flight.mask_BK[keep_B]
    return Flight([flight.rows[place] for place in keep], flight.cache, mask_BK)


def joined(one: Flight, other: Flight) -> Flight:
    """Both in one batch: the shorter is filled up on the left with keys that nothing sees."""
    lengths = [flight.cache.get_seq_length() for flight in (one, other)]
    width = max(lengths)
    masks = [
        torch.nn.functional.pad(real(flight), (width - length, 0))
        for flight, length in zip((one, other), lengths, strict=True)
    ]
    for mine, theirs in zip(one.cache.layers, other.cache.layers, strict=True):
        for name in ("keys", "values"):
            parts = [
                torch.nn.functional.pad(getattr(layer, name), (0, 0, width - length, 0))
                for layer, length in zip((mine, theirs), lengths, strict=True)
            ]
            setattr(mine, name, torch.cat(parts))
    return Flight([*one.rows, *other.rows], one.cache, torch.cat(masks))


def real(flight: Flight) -> Tensor:
    """mask_BK, written out where it is 1 everywhere."""
    if flight.mask_BK is not None:
        return flight.mask_BK
    keys = flight.cache.layers[0].keys
    return torch.ones(len(flight.rows), flight.cache.get_seq_length(), dtype=torch.long, device=keys.device)
