"""Candidates that bring their input: the user's own inputs, past requests, rows imported before.

Refuses to ask anybody anything: who has no answer yet gets one in `answering`.
"""

from collections.abc import Sequence
from typing import Any

from distill.store import jsonl
from distill.store.refills import REFILL
from distill.store.run import Run
from distill.types import Candidate, Message

IMPORTED = "imported"


def imported_lines(run: Run) -> list[dict[str, Any]]:
    """The lines of candidates.jsonl that an import or a refilling left."""
    if not run.candidates.exists():
        return []
    jsonl.repair(run.candidates)
    lines = (record for _, record in jsonl.read(run.candidates, dict[str, Any]))
    return [line for line in lines if line.get("origin") in (IMPORTED, REFILL)]


def given_candidates(inputs: Sequence[str]) -> list[Candidate]:
    """The user's own inputs, in their order."""
    return [
        Candidate(index=index, input=text, answer="", origin="given") for index, text in enumerate(inputs)
    ]


def logged_candidates(logged: Sequence[tuple[Sequence[Message], str, str]]) -> list[Candidate]:
    """Past (messages, response, source): the last user message is the input, the response a first answer."""
    found: dict[str, Candidate] = {}
    for messages, response, source in logged:
        turns = [message for message in messages if message.role != "system"]
        if turns and turns[-1].role == "user":
            candidate = Candidate(
                index=len(found),
                input=turns[-1].content,
                before=tuple(turns[:-1]),
                answer="",
                raw=response,
                origin="logged",
                source=source,
            )
            found.setdefault(candidate.said, candidate)
    return list(found.values())
