"""Asking the teacher once more about answers that look wrong: several prompts vote to keep, relabel or drop.

Refuses to vote where answers hardly ever agree word for word: a conversation, or free text without a check.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from distill.answering import Answering
from distill.ask import voting_prompts
from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.chain import Chain
from distill.preparing import settle_prompt
from distill.probing import gather
from distill.score.same import same
from distill.store.run import Run
from distill.store.shapes import read_gold
from distill.teacher.ledgered import Ledgered
from distill.types import Candidate, Pair, Progress, Request, Task

TRIES = 4  # samples looked at for each that votes


class Vote(NamedTuple):
    """What came of asking again: `answer` is the one to have now, `votes` how many gave each ("": none)."""

    verdict: Literal["keep", "relabel", "drop"]
    answer: str
    votes: dict[str, int]
    why: str


def check_votable(task: Task) -> None:
    """Raise UsageError where votes could not agree."""
    if task.kind == "chat" or (task.kind == "text" and not task.verify):
        raise UsageError(
            f"answers of a '{task.kind}' task cannot be voted on: two right ones differ",
            where="--reask",
            hint="read what is listed and correct it: distill audit; or say `verify` in task.toml",
        )


async def revote(
    run: Run,
    task: Task,
    pairs: Sequence[Pair],
    asking: GenerateConfig,
    teacher: Ledgered,
    progress: Progress,
    *,
    votes: int,
    min_share: float,
) -> list[Vote]:
    """What `votes` answers of the teacher say of each pair, in order, by the prompts that `generate` uses.

    The first answers are those that generate has bought, where it asked for them; no answer is bought twice.
    Raises UsageError where answers cannot be voted on, and what the teacher raises.
    """
    check_votable(task)
    seeds = tuple(read_gold(asking.seeds, task)) if asking.seeds else ()
    task = await settle_prompt(run, task, asking, teacher, progress, seeds)
    answering = Answering(task, asking, teacher, seeds, Chain(()))
    prompts = ", ".join(voting_prompts(task)[:votes])
    progress.say(f"up to {votes} votes a row, no two alike, by the prompts: {prompts}")
    progress.begin("asking again", len(pairs))

    async def ask(pair: Pair) -> Vote:
        candidate = candidate_of(pair)
        voices = samples(answering, candidate, votes)
        answered = await gather(lambda sample: answering.ask(candidate, sample), voices)
        progress.advance()
        return decided(answering, pair.answer, [answer for answer, _ in answered], min_share)

    return await gather(ask, pairs)


def samples(answering: Answering, candidate: Candidate, votes: int) -> list[int]:
    """The first `votes` samples that differ: a greedy request twice would be one voice counted twice."""
    asked: list[Request] = []
    picked: list[int] = []
    for sample in range(TRIES * votes):
        request = answering.request(candidate, sample)
        if request.temperature or request not in asked:
            asked.append(request)
            picked.append(sample)
    return picked[:votes]


def candidate_of(pair: Pair) -> Candidate:
    """The pair as the teacher is asked about it: its own instruction goes before, so no system turn."""
    *before, asked = [message for message in pair.messages if message.role != "system"]
    return Candidate(index=0, input=asked.content, answer="", origin=pair.origin, before=tuple(before))


def decided(answering: Answering, given: str, answers: Sequence[str | None], min_share: float) -> Vote:
    """The verdict of `answers`, None where one is none."""
    place = answering.elect(answers)
    share, _ = answering.support(answers, place)
    winner, votes = answers[place], dict(Counter(answer or "" for answer in answers).most_common())
    tally = ", ".join(f"{count} {answer or 'no answer'}" for answer, count in votes.items())
    if winner is None or share < min_share:
        return Vote("drop", given, votes, f"the teacher is of several minds: {tally}")
    if same(answering.task, winner, given):
        return Vote("keep", given, votes, f"the teacher says so too: {tally}")
    return Vote("relabel", winner, votes, f"the teacher says otherwise: {tally}")
