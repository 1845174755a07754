"""How two pieces of text are told to be the same: one normal form, and one way to cut words.

Refuses `str.split` on scripts written without spaces: Chinese, Japanese, Thai and their like are cut by
character.
"""

import re
import unicodedata

from distill.tongue import UNSPACED as UNSPACED

TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")

# Only what quotes or ends a sentence: stripping '-', '%' or '+' would make -5 equal 5.
QUOTES = " \"'`*\u201c\u201d\u2018\u2019\u00ab\u00bb"
OPENING = QUOTES + "([{\u300c\u300e\u3010\u300a\u00bf\u00a1"
CLOSING = QUOTES + ")]},;:.!?\u300d\u300f\u3011\u300b\u3001\u3002\u2026"


def normalised(text: str) -> str:
    """`text` so that equal means the same: NFKC, casefolded, single spaces, no outer punctuation."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.lstrip(OPENING).rstrip(CLOSING) or folded


def tokens(text: str) -> list[str]:
    """The words of `text`, normalised and without punctuation; single characters in unspaced scripts."""
    clean = normalised(text)
    neighbours = zip(" " + clean, clean, clean[1:] + " ", strict=False)
    return TOKEN.findall("".join(around[1] if _in_word(*around) else " " for around in neighbours))


def _in_word(before: str, char: str, after: str) -> bool:
    # Marks (category M) are vowels in Hindi, Arabic and Thai, though isalnum() says no to them.
    if char.isalnum() or unicodedata.category(char)[0] == "M":
        return True
    if char == "-":
        return before == " " and after.isdigit()
    return char in ".," and before.isdigit() and after.isdigit()
