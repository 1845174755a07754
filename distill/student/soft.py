"""The teacher's own probabilities as targets: its top tokens at each position of an answer, the rest as one.

Refuses to guess at tokens: a row whose answer the teacher did not write in the student's very tokens keeps
its hard labels alone, and that is counted.
"""

import math
from collections import ChainMap, Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.errors import DataError
from distill.student.chat import Chat
from distill.student.encode import IGNORED, Row
from distill.student.forward import Net
from distill.student.loss import loss_sum, predicted
from distill.types import Pair

END = "\0end"  # what the chosen end of turn is called here
SURPLUS = 1.01
"""Sum of a position's probabilities above which they are none; rounding alone gives a little over 1."""


@dataclass(frozen=True, slots=True)
class Top:
    """What the teacher thought at a row's target number `at`: its top tokens that the student has too.

    `probabilities` are of `ids`; what they lack of 1 is the tail, on every other token together.
    """

    at: int
    ids: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Targets:
    """The tops of each row that has some, by its id; `hard` are the rows that have none, by the reason."""

    tops: Mapping[str, tuple[Top, ...]]
    hard: Mapping[str, int]

    def sentence(self) -> str:
        """How many rows learn from what."""
        rest = "".join(f"; {count:,} from the hard label alone ({why})" for why, count in self.hard.items())
        return f"soft targets: {len(self.tops):,} rows learn from the teacher's probabilities too{rest}"

    def checked(self) -> "Targets":
        """These. Raises DataError where no row has any."""
        if self.tops:
            return self
        reasons = "; ".join(f"{count:,} rows: {why}" for why, count in self.hard.items())
        raise DataError(
            f"no row can use the teacher's probabilities ({reasons})",
            where="--kd-weight",
            hint="generate --logprobs K with a teacher that shares the student's tokenizer, or leave it out",
        )


def targets_for(
    weight: float, chat: Chat, rows: Sequence[Row], pairs: Sequence[Pair], say: Callable[[str], None]
) -> Targets | None:
    """What `rows` learn of their pairs' logprobs, said and checked; None at weight 0. Raises DataError."""
    if not weight:
        return None
    found = targets(chat, rows, pairs).checked()
    say(found.sentence())
    return found


def targets(chat: Chat, rows: Sequence[Row], pairs: Sequence[Pair]) -> Targets:
    """What `rows`, encoded from `pairs`, can learn of the logprobs that came with the pairs."""
    stored = {pair.id: pair.logprobs for pair in pairs}
    if not any(stored.values()):
        return Targets({}, {"no logprobs stored": len(rows)})
    known, tops, hard = vocabulary(chat), {}, Counter[str]()
    for row in rows:
        found = matched(chat, row, stored.get(row.id) or {}, known)
        if isinstance(found, str):
            hard[found] += 1
        else:
            tops[row.id] = found
    return Targets(tops, dict(hard.most_common()))


def vocabulary(chat: Chat) -> dict[str, int]:
    """The token that reads as a text, of texts that one token alone reads as."""
    texts = [chat.text([number]) for number in range(len(chat.tokenizer))]
    count = Counter(texts)
    return {text: number for number, text in enumerate(texts) if text and count[text] == 1}


def matched(
    chat: Chat, row: Row, logprobs: Mapping[str, Any], known: dict[str, int]
) -> tuple[Top, ...] | str:
    """The tops at the row's last answer, or why there are none.

    The teacher's tokens must be the answer's, one to one. Its end of turn is the token that ends its answer,
    where the endpoint tells of it; where the teacher went on, the end of turn is learned hard.
    """
    tokens, top = logprobs.get("tokens"), logprobs.get("top")
    if not tokens or not top or len(tokens) != len(top):
        return "no logprobs stored"
    own = [label for label in row.labels if label != IGNORED]
    first = len(own) - row.answer_tokens[-1]
    answer, stop = own[first:-1], own[-1]
    if list(tokens[: len(answer)]) != [chat.text([number]) for number in answer]:
        return "the teacher's tokens are not the student's"
    found = [
        top_of(first + at, top[at], ChainMap({tokens[at]: number}, known)) for at, number in enumerate(answer)
    ]
    if len(tokens) == len(answer) + 1 and tokens[-1] in ("", chat.text([stop])):
        found.append(top_of(first + len(answer), named_end(logprobs), ChainMap({END: stop}, known)))
    usable = tuple(each for each in found if each is not None)
    return usable if usable else "no probabilities at its answer"


