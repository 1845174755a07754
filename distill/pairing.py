"""Kept candidates as training pairs, with the teacher's reasons where those are asked for.

Refuses to judge: what comes here was accepted.
"""

from distill.ask import student_messages
from distill.making import Making
from distill.probing import gather
from distill.types import Candidate, Pair, Task


async def explained(making: Making, accepted: list[Candidate]) -> dict[int, str]:
    """The reason for each accepted answer, by the candidate's index."""
    making.progress.begin("asking for reasons", len(accepted))

    async def explain(candidate: Candidate) -> tuple[int, str]:
        reason = await making.answering.explain(candidate)
        making.progress.advance()
        return candidate.index, reason

    return dict(await gather(explain, accepted))


def pair(task: Task, candidate: Candidate, rationale: str = "") -> Pair:
    """The candidate as a training example."""
    *shown, asked = student_messages(task, candidate.input)
    return Pair.make(
        (*shown, *candidate.before, asked),
        candidate.answer,
        candidate.origin,
        candidate.attributes,
        rationale=rationale,
        logprobs=candidate.logprobs,
    )
