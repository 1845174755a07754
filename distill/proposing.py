"""Tasks for a brief: several rounds, spread over kinds, the same task in other words left out.

Refuses to take a teacher's word for JSON: whole tasks are taken from what it wrote, and it is asked more
plainly where there is none.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill import prompts
from distill.errors import TeacherError, UsageError
from distill.filters.refusal import ANYWHERE
from distill.parse import parse_plain_proposals, parse_proposals
from distill.score.text import tokens
from distill.store.near import jaccard
from distill.teacher.protocol import Teacher
from distill.types import Kind, Progress, Request, Task

ROUNDS = 4
BRIEF_CHARS = 2400
"""Of a brief in one request: the embedded teacher has 2048 tokens for it and its answer."""
SAME_TASK, SAME_LABELS = 0.6, 0.75
"""Jaccard similarity of the words, and of the labels, from which two tasks are one."""
WORD_CHARS = 6
"""Letters of a word that are compared: "classify" and "classification" are one."""
KINDS: tuple[Kind, ...] = ("label", "json", "text", "chat")
EXCERPT = 90
HINT_FILE = "a brief is a sentence, or a file of text"
HINT = "say more in the brief, try another --teacher, or write a task.toml and pass --task FILE"


def brief_file(brief: str) -> Path | None:
    """The file that `brief` names, if it is one and no sentence."""
    if "\n" in brief or len(brief) > 1000 or not brief.strip():
        return None
    path = Path(brief.strip())
    return path if path.is_file() else None


def lost_file(brief: str) -> bool:
    """Whether a brief was meant as a file and is none: a word that ends like one, or a folder."""
    return re.fullmatch(r"\S*\w\.(?:md|txt|rst|html?|pdf|docx?|jsonl?)", brief) is not None or (
        len(brief) < 256 and Path(brief).is_dir() and ("/" in brief or "." in brief)
    )


def brief_parts(brief: str) -> list[str]:
    """The brief, or the file it names, in pieces that fit a request. Raises UsageError for an unfit file."""
    path = brief_file(brief)
    if path is None:
        if not brief.strip():
            raise UsageError(
                "an empty brief", where="BRIEF", hint='say what your company does: distill explore "…"'
            )
        if lost_file(brief.strip()):
            raise UsageError(f"no such file: {brief.strip()}", where="BRIEF", hint=HINT_FILE)
        return pieces(brief)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), hint="save it as UTF-8 text") from None
    if not text.strip():
        raise UsageError("the brief's file is empty", where=str(path))
    return pieces(text)


def pieces(text: str) -> list[str]:
    """`text` cut at blank lines where it can be, each piece at most BRIEF_CHARS, ROUNDS of them at most."""
    found, left = list[str](), text.strip()
    while left and len(found) < ROUNDS:
        cut = len(left) if len(left) <= BRIEF_CHARS else left.rfind("\n\n", BRIEF_CHARS // 3, BRIEF_CHARS)
        cut = BRIEF_CHARS if cut <= 0 else cut
        found.append(left[:cut].strip())
        left = left[cut:].strip()
    return found


async def propose(teacher: Teacher, brief: str, count: int, *, seed: int, progress: Progress) -> list[Task]:
    """`count` different tasks, in up to ROUNDS rounds, each over another piece of a long brief.

    Later rounds ask for the kinds that are missing. Raises TeacherError where no task can be read at all.
    """
    parts, tasks, said = brief_parts(brief), list[Task](), ""
    progress.begin("proposing tasks", None)
    for turn in range(ROUNDS):
        missing = count - len(tasks)
        if missing <= 0:
            break
        part, plainly = parts[turn % len(parts)], turn == ROUNDS - 1 and not tasks
        if plainly:
            text = prompts.render("propose-plainly", brief=part, count=str(missing))
            request = Request(messages=text, temperature=0.7, seed=seed + turn, max_tokens=120 * missing)
        else:
            request = proposal_request(part, missing, tasks, seed + turn)
        said = (await teacher.complete(request)).text
        found = parse_plain_proposals(said) if plainly else parse_proposals(said)
        for task in found:
            if not any(alike(task, other) for other in tasks):
                tasks.append(task)
        progress.advance(note=f"{len(tasks)} of {count}")
    if not tasks:
        raise nothing_proposed(teacher.model, said)
    return tasks[:count]


def nothing_proposed(model: str, said: str) -> TeacherError:
    """The error that says what the teacher did in place of proposing: refused, or wrote prose."""
    excerpt = " ".join(said.split())[:EXCERPT]
    problem = f"it refuses: {excerpt!r}" if ANYWHERE.search(said) else f"its last answer: {excerpt!r}"
    return TeacherError(
        f"{model} proposed no task that could be read, asked {ROUNDS} times; {problem}", hint=HINT
    )


def alike(one: Task, other: Task) -> bool:
    """Whether two proposals are the same task: by name, by their words, or by kind and labels."""
    if one.name == other.name or jaccard(_words(one), _words(other)) >= SAME_TASK:
        return True
    labels = [{name.casefold() for name in task.label_names} for task in (one, other)]
    return bool(labels[0]) and jaccard(*labels) >= SAME_LABELS


def _words(task: Task) -> set[str]:
    text = f"{task.name.replace('-', ' ')} {task.instruction}"
    return {word[:WORD_CHARS] for word in tokens(text) if len(word) > 3 or not word.isascii()}


def proposal_request(brief: str, count: int, known: Sequence[Task], seed: int) -> Request:
    """Ask for `count` tasks, of kinds not `known` yet, held to their schema where the endpoint can."""
    texts = {"type": "array", "items": {"type": "string"}, "maxItems": 12}
    entry: dict[str, Any] = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "enum": list(KINDS)},
            "instruction": {"type": "string"},
            "input_noun": {"type": "string"},
            "labels": texts,
            "fields": texts,
        },
    }
    entry |= {"required": list(entry["properties"]), "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": entry, "minItems": count, "maxItems": count}},
        "required": ["tasks"],
        "additionalProperties": False,
    }
    absent = [kind for kind in KINDS if kind not in {task.kind for task in known}]
    messages = prompts.render(
        "propose-tasks",
        brief=brief,
        count=str(count),
        kinds=f", of the kinds {', '.join(absent)} first" if known and absent else "",
        known=f"Already proposed, do not repeat: {', '.join(task.name for task in known)}." if known else "",
    )
    return Request(
        messages=messages,
        temperature=0.8,
        seed=seed,
        max_tokens=min(1200, 200 + 220 * count),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "tasks", "strict": True, "schema": schema},
        },
    )
