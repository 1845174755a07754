"""Whether a free answer is right, checked without a model: the same number, or equal in normal form. Pure.

Refuses to know units: "12 km" and "12" are the same number.
"""

import re
import unicodedata
from fractions import Fraction

from distill.score.text import normalised
from distill.types import Task

NUMBER = re.compile(
    r"(?<![A-Za-z0-9_./])(?P<sign>[-+]?)(?:[$€£¥]\s?)?"
    r"(?:(?:(?P<whole>\d+) )?(?P<top>\d+) ?/ ?(?P<bottom>\d+)(?![\d/])"
    r"|(?P<number>\d{1,3}(?:[,'\u2019]\d{3})+(?:\.\d+)?(?!\d)|(?<!\d,)\d+,\d+(?!\d|,\d)|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<power>e[-+]?\d{1,3}(?!\w))?\s?(?P<percent>%)?)",
    re.IGNORECASE,
)
FOUR = re.compile(r"####\s*(.+)")
"""How gsm8k marks its final answer."""


def verified(task: Task, answer: str, known: str) -> bool:
    """Whether `answer` says what `known` says, by the task's verifier: the same number, or equal when normal.

    Of several numbers in an answer the last is meant, as in worked solutions ("… so 4 + 5 = 9"); what stands
    after "####" goes before that. "12%" is 12 as well as 0.12.
    """
    if task.verify != "number":
        return normalised(answer) == normalised(known)
    return bool(_readings(answer) & _readings(known))


def unverifiable(task: Task, answer: str) -> str:
    """Why `answer` cannot be an answer under the task's verifier; "" where it can."""
    if task.verify == "number":
        return "" if number_in(answer) is not None else "no number in the answer"
    return "" if any(char.isalnum() for char in normalised(answer)) else "the answer is empty"


def number_in(text: str) -> Fraction | None:
    """The last number of `text`, exactly: thousands separators, fractions, full-width digits; or None."""
    found = _last(text)
    return found[0] if found else None


def _readings(text: str) -> set[Fraction]:
    found = _last(text)
    if found is None:
        return set()
    value, percent = found
    return {value, value / 100} if percent else {value}


def _last(text: str) -> tuple[Fraction, bool] | None:
    """(the last number, whether a percent sign follows it)."""
    marked = FOUR.findall(text)
    # NFKC makes "３" a 3, and "½" a 1⁄2; the spaces that group thousands must outlive it.
    spaced = re.sub("[\u00a0\u2009\u202f]", "'", marked[-1] if marked else text)
    folded = unicodedata.normalize("NFKC", spaced.replace("\u2212", "-")).replace("\u2044", "/")
    found = list(NUMBER.finditer(folded))
    return _value(found[-1]) if found else None


def _value(found: re.Match[str]) -> tuple[Fraction, bool] | None:
    sign = -1 if found["sign"] == "-" else 1
    if found["bottom"]:
        if int(found["bottom"]) == 0:
            return None
        return sign * (int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))), False
    digits = found["number"]
    grouped = re.fullmatch(r"\d{1,3}(?:[,'\u2019]\d{3})+(?:\.\d+)?", digits)
    plain = re.sub("[,'\u2019]", "", digits) if grouped else digits.replace(",", ".")
    return sign * Fraction(plain + (found["power"] or "")), bool(found["percent"])
