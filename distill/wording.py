"""Which language the sentences around a task are in, and the marks between their words. Pure.

It refuses to guess: a short or mixed instruction is surrounded by English. The sentences are templates.
"""

from functools import lru_cache
from typing import NamedTuple

from distill import tongue
from distill.types import Task


class Marks(NamedTuple):
    """What stands between two of a list; before an attribute that stands apart, after its name; brackets."""

    listed: str = ", "
    leads: str = ". "
    colon: str = " "
    brackets: str = " ({})"
    spaced: bool = True
    """Words have spaces between them; where not, every attribute stands apart."""


ENGLISH = Marks()
MARKS = {
    # Every German noun has a capital letter: the name of an attribute then stands apart.
    "de": Marks(colon=": "),
    "es": Marks(colon=": "),
    "fr": Marks(colon=" : "),
    "ja": Marks("、", "、", "：", "（{}）", spaced=False),
    "zh": Marks("、", "，", "：", "（{}）", spaced=False),
}


def marks(language: str) -> Marks:
    """The language's marks; English ones for what has none."""
    return MARKS.get(language, ENGLISH)


def language_of(task: Task) -> str:
    """The language of the sentences around a task (ISO 639-1): the one it names, else its instruction's.

    "" (English, as where no template is of that language) where the instruction is short or mixed, or
    surely in another language than the one the task names.
    """
    return _language(task.language, task.instruction)


@lru_cache(maxsize=1024)
def _language(named: str, instruction: str) -> str:
    code, read = tongue.base(named), tongue.unmixed(instruction)
    if not code:
        return read
    # An English instruction for German inputs stays among English sentences. A path is made of the code.
    return code if tongue.known(code) and read in ("", *tongue.kindred(code)) else ""
