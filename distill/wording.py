"""What a language has of its own, marks and what inputs vary over; and which one a task is asked in. Pure.

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


MARKS = {
    # Every German noun has a capital letter: the name of an attribute then stands apart.
    "de": Marks(colon=": "),
    "es": Marks(colon=": "),
    "fr": Marks(colon=" : "),
    "ja": Marks("、", "、", "：", "（{}）", spaced=False),
    "zh": Marks("、", "，", "：", "（{}）", spaced=False),
}


FIXED: dict[str, tuple[str, ...]] = {
    "in": ("a few words", "one sentence", "two or three sentences"),
    "that is": ("plain and clear", "hard to judge at first sight", "casual in style", "formal in style"),
}
"""Length, difficulty and style, which no teacher need be asked for. A name leads to its value."""


class Words(NamedTuple):
    """What inputs vary over, in one language: two attributes' names and how a teacher is asked for values.

    `{noun}` is what an input is called, `{topic}` what is taken apart. All of it ends in task.toml.
    """

    about: str
    writer: str
    topics: str
    narrower: str
    writers: str
    users: str
    fixed: dict[str, tuple[str, ...]]


ENGLISH = Words(
    "about",
    "as written by",
    "topics that a {noun} may be about",
    "narrower topics of '{topic}' that a {noun} may be about",
    "kinds of people who write a {noun}",
    "people who write to the assistant",
    FIXED,
)
WORDS = {
    "de": Words(
        "Thema",
        "Verfasser",
        "Themen für diese Art von Eingabe: {noun}",
        "engere Themen innerhalb von „{topic}“ für diese Art von Eingabe: {noun}",
        "Arten von Menschen, die so etwas schreiben: {noun}",
        "Arten von Menschen, die dem Assistenten schreiben",
        {
            "Länge": ("wenige Wörter", "ein Satz", "zwei oder drei Sätze"),
            "Art": ("klar und deutlich", "auf den ersten Blick schwer zu beurteilen", "locker", "förmlich"),
        },
    ),
    "es": Words(
        "Tema",
        "Autor",
        "temas para este tipo de entrada: {noun}",
        "temas más concretos dentro de «{topic}» para este tipo de entrada: {noun}",
        "tipos de personas que escriben algo así: {noun}",
        "tipos de personas que escriben al asistente",
        {
            "Longitud": ("unas pocas palabras", "una frase", "dos o tres frases"),
            "Estilo": ("claro y sencillo", "difícil de juzgar a primera vista", "informal", "formal"),
        },
    ),
    "fr": Words(
        "Sujet",
        "Auteur",
        "sujets pour ce type d'entrée : {noun}",
        "sujets plus précis au sein de « {topic} » pour ce type d'entrée : {noun}",
        "types de personnes qui écrivent ceci : {noun}",
        "types de personnes qui écrivent à l'assistant",
        {
            "Longueur": ("quelques mots", "une phrase", "deux ou trois phrases"),
            "Style": ("clair et simple", "difficile à juger au premier coup d'œil", "familier", "soutenu"),
        },
    ),
    "ja": Words(
        "話題",
        "書き手",
        "「{noun}」の話題になりうるもの",
        "「{noun}」の話題「{topic}」をさらに細かくしたもの",
        "「{noun}」を書く人の種類",
        "アシスタントに話しかける人の種類",
        {
            "長さ": ("短い語句", "一文", "二、三文"),
            "書き方": ("明快", "一見して判断しにくい", "くだけた調子", "改まった調子"),
        },
    ),
    "zh": Words(
        "主题",
        "作者",
        "“{noun}”可能涉及的主题",
        "“{noun}”在“{topic}”之下更具体的主题",
        "会写“{noun}”的人群类型",
        "会给助手写消息的人群类型",
        {
            "长度": ("几个字", "一句话", "两三句话"),
            "风格": ("清楚明白", "乍看难以判断", "口语随意", "正式"),
        },
    ),
}


def marks(language: str) -> Marks:
    """The language's marks; English ones for what has none."""
    return MARKS.get(language, Marks())


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


def words_of(task: Task) -> Words:
    """The words in the language of the sentences around `task`; English for one that has none."""
    return WORDS.get(language_of(task), ENGLISH)
