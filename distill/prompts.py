"""Prompt templates: plain text with $holes, shipped in the wheel and editable in a checkout.

A template is a text file whose lines `### system`, `### user` and `### assistant` start a message.
Holds loading, rendering and fingerprints, and refuses to know what any prompt is for.
"""

import hashlib
import string
from functools import cache
from importlib import resources
from pathlib import Path

from distill.errors import UsageError
from distill.types import Message, Role

ROLES: dict[str, Role] = {"### system": "system", "### user": "user", "### assistant": "assistant"}


@cache
def folder() -> Path:
    """Where templates lie: inside the installed package, or `prompts/` of a checkout."""
    packaged = Path(str(resources.files("distill"))) / "templates"
    return packaged if packaged.is_dir() else packaged.parent.parent / "prompts"


@cache
def read(name: str) -> str:
    """The text of template `name`. Raises UsageError naming the templates there are."""
    path = folder() / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder().glob("*.txt")))
        raise UsageError(f"there is no prompt template '{name}'", where=str(path), hint=f"known: {known}")
    return path.read_text(encoding="utf-8")


def fingerprint(name: str) -> str:
    """12 hex digits of the template's text: what changed prompts are recognised by."""
    return hashlib.sha256(read(name).encode()).hexdigest()[:12]


def render(name: str, **holes: str) -> tuple[Message, ...]:
    """Template `name` as messages, each `$hole` filled once (what is filled in is never expanded again).

    Raises UsageError where a hole is left open, because a prompt with "$label" in it costs money.
    """
    messages: list[Message] = []
    role: Role | None = None
    lines: list[str] = []

    def close() -> None:
        if role is not None and (text := "\n".join(lines).strip()):
            messages.append(Message(role, fill(name, text, holes)))

    for line in read(name).splitlines():
        if line.strip() in ROLES:
            close()
            role, lines = ROLES[line.strip()], []
        else:
            lines.append(line)
    close()
    if not messages:
        raise UsageError(f"prompt template '{name}' has no '### user' part", where=f"prompts/{name}.txt")
    return tuple(messages)


def fill(name: str, text: str, holes: dict[str, str]) -> str:
    """`text` with its holes filled; blank lines left by empty holes are closed up."""
    try:
        filled = string.Template(text).substitute(holes)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"prompt template '{name}' has a hole nobody fills: {error}",
            where=f"prompts/{name}.txt",
            hint=f"holes of this prompt: {', '.join(sorted(holes))}; write $$ for a dollar sign",
        ) from None
    while "\n\n\n" in filled:
        filled = filled.replace("\n\n\n", "\n\n")
    return filled.strip()
