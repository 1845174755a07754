"""Corrections, a person's or voted on, `rules.toml`: which rows they match, and what becomes of those.

Refuses a rule that it cannot keep to the letter: a broken pattern, an answer that is none.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import tomlkit

from distill.errors import UsageError
from distill.filters.rule import Rule, excerpt
from distill.store import jsonl
from distill.types import Candidate

NAME = "correction"
HEAD = """\
# Corrections of `distill audit` and `distill suspects`, free to edit: every row of this run is held to them,
# now and by the next `distill generate`. match: "is" (the whole input), "contains" (text in it) or "regex"
# (Python's re.search). action: "drop" (with `was`: only rows of that answer) or "answer" (every row that
# matches gets `answer`; of several the last one decides). why: what is said of a row that was dropped.
"""


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: the rows whose input matches `text` are dropped, or get `answer`; `why`, if not by hand."""

    match: Literal["is", "contains", "regex"]
    text: str
    action: Literal["drop", "answer"]
    answer: str = ""
    was: str = ""
    why: str = ""

    @property
    def reason(self) -> str:
        """What is said of a row that it drops."""
        return self.why or f"dropped by hand: {self.says}"

    @property
    def says(self) -> str:
        """ "input contains 'refund', answered 'sad'": which rows are meant."""
        whose = f", answered {excerpt(self.was)!r}" if self.was else ""
        return f"input {self.match} {excerpt(self.text)!r}{whose}"

    def matches(self, input: str, answer: str) -> bool:
        """Whether a row is meant."""
        if self.was and answer != self.was:
            return False
        if self.match == "regex":
            return re.search(self.text, input) is not None
        return input == self.text if self.match == "is" else self.text in input


class Corrections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of rules.toml."""

    rules: tuple[Correction, ...] = ()


def read_corrections(path: Path) -> tuple[Correction, ...]:
    """The rules in `path`, none where it is absent. Raises UsageError that names what is wrong with which."""
    if not path.exists():
        return ()
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
        rules = msgspec.convert(document, Corrections).rules
    except (UnicodeDecodeError, OSError, tomlkit.exceptions.ParseError, msgspec.ValidationError) as error:
        raise UsageError(f"not a file of rules: {error}", where=str(path), hint="its head says how") from None
    for number, rule in enumerate(rules, 1):
        if problem := wrong_with(rule):
            raise UsageError(f"rule {number}: {problem}", where=str(path), hint="mend or delete it")
    return rules


def wrong_with(rule: Correction) -> str:
    """What keeps `rule` from being used, or ""."""
    if not rule.text:
        return "its text is empty, which every row matches"
    if rule.action == "answer" and not rule.answer.strip():
        return 'action "answer" needs an answer'
    if rule.action == "answer" and rule.was:
        return '`was` goes with action "drop" only'
    try:
        re.compile(rule.text if rule.match == "regex" else "")
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""


def save_corrections(path: Path, rules: Iterable[Correction]) -> None:
    """Add `rules` to `path`, leaving all else in it as it was edited. One that is there already is left."""
    known = read_corrections(path)
    new = [rule for rule in dict.fromkeys(rules) if rule not in known]
    if not new:
        return
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else HEAD)
    tables = document.get("rules")
    if not isinstance(tables, tomlkit.items.AoT):
        # Rules written as one inline array become [[rules]] too.
        document.pop("rules", None)
        tables = tomlkit.aot()
        for each in known:
            tables.append(_table(each))
        document["rules"] = tables
    for each in new:
        tables.append(_table(each))
    jsonl.replace_bytes(path, [tomlkit.dumps(document).encode()])


def _table(rule: Correction) -> tomlkit.items.Table:
    table = tomlkit.table()
    for name, value in msgspec.to_builtins(rule).items():
        if value:
            table[name] = value
    table.add(tomlkit.nl())
    return table


def settled(rules: Iterable[Correction], input: str, answer: str) -> str:
    """The row's answer under the rules: the last that sets one for its input decides.

    What a rule sets depends on the input alone, so that rules applied twice change nothing more.
    """
    for rule in rules:
        if rule.action == "answer" and rule.matches(input, answer):
            answer = rule.answer
    return answer


def dropping(rules: Iterable[Correction], input: str, answer: str) -> Correction | None:
    """The first rule that drops the row, whose answer is `settled`; None keeps it."""
    return next((rule for rule in rules if rule.action == "drop" and rule.matches(input, answer)), None)


def correction(rules_path: Path) -> Rule:
    """Drop what a rule in `rules_path` drops. Raises UsageError where the file is damaged."""
    rules = read_corrections(rules_path)

    def why(candidate: Candidate) -> str:
        rule = dropping(rules, candidate.input, candidate.answer)
        return rule.reason if rule else ""

    return Rule(NAME, why)


def corrected(candidate: Candidate, rules: Sequence[Correction]) -> Candidate:
    """The candidate with the answer a rule sets.

    The old one stays as `raw`; reason and logprobs go, being those of another answer, and so does what
    the teacher agreed on: a person has decided.
    """
    answer = settled(rules, candidate.input, candidate.answer)
    if answer == candidate.answer:
        return candidate
    return msgspec.structs.replace(
        candidate,
        answer=answer,
        asked=None if candidate.asked is None else answer,
        raw=candidate.answer if candidate.raw is None else candidate.raw,
        agreement=None,
        rationale="",
        logprobs=None,
    )
