"""Second opinions where there is no gold: a vote of prompts on written inputs, a judge on free answers.

Refuses to take either on trust: a vote says how many labels it confirms, and a judge must tell wrong answers
first.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from distill import judge
from distill.probing import gather
from distill.score.same import same
from distill.score.text import tokens
from distill.scouted import Probe, Trial
from distill.teacher.counted import Counted
from distill.types import Progress, Task

CONFUSED, FEWEST = 0.6, 3
CONTROLS = 10
"""Wrong answers, those of other inputs, that a judge is tried on."""
FOOLED = 0.3
"""Share of those that a judge may keep, for its verdicts to count."""
JUDGED = "judged"
TELLING = 0.25
"""Share of written inputs that may name their own label, for a score on them to be trusted."""


class Audit(NamedTuple):
    """What a vote of prompts says of written inputs.

    `read` is the share it reads as meant, `suspects` the inputs of which all say another label, `confused`
    two labels of which the first is read as the second, `telling` the share that name their own label.
    """

    read: float
    suspects: frozenset[str]
    confused: tuple[str, str] | None
    telling: float = 0.0


def audit(heard: Sequence[tuple[Sequence[Probe], Sequence[Trial]]]) -> Audit:
    """Do the best prompts, voting, read inputs as the labels they were written for? Trials by probes."""
    said_of: dict[str, tuple[Probe, list[str | None]]] = {}
    for probes, trials in heard:
        for trial in trials:
            for probe, answer in zip(probes, trial.answers, strict=False):
                said_of.setdefault(probe.input, (probe, []))[1].append(answer)
    votes = list(said_of.values())
    read = [(probe, Counter(said).most_common(1)[0][0]) for probe, said in votes]
    suspects = {
        probe.input
        for probe, said in votes
        if len(said) > 1 and len(set(said)) == 1 and said[0] not in (None, probe.expected)
    }
    right = sum(vote == probe.expected for probe, vote in read)
    named = sum(tells(probe) for probe, _ in read)
    count = max(1, len(read))
    return Audit(right / count, frozenset(suspects), _confused(read), named / count)


def tells(probe: Probe) -> bool:
    """Whether an input names the label it was written for: real ones seldom do, and then it is no test."""
    words = set(tokens((probe.expected or "").replace("_", " ").replace("-", " ")))
    return bool(words) and words <= set(tokens(probe.input))


def _confused(read: Sequence[tuple[Probe, str | None]]) -> tuple[str, str] | None:
    """Two labels of which the vote reads the first as the second, nearly always, and the second as itself."""
    asked = Counter(probe.expected for probe, _ in read)
    found = Counter((probe.expected, vote) for probe, vote in read)
    for (wanted, vote), count in found.most_common():
        if wanted is None or vote is None or wanted == vote or count < FEWEST:
            continue
        if count >= CONFUSED * asked[wanted] and found[vote, vote] >= CONFUSED * asked[vote]:
            return wanted, vote
    return None


async def judged(
    task: Task, teacher: Counted, trial: Trial, probes: Sequence[Probe], progress: Progress
) -> tuple[Trial, str]:
    """The trial, less the answers its judge has something against, and a note on the judge.

    The judge is on trial first: it must drop the answers of other inputs. One that keeps those is not used.
    """
    answers = [(probe.input, answer) for probe, answer in zip(probes, trial.answers, strict=False) if answer]
    swapped = [
        (text, other)
        for (text, answer), (_, other) in zip(answers, answers[1:] + answers[:1], strict=True)
        if not same(task, answer, other)
    ][:CONTROLS]
    if len(swapped) < FEWEST or teacher.left < len(swapped) + len(answers):
        return trial, ""
    progress.begin(f"judging {task.name}", len(swapped) + len(answers))

    async def against(row: tuple[str, str]) -> str | None:
        progress.advance(note=f"{task.name}: judge")
        return await judge.objection(teacher, task, *row)

    kept = sum(not said for said in await gather(against, swapped))
    if kept > FOOLED * len(swapped):
        return trial, f"its judge keeps {kept} of {len(swapped)} answers to other inputs, so it has no say"
    verdicts = dict(zip(answers, await gather(against, answers), strict=True))
    marks = [
        right and answer is not None and not verdicts.get((probe.input, answer))
        for probe, answer, right in zip(probes, trial.answers, trial.marks, strict=False)
    ]
    return msgspec.structs.replace(trial, marks=marks, right=sum(marks)), JUDGED
