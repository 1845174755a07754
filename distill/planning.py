"""What is written before anything is written: a balanced grid of attributes, and where they come from.

Refuses to leave variety to temperature: an input is planned by its label, topic, writer, length and the like.
"""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping

import msgspec

from distill import prompts
from distill.parse import parse_lines
from distill.teacher.protocol import Teacher
from distill.types import Progress, Request, Task
from distill.wording import language_of, words_of

Attributes = Mapping[str, tuple[str, ...]]
LARGEST_GRID = 20_000
TOPICS, SUBTOPICS, WRITERS = 12, 6, 6
FEWEST = 4
"""Fewer values than this are no list: the teacher did not do as asked."""
INPUTS_A_TOPIC = 20
"""Above so many inputs a topic, each topic is taken apart into subtopics."""


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
