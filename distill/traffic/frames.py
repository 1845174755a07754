"""What is constant in a template's prompts, word for word, and what of a prompt stands in its place. Pure.

Refuses to lose text: a prompt that its template does not fit is one input, whole.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from distill.traffic.documents import END, MARK, MARKS, MOST_TOKENS, TOKEN, WIDTH, shingles
from distill.types import Message, Role

HOLE = "$input"
BELOW = "(given below)"
"""What stands in an instruction for variable text that goes into the input."""
ELLIPSIS = " … "
EXEMPLARS = 5
FITS = 0.8
"""Share of a template's prompts that a frame has to fit."""
TALKS = 0.2
"""Share of a template's prompts in which the user speaks again, from which they are conversations."""
ROLES: dict[str, Role] = {mark: role for role, mark in MARKS.items()}


class Frame(msgspec.Struct, frozen=True):
    """The constant `pieces` of a template's documents, in order; `prompt`: the same as turns, with HOLE.

    `chat`: the prompts are conversations, and only what stands before the user's first turn is constant.
    """

    pieces: tuple[str, ...] = ()
    prompt: tuple[Message, ...] = ()
    chat: bool = False

    @property
    def words(self) -> str:
        """The template's instruction: its system turn and its last user turn, an ellipsis for what varies."""
        text = ELLIPSIS.join(self.pieces)
        system, user, rest = text.partition(MARKS["user"])
        said = [system, "" if self.chat else (user + rest).rpartition(MARKS["user"])[2]]
        plain = (MARK.sub("", part).strip().strip(ELLIPSIS).strip() for part in said)
        return "\n\n".join(part for part in plain if part)

    @property
    def baseline(self) -> str:
        """The user's own prompt as one text: the system turn and the last user turn, "{input}" for HOLE."""
        said = [turn.content for turn in self.prompt if turn.role == "system"]
        said += [turn.content for turn in self.prompt if turn.role == "user"][-1:]
        return "\n\n".join(said).replace(HOLE, "{input}") if self.words else ""

    def split(self, messages: Sequence[Message], text: str) -> tuple[list[Message], bool]:
        """(The turns without the template, the last of them the input; whether the template fits).

        `text` is the document of `messages`.
        """
        turns = [message for message in messages if message.role != "system"]
        if self.chat:
            return turns, True
        slots = _slots(self.pieces, text)
        found = "\n\n".join(filter(None, (text[start:end].strip() for start, end in _regions(text, slots))))
        if slots is None or not found:
            return turns[-1:], False
        return [Message("user", found)], True


def frame_of(texts: Sequence[str], core: Collection[int], ids: Mapping[str, int]) -> Frame:
    """The frame that fits most of a template's documents, `core` being its constant shingles."""
    import numpy

    known = numpy.fromiter(core, dtype=numpy.uint64, count=len(core))
    # The shortest prompts have the least of their own in them.
    exemplars = sorted(set(texts), key=lambda text: (len(text), text))[:EXEMPLARS]
    tried = [(pieces, text) for text in exemplars if (pieces := _pieces(text, known, ids))]
    scored = [
        (sum(_slots(pieces, other) is not None for other in texts), pieces, text) for pieces, text in tried
    ]
    fits, pieces, text = max(scored, key=lambda each: each[0], default=(0, (), exemplars[0]))
    if fits < FITS * len(texts):
        return Frame(prompt=(Message("user", HOLE),), chat=_talk(texts, ()))
    chat = _talk(texts, pieces)
    return Frame(pieces, _prompt(text, pieces, keep_user=not chat), chat)


def _pieces(text: str, core: Any, ids: Mapping[str, int]) -> tuple[str, ...]:
    """The runs of constant tokens in a document, as they are written in it."""
    import numpy

    found = list(TOKEN.finditer(text))
    if len(found) > sum(MOST_TOKENS):
        return ()
    covered = numpy.zeros(len(found) + 1, dtype=bool)
    for place in numpy.flatnonzero(
        numpy.isin(shingles([each.group() for each in found], ids), core)
    ).tolist():
        covered[place : place + WIDTH] = True
    pieces, start = [], None
    for place in range(len(found) + 1):
        if covered[place] and start is None:
            start = place
        elif not covered[place] and start is not None:
            pieces.append(text[found[start].start() : found[place - 1].end()])
            start = None
    return tuple(pieces)


def _slots(pieces: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where the variable text stands: before, between and behind the pieces; None where they do not fit."""
    slots, place = [], 0
    for piece in pieces:
        last = piece is pieces[-1] and piece.endswith(END)
        start = text.rfind(piece, place) if last else text.find(piece, place)
        if start < 0:
            return None
        slots.append((place, start))
        place = start + len(piece)
    slots.append((place, len(text) - 1))
    within = [part for start, end in slots for part in _between_marks(text, start, end)]
    return [(start, end) for start, end in within if text[start:end].strip()]


def _between_marks(text: str, start: int, end: int) -> list[tuple[int, int]]:
    marks = [found.start() for found in MARK.finditer(text, start, max(start, end))]
    starts = [start, *(mark + 1 for mark in marks)]
    return list(zip(starts, [*marks, end], strict=True))


def _regions(text: str, slots: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
    """One stretch of each turn, first slot to last; where it has several, from the start of their line."""
    regions: list[tuple[int, int, int]] = []
    for start, end in slots or ():
        turn = max(text.rfind(mark, 0, start + 1) for mark in MARKS.values())
        if regions and regions[-1][0] == turn:
            first = regions[-1][1]
            line = max(turn, text.rfind("\n", turn + 1, first))
            regions[-1] = (turn, line + 1, end)
        else:
            regions.append((turn, start, end))
    return [(start, end) for _, start, end in regions]


def _talk(texts: Sequence[str], pieces: Sequence[str]) -> bool:
    """Whether the user speaks more than once in what is variable of these documents."""

    def varying(text: str) -> int:
        slots = _slots(pieces, text)
        if slots is None:
            return text.count(MARKS["user"])
        turns = {max((text.rfind(mark, 0, start + 1), mark) for mark in ROLES) for start, _ in slots}
        return sum(mark == MARKS["user"] for _, mark in turns)

    return sum(varying(text) > 1 for text in texts) >= TALKS * len(texts)


def _prompt(text: str, pieces: Sequence[str], *, keep_user: bool) -> tuple[Message, ...]:
    """The template as turns: HOLE where the last variable text stands, BELOW for any before it."""
    regions = _regions(text, _slots(pieces, text))
    for place, (start, end) in reversed(list(enumerate(regions))):
        hole = HOLE if place == len(regions) - 1 else BELOW
        before = text[start:end]
        lead = before[: len(before) - len(before.lstrip())]
        trail = before[len(before.rstrip()) :]
        text = text[:start] + lead + hole + trail + text[end:]
    marks = list(MARK.finditer(text))
    turns = [
        Message(ROLES[mark.group()], text[mark.end() : after.start()].strip())
        for mark, after in itertools.pairwise(marks)
    ]
    return tuple(turn for turn in turns if turn.content and (keep_user or turn.role == "system"))
