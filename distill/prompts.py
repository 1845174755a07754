"""Prompt templates: plain text with $holes, shipped in the wheel and editable in a checkout.

A template is a text file whose lines `### system`, `### user` and `### assistant` start a message; without
such lines it is a sentence of others. Those of another language lie in a folder of its code (`de/role.txt`).
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

from distill import tongue
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
    """The templates in folder `own` go before the shipped ones of the same name; None: the shipped alone.

    Raises UsageError naming the file where there is no such folder, a file is no template's (or that of one
    in `fixed`, which must stay as they are), or has a hole that neither the shipped one has nor
    `extra_holes`. Where a template stands as messages, so must the user's own.
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
    for path in files_in(own):
        if path.parent != own and not tongue.known(path.parent.name):
            hint = "name a folder by its ISO 639-1 code, as de, ja or zh"
            raise UsageError(f"'{path.parent.name}' is no language", where=str(path.parent), hint=hint)
        if path.stem not in known:
            problem = "must stay as shipped" if path.stem in fixed else "is no template's"
            raise UsageError(
                f"the name '{path.stem}' {problem}", where=str(path), hint=f"known: {', '.join(known)}"
            )
        _check(path, extra_holes)


def files_in(own: Path) -> list[Path]:
    """The templates of a user's folder: its own, and those of the folders of languages in it."""
    return [*sorted(own.glob("*.txt")), *sorted(own.glob("*/*.txt"))]


def _check(path: Path, extra_holes: Collection[str]) -> None:
    """Raises UsageError where a user's template has a hole that nobody fills, or no message where it must."""
    text, shipped = _text(path), (folder() / path.name).read_text(encoding="utf-8")
    if not (template := string.Template(text)).is_valid():
        raise UsageError("a '$' that starts no hole", where=str(path), hint="write $$ for a dollar sign")
    extra = extra_holes if _messages(shipped) else ()
    holes = {*string.Template(shipped).get_identifiers(), *extra}
    if strange := sorted({*template.get_identifiers()} - holes):
        raise UsageError(
            f"a hole nobody fills: ${strange[0]}",
            where=str(path),
            hint=f"holes of this prompt: {', '.join(sorted(holes))}; write $$ for a dollar sign",
        )
    if _messages(text) and not _messages(shipped):
        hint = f"it stands within others, in plain words, as {folder() / path.name}"
        raise UsageError("a sentence has no '### ' lines", where=str(path), hint=hint)


def _messages(text: str) -> list[tuple[Role, str]]:
    """(role, text) of each message of a template that is not empty; none where it is a sentence."""
    found: list[tuple[Role, list[str]]] = []
    for line in text.splitlines():
        if line.strip() in ROLES:
            found.append((ROLES[line.strip()], []))
        elif found:
            found[-1][1].append(line)
    return [(role, said) for role, lines in found if (said := "\n".join(lines).strip())]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), hint="save it as UTF-8 text") from None


def path_of(name: str, language: str = "") -> Path:
    """Where template `name` is read from now: the user's first, and in the language before English."""
    own = OWN.get()
    files = [f"{language}/{name}.txt", f"{name}.txt"] if language else [f"{name}.txt"]
    # A user edits their own between two runs of one process.
    mine = [own / file for file in files if (own / file).is_file()] if own is not None else []
    return mine[0] if mine else _shipped(name, language)


@cache
def _shipped(name: str, language: str) -> Path:
    path = folder() / language / f"{name}.txt"
    return path if language and path.is_file() else folder() / f"{name}.txt"


def read(name: str, language: str = "") -> str:
    """The text of template `name`. Raises UsageError naming the templates there are."""
    path = path_of(name, language)
    return _read(path) if path == _shipped(name, language) else _text(path)


@cache
def _read(path: Path) -> str:
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder().glob("*.txt")))
        raise UsageError(
            f"there is no prompt template '{path.stem}'", where=str(path), hint=f"known: {known}"
        )
    return _text(path)


def fingerprint(name: str, language: str = "") -> str:
    """12 hex digits of the template's text: what changed prompts are recognised by."""
    return hashlib.sha256(read(name, language).encode()).hexdigest()[:12]


def render(name: str, language: str = "", /, **holes: str) -> tuple[Message, ...]:
    """Template `name` as messages, each `$hole` filled once (what is filled in is never expanded again).

    Raises UsageError where a hole is left open, because a prompt with "$label" in it costs money.
    """
    path = path_of(name, language)
    messages = [Message(role, fill(path, said, holes)) for role, said in _messages(read(name, language))]
    if not messages:
        raise UsageError(f"prompt template '{name}' has no '### user' part", where=str(path))
    return tuple(messages)


def sentence(name: str, language: str = "", /, **holes: str) -> str:
    """Template `name` as text that stands within others. Raises as `render`."""
    return _filled(path_of(name, language), read(name, language).strip(), holes)


def fill(path: Path, text: str, holes: dict[str, str]) -> str:
    """`text` of the template in `path`, its holes filled; blank lines left by empty holes are closed up."""
    filled = _filled(path, text, holes)
    while "\n\n\n" in filled:
        filled = filled.replace("\n\n\n", "\n\n")
    return filled.strip()


def _filled(path: Path, text: str, holes: dict[str, str]) -> str:
    try:
        return string.Template(text).substitute(holes)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"prompt template '{path.stem}' has a hole nobody fills: {error}",
            where=str(path),
            hint=f"holes of this prompt: {', '.join(sorted(holes))}; write $$ for a dollar sign",
        ) from None
