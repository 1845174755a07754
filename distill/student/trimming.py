"""A conversation made to fit by its prompt alone. Refuses to touch the answer or the system prompt."""

from collections.abc import Callable

import msgspec

from distill.types import Message, Pair


def trimmed(pair: Pair, fits: Callable[[Pair], bool]) -> Pair | None:
    """`pair` with as little of its prompt gone as makes it fit; None where even an empty one does not.

    The earliest exchanges go first, whole (their answers with them: none is cut); then the last message
    loses its end.
    """
    head = tuple(message for message in pair.messages[:1] if message.role == "system")
    turns = pair.messages[len(head) :]
    while len(turns) > 1:
        turns = from_next_user(turns)
        if fits(shorter := msgspec.structs.replace(pair, messages=(*head, *turns))):
            return shorter
    last = turns[-1]

    def keeping(chars: int) -> Pair:
        cut = Message(last.role, last.content[:chars].rstrip())
        return msgspec.structs.replace(pair, messages=(*head, cut))

    low, high = 0, len(last.content)
    if not fits(keeping(low)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(keeping(middle)) else (low, middle)
    return keeping(low) if low else None


def from_next_user(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """`turns` without the first exchange: from the second user's turn on."""
    following = (at for at, turn in enumerate(turns) if at and turn.role == "user")
    return turns[next(following, len(turns) - 1) :]