def named_end(logprobs: Mapping[str, Any]) -> list[Any]:
    """The last position's top, with the token that was chosen called END.

    Endpoints write tokens that end a turn as nothing, several of them alike: the chosen one is known by its
    logprob, and the others belong to the tail.
    """
    token, chosen = logprobs["tokens"][-1], logprobs["logprobs"][-1]
    names = [END if (text, value) == (token, chosen) else text for text, value in logprobs["top"][-1]]
    return [[name, value] for name, (_, value) in zip(names, logprobs["top"][-1], strict=True)]


def top_of(at: int, top: Sequence[Sequence[Any]], known: Mapping[str, int]) -> Top | None:
    """`top` as the student's ids; None where these are no probabilities."""
    shares = {known[text]: math.exp(value) for text, value in top if text in known}
    total = sum(shares.values())
    if not shares or total > SURPLUS:
        return None
    scale = max(1.0, total)
    return Top(at, tuple(shares), tuple(share / scale for share in shares.values()))


def divergence(logits_MV: Tensor, tops: Sequence[Top]) -> Tensor:
    """KL(teacher ‖ student) in nats at each of M positions, over the top tokens and the tail as one: (M,).

    Forward KL, as Hinton et al. 2015 at temperature 1. A teacher that is sure gives the cross-entropy.
    """
    width = max(len(top.ids) for top in tops)
    # Padding repeats a token with probability 0: it changes neither the sum nor what the tail is.
    ids_MK = torch.tensor([top.ids + top.ids[:1] * (width - len(top.ids)) for top in tops])
    shares_MK = torch.tensor([top.probabilities + (0.0,) * (width - len(top.ids)) for top in tops])
    ids_MK, shares_MK = ids_MK.to(logits_MV.device), shares_MK.to(logits_MV.device)
    log_MV = logits_MV.log_softmax(-1)
    listed_MV = torch.zeros_like(log_MV, dtype=torch.bool).scatter_(1, ids_MK, value=True)
    tail_M = log_MV.masked_fill(listed_MV, -torch.inf).logsumexp(-1)
    student_MC = torch.cat([log_MV.gather(1, ids_MK), tail_M[:, None]], 1)
    rest_M1 = (1 - shares_MK.sum(1, keepdim=True)).clamp(min=0)
    teacher_MC = torch.cat([shares_MK, rest_M1], 1)
    return (torch.xlogy(teacher_MC, teacher_MC) - teacher_MC * student_MC).sum(1)


def loss_with(soft: Targets | None, weight: float) -> Callable[[Net, Sequence[Row], int], Tensor]:
    """`loss.loss_sum`, and with targets (1 - weight) * cross-entropy + weight * KL where a row has tops."""
    if soft is None:
        return loss_sum
    tops_of = soft.tops

    def mixed(net: Net, rows: Sequence[Row], pad: int) -> Tensor:
        logits_NV, labels_N = predicted(net, rows, pad)
        hard_N = torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="none")
        places: list[int] = []
        tops: list[Top] = []
        start = 0
        for row in rows:
            own = tops_of.get(row.id, ())
            places += [start + top.at for top in own]
            tops += own
            start += row.target_tokens
        if not tops:
            return hard_N.sum()
        at_M = torch.tensor(places, device=logits_NV.device)
        soft_M = divergence(logits_NV[at_M], tops)
        return hard_N.sum() + weight * (soft_M - hard_N[at_M]).sum()

    return mixed


def counts(soft: Targets | None) -> dict[str, Any]:
    """What metrics.json says of them; nothing where none were wanted."""
    return {"soft_targets": {"rows": len(soft.tops), "hard": dict(soft.hard)}} if soft else {}
