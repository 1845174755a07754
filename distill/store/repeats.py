"""Rows that say what another says: in the same words, nearly so, or with another answer.

Refuses to tell words apart by case, spaces and outer punctuation.
"""

from collections.abc import Collection, Sequence

from distill.score.text import normalised
from distill.store.near import NearIndex
from distill.types import Pair, Task, user_text

Words = tuple[tuple[str, str], ...]


def words(pair: Pair) -> Words:
    """What was said in a pair, in its normal form; the instruction is no part of it."""
    return tuple(
        (message.role, normalised(message.content)) for message in pair.messages if message.role != "system"
    )


def unique(pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs`, each input and answer once: the first of those that are the same in their normal form."""
    found: dict[tuple[Words, str], Pair] = {}
    for pair in pairs:
        found.setdefault((words(pair), normalised(pair.answer)), pair)
    return list(found.values())


def contradicted(pairs: Sequence[Pair]) -> list[str]:
    """The inputs, each once, that stand among `pairs` with more than one answer."""
    first: dict[Words, Pair] = {}
    found: dict[Words, str] = {}
    for pair in pairs:
        known = first.setdefault(words(pair), pair)
        if normalised(known.answer) != normalised(pair.answer):
            found.setdefault(words(pair), known.input)
    return list(found.values())


def trained_inputs(task: Task, pairs: Sequence[Pair]) -> set[str]:
    """All that the user had said before each answer that is trained on, normalised."""
    found = {normalised(pair.input) for pair in pairs}
    if task.kind in ("text", "chat"):
        for messages in (pair.messages for pair in pairs):
            places = [place for place, message in enumerate(messages) if message.role == "assistant"]
            found |= {normalised(user_text(messages[:place])) for place in places}
    return found


def near_copies(texts: Sequence[str], known: Collection[str], threshold: float) -> set[str]:
    """Those of `texts` that are like one of `known` by `threshold` or more (see `near.NearIndex`)."""
    index = NearIndex(threshold)
    for text in dict.fromkeys(texts):
        index.add(text, text)
    return {text for other in known for _, text in index.similar(other)} if len(index) else set()
