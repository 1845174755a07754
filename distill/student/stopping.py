"""The stop audit: does a trained student end its answers by itself, and how long are they?

Refuses to judge a student by rows that leave it no room to answer in.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from distill.errors import DeviceError
from distill.score.stats import wilson
from distill.student.asking import answers, with_room
from distill.types import Pair

if TYPE_CHECKING:
    from distill.student.causal import CausalStudent
    from distill.student.chat import Chat
    from distill.student.loop import Learner

LEAST = 0.95
"""The share of answers that must end by themselves."""
AUDITED = 64
"""Rows answered: three of them may run on."""
ROOM, SPARE = 2, 16
"""An answer may be ROOM times the longest of the teacher's, and SPARE tokens more, before it is cut."""


class Stops(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` greedy answers the share that ended by themselves (95% Wilson), and how long they are.

    `length_ratio`: the student's tokens over the teacher's, end of turn included, all rows together.
    `split`: where the rows are from. `skipped`: why there was no audit; then nothing else is known.
    """

    share: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    split: str = ""
    length_ratio: float | None = None
    room_tokens: int = 0
    least: float = LEAST
    skipped: str = ""


def after_training(
    learner: "Learner", chat: "Chat", label: str, split: tuple[Sequence[Pair], Sequence[Pair]]
) -> dict[str, Any]:
    """The audit of what `learner` holds, on (train, valid) pairs as they were trained; `Stops` as a dict."""
    from distill.student.causal import CausalStudent
    from distill.student.forward import choose_attention, open_net

    if not any(split):
        return msgspec.to_builtins(Stops(skipped="raw texts have no answers"))  # type: ignore[no-any-return]
    (learner.whole or learner.net.model).eval()
    choose_attention(learner.net.model, 0)  # that of packed rows has no shared start
    with learner.device.autocast():
        net = open_net(learner.net.model)
    found = audit(CausalStudent(label, net, chat, learner.device), *split)
    return msgspec.to_builtins(found)  # type: ignore[no-any-return]


def audit(student: "CausalStudent", train: Sequence[Pair], valid: Sequence[Pair]) -> Stops:
    """Answer up to AUDITED rows of `valid`, else of `train`, greedily."""
    chosen, room = audited(student, spread(valid or train, AUDITED))
    if not chosen:
        return Stops(skipped="no row leaves room for an answer twice as long as the teacher's")
    try:
        found = answers(student, chosen, room)
    except DeviceError:
        return Stops(skipped="out of memory with a single answer")
    share = wilson(sum(answer.finish_reason == "stop" for answer in found), len(found))
    said = sum(answer.tokens for answer in found)
    return Stops(
        share=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        split="valid" if valid else "train",
        length_ratio=said / sum(taught_tokens(student, pair) for pair in chosen),
        room_tokens=room,
    )


def audited(student: "CausalStudent", pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
    """The pairs that leave room within the student's context, and that room in tokens."""
    room = ROOM * max(taught_tokens(student, pair) for pair in pairs) + SPARE
    return with_room(student, pairs, room), room


def taught_tokens(student: "CausalStudent", pair: Pair) -> int:
    """How long the teacher's answer is with its end of turn, as the student's tokenizer counts."""
    return len(student.chat.tokenizer(pair.answer, add_special_tokens=False)["input_ids"]) + 1


def spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most `most` of `pairs`, evenly over their order."""
    step = max(1.0, len(pairs) / most)
    return [pairs[int(place * step)] for place in range(min(most, len(pairs)))]


def failed(summary: Mapping[str, Any]) -> bool:
    """Whether a finetune summary's audit found that too many answers run on."""
    share = (summary.get("stops") or {}).get("share")
    return share is not None and bool(share < LEAST)


def sentence(stops: Mapping[str, Any]) -> str:
    """ "100.0% of the answers to 64 valid rows end by themselves (94.3 to 100.0); …"."""
    if stops["skipped"]:
        return f"Stop audit: not applicable ({stops['skipped']})"
    return (
        f"Stop audit: {stops['share']:.1%} of the answers to {stops['n']} {stops['split']} rows end by"
        f" themselves ({100 * stops['low']:.1f} to {100 * stops['high']:.1f}), {stops['length_ratio']:.2f}"
        " times as long as the teacher's"
    )


def advice(stops: Mapping[str, Any]) -> str:
    """What to do where the audit failed."""
    return (
        f"Too few answers end by themselves: {stops['least']:.0%} must. The adapter is kept. Train longer"
        " (--epochs) or at a higher --learning-rate, give more pairs, and see in mask.txt that each answer's"
        " end-of-turn token is trained; a template without one needs --efficient-eos."
    )
