"""Drops inputs that surely are written in another language than the task's.

Refuses to expect a language that nobody named where inputs were given, or where the task is about languages.
"""

import re

from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.rule import Rule
from distill.tongue import base, detect, kindred, known, other_than
from distill.types import Candidate, Task

NAMES = (
    "english|german|french|spanish|italian|portuguese|dutch|chinese|japanese|korean|russian|arabic|hindi"
    "|英[文语語]|中文|日[文语語]|日本語"
)
LANGUAGE_NAME = re.compile(NAMES, re.IGNORECASE)
ABOUT_LANGUAGES = re.compile(
    rf"\b(?:languages?|multilingual|translat\w+)\b|{NAMES}|语言|翻译|語言|翻譯|言語|翻訳",
    re.IGNORECASE,
)


def language(code: str) -> Rule:
    """Drop an input that surely is not written in `code` (ISO 639-1, lower case)."""

    def why(candidate: Candidate) -> str:
        other = other_than(code, candidate.input)
        return f"written in {other}, not '{code}'" if other else ""

    return Rule("language", why)


def expected(task: Task, config: GenerateConfig) -> str:
    """The language inputs are to be in: --language, the task's, else what every example is in; "" for any.

    Raises UsageError where a code is no language that can be told.
    """
    if config.language == "off":
        return ""
    if config.language != "auto":
        return _code(config.language, "--language")
    if task.language:
        return _code(task.language, "task.toml, language")
    given = config.inputs is not None or config.from_logs is not None
    return "" if given else _of_task(task)


def _code(name: str, where: str) -> str:
    code = base(name)
    if re.fullmatch("[a-z]{2,3}", code) and known(code):
        return code
    hint = "an ISO 639-1 code as en, de, zh or ja; 'off' drops no language"
    raise UsageError(f"{name!r} is no language that can be told", where=where, hint=hint)


def _of_task(task: Task) -> str:
    """What the examples are in, if all are in one; without examples, what the instruction is in."""
    tables = [task.attributes, *(label.attributes for label in task.labels)]
    varied = any(
        ABOUT_LANGUAGES.search(name) or any(map(LANGUAGE_NAME.fullmatch, values))
        for table in tables
        for name, values in table.items()
    )
    if varied:
        return ""
    examples = [example.input for example in task.examples]
    examples += [text for label in task.labels for text in label.examples]
    if not examples:
        about = f"{task.instruction} {task.input_noun} {' '.join(task.label_names)}"
        return "" if ABOUT_LANGUAGES.search(about) else detect(task.instruction)
    code = detect(" ".join(examples))
    one = all(detect(text) in ("", *kindred(code)) and not other_than(code, text) for text in examples)
    return code if one else ""
