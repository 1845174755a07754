"""What is written before anything is written: a balanced grid of attributes, and where they come from.

Refuses to leave variety to temperature: an input is planned by its label, topic, writer, length and the like.
"""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from distill import prompts
from distill.parse import parse_lines
from distill.teacher.protocol import Teacher
from distill.types import Progress, Request, Task
from distill.wording import language_of

Attributes = Mapping[str, tuple[str, ...]]
LARGEST_GRID = 20_000
TOPICS, SUBTOPICS, WRITERS = 12, 6, 6
FEWEST = 4
"""Fewer values than this are no list: the teacher did not do as asked."""
INPUTS_A_TOPIC = 20
"""Above so many inputs a topic, each topic is taken apart into subtopics."""
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


class Cell(msgspec.Struct, frozen=True):
    """One planned input: the answer it is written for and the attributes it has."""

    index: int
    asked: str | None
    attributes: dict[str, str]


def plan(task: Task, seed: int) -> Iterator[Cell]:
    """Endless planned inputs: each label in turn, each time with the next cell of a shuffled attribute grid.

    The grid is gone through whole before any cell comes again, apart for each label.
    A label's own attributes come on top of the task's.
    """
    rng = random.Random(seed)
    own: list[tuple[str | None, Attributes]] = [(label.name, label.attributes) for label in task.labels]
    grids = [
        (name, _cells({**task.attributes, **extra}, random.Random(rng.random())))
        for name, extra in own or [(None, {})]
    ]
    for index in itertools.count():
        name, grid = grids[index % len(grids)]
        yield Cell(index, name, next(grid))


def _cells(attributes: Attributes, rng: random.Random) -> Iterator[dict[str, str]]:
    """The attribute grid in random order, over and over. A grid too large to list is drawn from instead."""
    while True:
        if math.prod(len(choices) for choices in attributes.values()) > LARGEST_GRID:
            yield {name: rng.choice(choices) for name, choices in attributes.items()}
            continue
        grid = list(itertools.product(*attributes.values()))
        rng.shuffle(grid)
        for cell in grid:
            yield dict(zip(attributes, cell, strict=True))


def has_attributes(task: Task) -> bool:
    """Whether the author of task.toml planned what inputs vary over."""
    return bool(task.attributes) or any(label.attributes for label in task.labels)


async def propose_attributes(
    task: Task, teacher: Teacher, n: int, *, seed: int, progress: Progress
) -> dict[str, tuple[str, ...]]:
    """What inputs of `task` can vary over: topics (taken apart where `n` is large) and writers.

    A list that the teacher does not give is left out; length, difficulty and style are always there.
    """
    words, noun = words_of(task), task.input_noun
    topics = await _values(task, teacher, TOPICS, words.topics.format(noun=noun), seed)
    progress.advance(note=f"{len(topics)} topics")
    if topics and n > INPUTS_A_TOPIC * len(topics):
        topics = await _subtopics(task, teacher, topics, seed, progress)
    who = words.users if task.kind == "chat" else words.writers.format(noun=noun)
    writers = await _values(task, teacher, WRITERS, who, seed)
    progress.advance(note=f"{len(writers)} writers")
    proposed = {words.about: topics, words.writer: writers}
    return {name: values for name, values in proposed.items() if values} | words.fixed


def plainly(task: Task) -> Attributes:
    """The style of inputs that are to teach, in the task's language: plain and clear. Probes may be hard."""
    style, (plain, *_) = list(words_of(task).fixed.items())[-1]
    return {style: (plain,)}


def words_of(task: Task) -> Words:
    """The words in the language of the sentences around `task`; English for one that has none."""
    return WORDS.get(language_of(task), ENGLISH)


async def _subtopics(
    task: Task, teacher: Teacher, topics: tuple[str, ...], seed: int, progress: Progress
) -> tuple[str, ...]:
    """The second level of the tree: each topic's narrower ones, or the topic itself where there are none."""
    leaves: list[str] = []
    for topic in topics:
        asked = words_of(task).narrower.format(topic=topic, noun=task.input_noun)
        narrower = await _values(task, teacher, SUBTOPICS, asked, seed)
        leaves += narrower or [topic]
        progress.advance(note=f"{len(leaves)} subtopics")
    return tuple(dict.fromkeys(leaves))


async def _values(task: Task, teacher: Teacher, count: int, what: str, seed: int) -> tuple[str, ...]:
    """Up to `count` different short values, none where fewer than FEWEST can be read."""
    holes = {"instruction": task.instruction, "count": str(count), "what": what}
    messages = prompts.render("propose-values", language_of(task), **holes)
    request = Request(messages=messages, temperature=0.7, max_tokens=24 * count, seed=seed)
    completion = await teacher.complete(request)
    found = parse_lines(completion.text)
    if completion.finish_reason == "length":
        found = found[:-1]
    # A topic that gives the answer away ("positive reviews") would be written whatever the label.
    names = [re.escape(name) for name in task.label_names]
    telling = re.compile("|".join(names) or r"(?!)", re.IGNORECASE)
    values = [value for value in found if not telling.search(value)][:count]
    return tuple(values) if len(values) >= FEWEST else ()
