"""Every filter there is, what it drops, and whether it is on: what `distill filters` lists.

Refuses to run one: it reads a task and a config.
"""

from typing import Literal

import msgspec

from distill.config import GenerateConfig
from distill.filters.checks import Worker
from distill.filters.language import expected
from distill.types import Task

Sight = Literal["input", "answer", "input and answer"]


class FilterInfo(msgspec.Struct, frozen=True):
    """One filter: its name in a receipt, what it looks at, whether it is on here, what it drops."""

    name: str
    looks_at: Sight
    on: bool
    drops: str


def catalogue(task: Task | None, config: GenerateConfig) -> list[FilterInfo]:
    """The filters in the order a candidate meets them; without a task, those any task has are on.

    Raises UsageError where --check or --language cannot be used.
    """
    code = expected(task, config) if task else ""
    near, votes = config.near_duplicate, config.min_agreement
    judged = config.judge == "on" or (config.judge == "auto" and bool(task and task.rubric))
    listed: list[tuple[str, Sight, bool, str]] = [
        (
            "truncated",
            "input and answer",
            True,
            "what a token limit, a content filter or the context's end cut",
        ),
        ("format", "input", True, "role markers, unfilled templates, inputs that hold their own answer"),
        ("length", "input", True, f"under {config.min_chars} or over {config.max_chars:,} characters"),
        ("refusal", "input and answer", True, "a chat model's own voice: refusals, 'Sure, here is'"),
        ("language", "input", bool(code), _language(code)),
        ("exact", "input", True, "the same input again, up to case, spaces and outer punctuation"),
        ("echo", "input", True, "the instruction, or an example of the task, given back"),
        ("leak", "input", True, "near-duplicates of, or passages shared with, seeds and held-out rows"),
        ("near_duplicates", "input", True, f"{near:.0%} or more like an accepted input (MinHash, n-grams)"),
        ("semantic", "input", config.semantic is not None, _semantic(config.semantic)),
        ("correction", "input and answer", True, "what a person's own corrections drop (distill audit)"),
        (
            "agreement",
            "answer",
            config.agreement != "off",
            f"answers with under {votes:.0%} of the votes, ties",
        ),
        ("label_set", "answer", True, "answers outside the labels, without the fields, or empty"),
        (
            "verify",
            "answer",
            bool(task and task.verify),
            "answers without a number, or empty (task's verify)",
        ),
        ("judge", "answer", judged, "answers a judge objects to by the task's rubric; never rewritten"),
    ]
    return [FilterInfo(*entry) for entry in listed] + _own(config)


def _language(code: str) -> str:
    return f"inputs that surely are not in '{code}'" if code else "inputs that surely are in another language"


def _semantic(threshold: float | None) -> str:
    least = "--semantic" if threshold is None else f"{threshold:g}"
    return f"the same in other words: cosine similarity of embeddings {least} or more"


def _own(config: GenerateConfig) -> list[FilterInfo]:
    """The user's rules. Raises UsageError where their file cannot be used."""
    if config.check is None:
        return []
    worker = Worker(config.check, config.check_timeout_s)
    worker.close()
    return [
        FilterInfo(
            f"check:{rule['name']}",
            "input" if rule["parameters"] == ["input"] else "input and answer",
            True,
            rule["says"] or f"what {config.check.name}:{rule['line']} drops",
        )
        for rule in worker.rules
    ]
