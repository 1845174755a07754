"""A template's requests as a task: what kind of answer they get, and the words of the template. Pure.

Refuses to call logged answers right: they are what somebody's model said.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from distill.parse import find_json, label_key, slug
from distill.score.text import normalised
from distill.traffic.clusters import Cluster, Row
from distill.types import AnswerField, Label, Task

MOST_LABELS, FEWEST_EACH, LONGEST_LABEL = 20, 3, 60
CLOSED = 0.95
"""Share of the answers that a small set of short ones has to make up, to be labels."""
STABLE = 0.9
"""Share of the answers that are JSON objects with a key, for it to be a field."""
MOST_CHOICES = 8
EXAMPLES_A_LABEL = 3
LONGEST_INSTRUCTION = 2000
WORDS_OF_A_NAME = 4
WORD = re.compile(r"[^\W\d_]{4,}")
FieldType = Literal["string", "integer", "number", "boolean"]
TYPES: dict[type, FieldType] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def task_of(cluster: Cluster, name: str) -> Task:
    """The task behind a template: labels where its answers are a small closed set; JSON, chat or text."""
    rows = cluster.rows
    instruction = cluster.frame.words[:LONGEST_INSTRUCTION] or "Answer the user."
    if cluster.frame.chat:
        turns = [sum(message.role == "user" for message in row.messages) for row in rows]
        return Task(
            name, "chat", instruction, "message", turns=min(20, max(1, sorted(turns)[len(turns) // 2]))
        )
    if labels := closed_set(rows):
        return Task(name, "label", instruction, labels=labels)
    if fields := json_fields([row.response for row in rows]):
        return Task(name, "json", instruction, fields=fields)
    return Task(name, "text", instruction)


def fallback_names(clusters: Sequence[Cluster]) -> list[str]:
    """A name for each template, from words that no other one has; by its number where there are none."""
    words = [list(dict.fromkeys(WORD.findall(cluster.frame.words.casefold()))) for cluster in clusters]
    often = Counter(word for own in words for word in own)
    names: list[str] = []
    for cluster, own in zip(clusters, words, strict=True):
        rare = [word for word in own if often[word] == 1]
        name = slug(" ".join((rare if len(rare) > 1 else own)[:WORDS_OF_A_NAME]))
        names.append(name if name and name not in names else f"{name or 'template'}-{cluster.number + 1}")
    return names


def closed_set(rows: Sequence[Row]) -> tuple[Label, ...]:
    """The labels behind the answers, with a few inputs each; () where they are no small closed set."""
    if any(row.response.lstrip()[:1] in "{[" for row in rows):
        return ()
    spelt = Counter(row.response.strip() for row in rows)
    counts: Counter[str] = Counter()
    for text, count in spelt.items():
        counts[normalised(text)] += count
    often = {key for key, count in counts.items() if count >= FEWEST_EACH and 0 < len(key) <= LONGEST_LABEL}
    covered = sum(counts[key] for key in often)
    if (
        not 2 <= len(often) <= MOST_LABELS
        or covered < CLOSED * len(rows)
        or any("\n" in key for key in often)
        or len({label_key(key) for key in often}) < len(often)
    ):
        return ()
    return tuple(
        Label(key, examples=tuple(dict.fromkeys(
            row.input for row in rows if normalised(row.response) == key))[:EXAMPLES_A_LABEL])
        for key in sorted(often)
    )  # fmt: skip


def json_fields(responses: Sequence[str]) -> tuple[AnswerField, ...]:
    """The keys that about all answers have, typed; () where they are no flat JSON objects of one form."""
    found = [value for text in responses if isinstance(value := find_json(text), dict)]
    if len(found) < STABLE * len(responses) or not found:
        return ()
    keys = Counter(key for value in found for key in value)
    stable = [key for key in found[0] if keys[key] >= STABLE * len(found)]
    fields = [field_of(key, [value[key] for value in found if key in value]) for key in stable]
    return tuple(field for field in fields if field) if all(fields) else ()


def field_of(name: str, values: Sequence[Any]) -> AnswerField | None:
    """A key of JSON answers; None where its values are no plain text, number or boolean of one type."""
    kinds = {TYPES.get(type(value)) for value in values if value is not None}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) != 1 or (kind := kinds.pop()) is None or not re.fullmatch(r"\w+", name):
        return None
    counts = Counter(values) if kind == "string" else Counter()
    small = 2 <= len(counts) <= MOST_CHOICES and min(counts.values()) >= FEWEST_EACH
    return AnswerField(name, kind, choices=tuple(sorted(counts)) if small else ())


def as_answer(task: Task, response: str) -> str:
    """A logged answer as the task's kind has it, where it can be read as one; else as it is."""
    from distill.parse import parse_answer

    return parse_answer(task, response) or response
