"""The menu of prompts a teacher is tried with, each known by its name in task.toml, explore and report.

Refuses to put anything into words: that is `ask`.
"""

from typing import Literal

import msgspec

from distill.errors import UsageError

Order = Literal["", "reversed", "turned"]
ORDERS: dict[str, Order] = {"": "", "-reversed": "reversed", "-turned": "turned"}
YOURS = "yours"
"""The user's own prompt, as logs have it: no choice of the menu, it races where it is given."""


class PromptSpec(msgspec.Struct, frozen=True):
    """One way to ask: a template, examples per label and their order, and whether the format is enforced.

    `reasons` where it asks for the reasons first, and the answer on a line of its own after them.
    """

    name: str
    template: str
    shots: int = 0
    order: Order = ""
    strict: bool = False
    reasons: bool = False


def _few(name: str, template: str) -> list[PromptSpec]:
    """1 to 3 examples a label, in three orders: small teachers lean to the label they saw last.

    As the file has them, the labels in turn; all of that backwards; or only the labels backwards.
    """
    return [
        PromptSpec(f"{name}-{shots}{suffix}", template, shots, order)
        for shots in (1, 2, 3)
        for suffix, order in ORDERS.items()
        if not (shots == 1 and order == "turned")
    ]


MENU = (
    PromptSpec("zero-shot", "answer"),
    PromptSpec("described", "answer-described"),
    PromptSpec("role", "role"),
    PromptSpec("format-strict", "answer", shots=1, strict=True),
    *_few("few-shot", "answer"),
    *_few("bare", "bare"),
    *_few("cued", "cued"),
    PromptSpec("step-by-step", "step-by-step", reasons=True),
    PromptSpec("decomposed", "decomposed", reasons=True),
)
"""zero-shot and few-shot give the instruction as system message; described adds what each label means; role
says who answers; format-strict holds the answer to its JSON schema; bare shows examples alone; cued names
input and answer; step-by-step asks for the thoughts first, decomposed for the questions the task falls
into."""


def find_prompt(name: str) -> PromptSpec:
    """The prompt of that name. Raises UsageError naming those there are."""
    for spec in (*MENU, PromptSpec(YOURS, YOURS)):
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in MENU)
    raise UsageError(f"there is no prompt '{name}'", where="task.toml, [prompt]", hint=f"known: {known}")


def variants(name: str) -> list[str]:
    """The other prompts of the same template: fewer or more examples, other orders."""
    spec = find_prompt(name)
    return [
        other.name
        for other in MENU
        if other.template == spec.template and other.shots and not other.strict and other.name != name
    ]
