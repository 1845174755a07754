"""How far the untrained student is behind: it answers the probes that the teacher's best prompt answered.

Refuses to open a student, and to call agreement with the teacher right: the basis stays the teacher's.
"""

import asyncio

import msgspec

from distill.ask import student_messages
from distill.parse import parse_answer
from distill.score.same import same
from distill.score.stats import wilson
from distill.scouted import Scouted, Trial
from distill.student.protocol import Answer, Student

BATCH = 16
ROOM_TOKENS = {"label": 24, "json": 160, "text": 160, "chat": 160}
PROMPT = "student"
"""What the student's trial is called: it is shown its own prompt, the instruction alone."""


async def with_base(found: Scouted, student: Student) -> Scouted:
    """`found` with the student's trial on the probes of the best prompt; unchanged where it has none."""
    best = found.trials[0]
    probes = [probe for probe in found.probes if probe.tuning == best.tuning][: best.n]
    if not probes:
        return found
    shown = [student_messages(found.task, probe.input) for probe in probes]

    def answer() -> list[Answer]:
        room = ROOM_TOKENS[found.task.kind]
        said = dict(student.answer(shown, max_new_tokens=room, batch_size=BATCH))
        return [said[place] for place in range(len(shown))]

    said = await asyncio.to_thread(answer)
    answers = [
        parse_answer(found.task, each.text) if each.finish_reason != "length" else None for each in said
    ]
    # Without a known answer the teacher's own is what the student would have to give.
    wanted = [
        probe.expected if probe.expected is not None else theirs
        for probe, theirs in zip(probes, best.answers, strict=True)
    ]
    marks = [
        expected is not None and given is not None and same(found.task, expected, given)
        for expected, given in zip(wanted, answers, strict=True)
    ]
    score = wilson(sum(marks), len(marks))
    trial = Trial(
        PROMPT, best.basis, sum(marks), score.n, score.low, score.high, answers, marks, trusted=best.trusted
    )
    return msgspec.structs.replace(found, base=trial)
