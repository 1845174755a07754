"""A request as one text with a mark before each turn, its tokens, and the numbers of its shingles. Pure.

Refuses to split words of scripts written without spaces: there every character is a token.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from distill.score.text import UNSPACED
from distill.types import Message, Role

MARKS: dict[Role, str] = {"system": "\ue000", "user": "\ue001", "assistant": "\ue002"}
"""Private-use characters that stand before a turn: a template often begins with one."""
END = "\ue003"
MARK = re.compile("[\ue000-\ue003]")
TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
UNSPACED_TOKEN = re.compile(rf"[{UNSPACED}]")
WIDTH = 3
"""Tokens in a shingle."""
MOST_TOKENS = (2000, 500)
"""Tokens looked at from the start and from the end of a longer request."""
FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Odd 64-bit constants (of xxHash and Knuth): a shingle's number is their weighted sum, modulo 2^64."""


def document(messages: Sequence[Message]) -> str:
    """The turns as one text."""
    parts = (MARKS[message.role] + MARK.sub("", message.content) for message in messages)
    return "".join(parts) + END


def fingerprint(text: str) -> int:
    """64 bits that depend on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def tokens(text: str) -> list[str]:
    """Words, signs and unspaced characters of a document; of a very long one its start and its end."""
    found = TOKEN.findall(text)
    start, end = MOST_TOKENS
    return found if len(found) <= start + end else found[:start] + found[-end:]


def weight(token: str) -> float:
    """How much of a word a token is: a character of an unspaced script half of one, a sign a quarter."""
    if UNSPACED_TOKEN.match(token):
        return 0.5
    return 1.0 if token.isalnum() or token in MARKS.values() else 0.25


def shingles(words: Sequence[str], ids: Mapping[str, int]) -> Any:
    """uint64 [len(words) - WIDTH + 1]: the number of each run of WIDTH tokens; unknown tokens are all 0."""
    import numpy

    numbers = numpy.fromiter((ids.get(word, 0) for word in words), dtype=numpy.uint64, count=len(words))
    length = max(0, len(words) - WIDTH + 1)
    total = numpy.zeros(length, dtype=numpy.uint64)
    for place, factor in enumerate(FACTORS):
        total += (numbers[place : place + length] + numpy.uint64(1)) * numpy.uint64(factor)
    return total
