"""Prompt templates: plain text with $holes, shipped in the wheel and editable in a checkout.

A template is a text file whose lines `### system`, `### user` and `### assistant` start a message.
Holds loading, rendering and fingerprints, and refuses to know what any prompt is for. A user's own folder
goes before the shipped one for as long as `overlaid` lasts.
"""

import hashlib
import string
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


OWN: ContextVar[Path | None] = ContextVar("own templates", default=None)


@contextmanager
def overlaid(
    own: Path | None, extra_holes: Collection[str] = (), fixed: Collection[str] = ()
) -> Iterator[None]:
    """The templates in folder `own` go before the shipped ones of the same name; None changes nothing.

    Raises UsageError naming the file where there is no such folder, a file is no template's (or that of one
    in `fixed`, which must stay as they are), or has a hole that neither the shipped one has nor
    `extra_holes`.
    """
    if own is not None:
        check_own(own, extra_holes, fixed)
    token = OWN.set(own)
    try:
        yield
    finally:
        OWN.reset(token)


def check_own(own: Path, extra_holes: Collection[str], fixed: Collection[str]) -> None:
    """As `overlaid`, which calls it."""
    if not own.is_dir():
        raise UsageError("no such folder", where=f"--prompts {own}", hint="a folder of NAME.txt templates")
    known = sorted(found.stem for found in folder().glob("*.txt") if found.stem not in fixed)
    for path in sorted(own.glob("*.txt")):
        if path.stem not in known:
            problem = "must stay as shipped" if path.stem in fixed else "is no template's"
            raise UsageError(
                f"the name '{path.stem}' {problem}", where=str(path), hint=f"known: {', '.join(known)}"
            )
        text = _text(path)
        holes = {*_holes((folder() / path.name).read_text(encoding="utf-8")), *extra_holes}
        if not (template := string.Template(text)).is_valid():
            raise UsageError("a '$' that starts no hole", where=str(path), hint="write $$ for a dollar sign")
        if strange := sorted({*template.get_identifiers()} - holes):
            raise UsageError(
                f"a hole nobody fills: ${strange[0]}",
                where=str(path),
                hint=f"holes of this prompt: {', '.join(sorted(holes))}; write $$ for a dollar sign",
            )


def _holes(text: str) -> list[str]:
    return string.Template(text).get_identifiers()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), hint="save it as UTF-8 text") from None


def path_of(name: str) -> Path:
    """Where template `name` is read from now."""
    own = OWN.get()
    file = f"{name}.txt"
    return own / file if own is not None and (own / file).is_file() else folder() / file


def read(name: str) -> str:
    """The text of template `name`. Raises UsageError naming the templates there are."""
    path = path_of(name)
    # A user edits their own between two runs of one process.
    return _read(path) if path.parent == folder() else _text(path)


@cache
def _read(path: Path) -> str:
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder().glob("*.txt")))
        raise UsageError(
            f"there is no prompt template '{path.stem}'", where=str(path), hint=f"known: {known}"
        )
    return _text(path)


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
        raise UsageError(f"prompt template '{name}' has no '### user' part", where=str(path_of(name)))
    return tuple(messages)


def fill(name: str, text: str, holes: dict[str, str]) -> str:
    """`text` with its holes filled; blank lines left by empty holes are closed up."""
    try:
        filled = string.Template(text).substitute(holes)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"prompt template '{name}' has a hole nobody fills: {error}",
            where=str(path_of(name)),
            hint=f"holes of this prompt: {', '.join(sorted(holes))}; write $$ for a dollar sign",
        ) from None
    while "\n\n\n" in filled:
        filled = filled.replace("\n\n\n", "\n\n")
    return filled.strip()
