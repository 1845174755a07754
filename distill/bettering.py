"""Ways of bettering an answer, on trial: what each gains over one plain answer on rows whose answer is known.

A stage that has shown there that it does not pay is not bought for the rows that follow. It refuses to take a
stage's word for it: without known rows votes only drop, and nothing is revised.
"""

import dataclasses
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from distill.answering import Answering, Stage, votes
from distill.config import GenerateConfig
from distill.parse import parse_answer
from distill.probing import gather
from distill.score.lift import stage_gains
from distill.score.same import same
from distill.types import Candidate, Example, Progress, Task

Trial = Callable[[Answering, Sequence[Example], Progress], Awaitable[dict[str, Any]]]
FEWEST = 10
"""Known rows under which nothing is said."""


def known_rows(seeds: Sequence[Example], most: int, seed: int) -> list[Example]:
    """The rows that every measure of this run is taken on: the same each time, so the ledger has them."""
    return random.Random(seed).sample(list(seeds), min(most, len(seeds)))


async def through_stages(
    answering: Answering, known: Sequence[Example], progress: Progress
) -> list[tuple[Candidate, dict[str, bool]]]:
    """Each known row answered as any other input: the candidate, and whether it was right after each stage.

    "plain" is the first single answer, before any stage.
    """

    async def answer(place: int) -> tuple[Candidate, dict[str, bool]]:
        row, right = known[place], dict[str, bool]()
        candidate = Candidate(index=place, input=row.input, answer="", origin="known")
        async for stage, at_last in answering.stages(candidate):
            candidate = at_last
            right[stage] = same(answering.task, row.output, candidate.answer or None)
        progress.advance()
        plain = same(answering.task, row.output, parse_answer(answering.task, candidate.raw or ""))
        return candidate, {"plain": plain, **right}

    return await gather(answer, range(len(known)))


def elects_unproven(task: Task, config: GenerateConfig) -> dict[str, Any] | None:
    """Whether the votes choose where no known rows tell, and why; None where known rows would tell.

    Labels are voted on by prompts of which the first was measured as the best, free answers by samples of
    which the first is greedy: they stand until votes are shown to do better. A log's response is one vote.
    """
    if task.kind == "chat" or votes(config) < 2:
        return {"on": False, "why": "there is one answer to each input"}
    if config.from_logs is not None:
        return {"on": True, "why": "the responses of a log are voted on"}
    if task.labels and config.inputs is None:
        return {"on": False, "why": "labels by construction are read back"}
    return None


async def election_pays(answering: Answering, known: Sequence[Example], progress: Progress) -> dict[str, Any]:
    """Whether the votes choose better on known rows than they drop; as `revision_pays`.

    `answering` lets them choose; what they are held against is the answer that stands where they do not.
    """
    task, config = answering.task, answering.config
    if (settled := elects_unproven(task, config)) is not None:
        return settled
    if len(known) < FEWEST:
        asked = config.best_of is not None
        return {"on": asked, "why": "--best-of" if asked else "not shown to pay: the first answer stands"}
    standing = Answering(
        task, dataclasses.replace(config, elect="off"), answering.teacher, answering.shots, answering.rules
    )
    progress.begin("votes on trial on rows with a known answer", 2 * len(known))
    before = [right["chosen"] for _, right in await through_stages(standing, known, progress)]
    after = [right["chosen"] for _, right in await through_stages(answering, known, progress)]
    rows = [{"plain": one, "chosen": other} for one, other in zip(before, after, strict=True)]
    return _settled(rows, "chosen", config.seed)


async def revision_pays(answering: Answering, known: Sequence[Example], progress: Progress) -> dict[str, Any]:
    """Whether a round of critique and revision gained more known rows than it lost, with the figures.

    `answering` has revision on. {"on", "why", and the gain of `stage_gains` where it was measured}.
    """
    if answering.task.kind != "text":
        what = (
            "a conversation has no known answer" if answering.task.kind == "chat" else "answers are voted on"
        )
        return {"on": False, "why": what}
    if len(known) < FEWEST:
        return {"on": False, "why": f"not shown to pay: --seeds FILE with {FEWEST} or more known answers"}
    progress.begin("revision on trial on rows with a known answer", len(known))
    rows = [right for _, right in await through_stages(answering, known, progress)]
    return _settled(rows, "revised", answering.config.seed)


def _settled(rows: Sequence[dict[str, bool]], stage: Stage, seed: int) -> dict[str, Any]:
    """On where the stage gained more rows than it lost, with the gain."""
    gain = next(gain for gain in stage_gains(rows, seed) if gain["stage"] == stage)
    pays = gain["gain"] > 0
    gained = f"{100 * gain['gain']:+.1f} points on {len(rows)} known rows"
    return {"on": pays, "why": f"{'it pays' if pays else 'it does not pay'}: {gained}", **gain}
