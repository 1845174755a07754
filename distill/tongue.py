"""Which language a text is in: by its script, then by Compact Language Detector 2 (pycld2).

Refuses to guess: a short text, or one the model is not sure of, is in no language ("").
"""

import re
from collections.abc import Sequence

SCRIPTS = {
    "Han": re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "kana": re.compile("[\u3041-\u3096\u30a1-\u30fa]"),
    "Hangul": re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]"),
    "Cyrillic": re.compile("[\u0400-\u052f]"),
    "Arabic": re.compile("[\u0620-\u064a\u066e-\u06d3\u0750-\u077f]"),
    "Hebrew": re.compile("[\u05d0-\u05ea]"),
    "Greek": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "Thai": re.compile("[\u0e01-\u0e2e]"),
    "Devanagari": re.compile("[\u0904-\u0939]"),
    "Latin": re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
}
# Han (with extensions), kana, bopomofo, Thai, Lao, Myanmar, Khmer: written without spaces between words.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
DENSE = ("Han", "kana", "Hangul")
"""A character of these says about as much as two letters."""
LATIN = (
    "en de fr es it pt nl sv da no nb nn fi pl cs sk hu ro hr sl tr vi id ms ca et lv lt is ga cy sq eu gl"
)
WRITTEN_IN: dict[str, tuple[str, ...]] = {
    "zh": ("Han",),
    "ja": ("kana", "Han"),
    "ko": ("Hangul",),
    "he": ("Hebrew",),
    "el": ("Greek",),
    "th": ("Thai",),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk"), ("Cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("Arabic",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("Devanagari",)),
    **dict.fromkeys(LATIN.split(), ("Latin",)),
}
ALONE = ("zh", "ja", "ko", "he", "el", "th")
"""Languages that their script gives away."""
KINDRED = (
    ("zh", "yue", "wuu"),
    ("no", "nb", "nn", "da"),
    ("sr", "hr", "bs"),
    ("id", "ms"),
    ("en", "sco"),
)
SURE = 90
"""Percent of a text in one language from which it is in that language."""
LETTERS, LATIN_LETTERS, OTHER_LETTERS = 20, 12, 4
UNMIXED = 0.7
"""Share of a text in its language's own scripts from which it is not mixed."""


def classified(text: str) -> str:
    """The language that nearly all of `text` surely is in (ISO 639-1), or ""."""
    import pycld2

    try:
        reliable, _, found = pycld2.detect(text.encode("utf-8", "replace"), isPlainText=True)
    except pycld2.error:  # control characters in it
        return ""
    _, code, percent, _ = found[0]
    return code if reliable and percent >= SURE and code in WRITTEN_IN else ""


def base(name: str) -> str:
    """The language in a tag as "zh-CN" or "de_AT": "zh", "de"."""
    return re.split("[-_]", name.casefold())[0]


def known(code: str) -> bool:
    """Whether `code` (ISO 639-1, lower case) is a language that can be told."""
    return code in WRITTEN_IN


def kindred(code: str) -> Sequence[str]:
    """`code` and the languages that are too like it to tell apart in a sentence."""
    return next((group for group in KINDRED if code in group), (code,))


def scripts(text: str) -> dict[str, int]:
    """Script -> how much of it `text` holds, in letters; a dense script's character counts twice."""
    if text.isascii():
        return {"Latin": len(SCRIPTS["Latin"].findall(text))}
    found = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    return {name: count * (2 if name in DENSE else 1) for name, count in found.items() if count}


def detect(text: str) -> str:
    """The language of `text` (ISO 639-1), or "" where that is not sure."""
    found = scripts(text)
    if not found or sum(found.values()) < OTHER_LETTERS:
        return ""
    most = max(found, key=lambda name: found[name])
    if most in ("Han", "kana"):
        return "ja" if found.get("kana", 0) > 0.1 * found.get("Han", 0) else "zh"
    alone = [code for code in ALONE if most in WRITTEN_IN[code]]
    if alone:
        return alone[0]
    if found[most] < LETTERS:
        return ""
    return classified(text)


def unmixed(text: str) -> str:
    """As `detect`, and "" too where other scripts are mixed in, or where Han alone may be Japanese."""
    found, code = scripts(text), detect(text)
    own = sum(found.get(name, 0) for name in WRITTEN_IN.get(code, ()))
    if not code or own < UNMIXED * sum(found.values()):
        return ""
    return "" if code == "zh" and not _simplified(text) and classified(text) != "zh" else code


def _simplified(text: str) -> bool:
    """Whether a Han character of `text` is written in China's standard (GB 2312) and not in Japan's (JIS)."""
    return any(_has("gb2312", each) and not _has("shift_jis", each) for each in SCRIPTS["Han"].findall(text))


def _has(encoding: str, character: str) -> bool:
    return bool(character.encode(encoding, "ignore"))


def other_than(code: str, text: str) -> str:
    """What `text` is written in where that surely is not `code`: a script or a language; "" else."""
    found = scripts(text)
    own, total = sum(found.get(name, 0) for name in WRITTEN_IN.get(code, ())), sum(found.values())
    if code in WRITTEN_IN and own < 0.2 * total:
        most = max(found, key=lambda name: found[name])
        enough = LATIN_LETTERS if most == "Latin" else OTHER_LETTERS
        return f"{most} script" if found[most] >= enough else ""
    kana = found.get("kana", 0)
    if code == "zh":
        return "kana" if kana >= 6 and kana > 0.2 * own else ""
    if (code in ALONE and code != "ja") or kana or total < LETTERS:
        return ""
    first = classified(text)
    return f"'{first}'" if first and first not in kindred(code) else ""
