"""A teacher that gives verdicts, never data: keep or drop one answer by a rubric, or the best of several.

What is judged stands between marks its writer cannot have known, the last verdict wins, and one that is not
on the menu is no verdict (None): it neither keeps nor drops.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from distill import prompts
from distill.teacher.protocol import Teacher
from distill.types import Message, Request, Task, content_id

RUBRIC = (
    "Does the answer do what the task asks?",
    "Is everything it says supported by the input or plainly true?",
    "Is it complete and well written?",
)
"""What is asked of an answer where the task says nothing."""
VERDICT_TOKENS, CRITIQUE_TOKENS = 48, 96
LINE_TOKENS = 24
"""Room for one verdict line of several."""
Choice = Literal["first", "second", "tie"]
NOTHING = re.compile(r"\W*(?:nothing|none|no change)\b", re.IGNORECASE)


def rubric(task: Task) -> str:
    """The questions, a line each."""
    return "\n".join(f"- {question}" for question in task.rubric or RUBRIC)


def transcript(before: Sequence[Message], input: str) -> str:
    """What was said up to the answer; the input alone where nothing came before it."""
    turns = [f"{message.role}: {message.content}" for message in before if message.role != "system"]
    return "\n".join([*turns, f"user: {input}"]) if turns else input


async def objection(teacher: Teacher, task: Task, input: str, answer: str) -> str | None:
    """What speaks against `answer` by the task's rubric, "" where nothing does, None without a verdict."""
    mark = content_id(input, answer)
    messages = prompts.render(
        "judge",
        instruction=task.instruction,
        rubric=rubric(task),
        fence=f"=== {mark} ===",
        input=input,
        answer=answer,
        id=mark[:6],
    )
    completion = await teacher.complete(Request(messages=messages, max_tokens=VERDICT_TOKENS))
    return read_verdict(completion.text, mark[:6])


def read_verdict(text: str, name: str) -> str | None:
    """The last verdict on `name` in `text`: "" to keep, the reason to drop, None where there is none."""
    found = re.findall(rf"{re.escape(name)}\W{{0,4}}(keep|drop)\b[\s:.\-]*([^\n]*)", text, re.IGNORECASE)
    if not found:
        return None
    verdict, why = found[-1]
    return "" if verdict.casefold() == "keep" else why.strip() or "no reason given"


async def best_of(teacher: Teacher, task: Task, input: str, answers: Sequence[str]) -> int | None:
    """The place of the best answer, asked for in both orders; None where the two disagree or say nothing."""
    if len(answers) < 2:
        return 0 if answers else None
    forth = await _chosen(teacher, task, input, answers)
    back = await _chosen(teacher, task, input, answers[::-1])
    return forth if forth is not None and back == len(answers) - 1 - forth else None


async def _chosen(teacher: Teacher, task: Task, input: str, answers: Sequence[str]) -> int | None:
    mark = content_id(input, answers)
    names = [f"{mark[:4]}-{chr(ord('a') + place)}" for place in range(len(answers))]
    shown = "\n\n".join(f"Answer {name}: {answer}" for name, answer in zip(names, answers, strict=True))
    messages = prompts.render(
        "choose",
        instruction=task.instruction,
        rubric=rubric(task),
        fence=f"=== {mark} ===",
        input=input,
        answers=shown,
        ids=", ".join(names),
    )
    completion = await teacher.complete(Request(messages=messages, max_tokens=VERDICT_TOKENS))
    named = re.findall("|".join(map(re.escape, names)), completion.text)
    return names.index(named[-1]) if named else None


async def critique(teacher: Teacher, task: Task, input: str, answer: str) -> str:
    """What should be better about `answer`, in a sentence or two; "" where nothing should."""
    messages = prompts.render(
        "critique", instruction=task.instruction, rubric=rubric(task), input=input, answer=answer
    )
    completion = await teacher.complete(Request(messages=messages, max_tokens=CRITIQUE_TOKENS))
    text = completion.text.strip()
    return "" if NOTHING.match(text) else text


class Preference(NamedTuple):
    """Which of two answers is better, over all and by each question; None where the judge gave no verdict."""

    overall: Choice | None
    by_question: tuple[Choice | None, ...]


def questions(task: Task) -> tuple[str, ...]:
    """What is asked of an answer: the task's rubric, else the built-in one."""
    return tuple(task.rubric or RUBRIC)


async def prefer(
    teacher: Teacher,
    task: Task,
    input: str,
    answers: tuple[str, str],
    *,
    reference: str | None = None,
    seed: int = 0,
    sample: int = 0,
) -> Preference:
    """Which of two answers the judge finds better, in this order; `reference` is an answer known to be good.

    Raises what the teacher raises. Fence and names are hashes of all that is judged: the same call each time,
    and nothing that the writer of an answer can know.
    """
    asked = questions(task)
    mark = content_id(seed, input, answers, reference)
    first, second = f"{mark[:4]}-a", f"{mark[:4]}-b"
    messages = prompts.render(
        "pairwise",
        instruction=task.instruction,
        questions="\n".join(f"{number}. {question}" for number, question in enumerate(asked, 1)),
        fence=f"=== {mark} ===",
        input=input,
        reference=f"An answer known to be good: {reference}" if reference else "",
        first=first,
        second=second,
        one=answers[0],
        two=answers[1],
        form="\n".join([*(f"{number}:" for number in range(1, len(asked) + 1)), "overall:"]),
    )
    room = VERDICT_TOKENS + LINE_TOKENS * len(asked)
    completion = await teacher.complete(Request(messages=messages, max_tokens=room), sample)
    return read_preference(completion.text, (first, second), len(asked))


def read_preference(text: str, names: tuple[str, str], number: int) -> Preference:
    """The last verdict of each kind in `text` on the answers `names`, by `number` questions and over all.

    A verdict is a line "overall: NAME" ("1: NAME" by question), NAME one of the two or "tie"; a reply that is
    a name alone is one over all. Anything else is none: so is "overall: neither", whatever was said before.
    """
    menu: dict[str, Choice] = {names[0]: "first", names[1]: "second", "tie": "tie"}
    name = "|".join(map(re.escape, menu))
    other = r"\s*:\W{0,6}[^\s:]+\W*$"
    line = rf"^\W*(?:question\s*)?(overall|\d+)(?:\W{{1,6}}({name})\b(?!-)|{other})"
    found = {key.casefold(): menu.get(said.casefold()) for key, said in re.findall(line, text, re.I | re.M)}
    alone = menu.get(text.strip(" \n.\"'`*").casefold())
    return Preference(found.get("overall", alone), tuple(found.get(str(n)) for n in range(1, number + 1)))
