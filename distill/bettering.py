"""Ways of bettering an answer, on trial: what each gains over one plain answer on rows whose answer is known.

A stage that has not shown there that it pays is not bought for the rows that follow. It refuses to take a
stage's word for it: without known rows, what `auto` stands for is off.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from distill.answering import Answering, Stage, votes
from distill.parse import parse_answer
from distill.probing import gather
from distill.score.lift import stage_gains
from distill.score.same import same
from distill.types import Candidate, Example, Progress

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


async def election_pays(answering: Answering, known: Sequence[Example], progress: Progress) -> dict[str, Any]:
    """Whether the votes choose better than the first prompt on known rows; as `revision_pays`.

    `answering` lets them choose. Labels are voted on by prompts of which the first was measured as the best,
    so that without known rows its answer stands; free answers are samples of one prompt, of which the most
    common is the likeliest (self-consistency, Wang 2022).
    """
    task, config = answering.task, answering.config
    if task.kind == "chat" or votes(config) < 2:
        return {"on": False, "why": "there is one answer to each input"}
    if len(known) < FEWEST:
        asked = config.best_of is not None
        said = (
            "--best-of" if asked else "the best prompt's own answer stands" if task.labels else "free answers"
        )
        return {"on": asked or not task.labels, "why": said}
    return await _on_trial(answering, known, "chosen", progress)


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
    return await _on_trial(answering, known, "revised", progress)


async def _on_trial(
    answering: Answering, known: Sequence[Example], stage: Stage, progress: Progress
) -> dict[str, Any]:
    progress.begin(f"answers {stage} on trial on rows with a known answer", len(known))
    rows = [right for _, right in await through_stages(answering, known, progress)]
    gain = next(gain for gain in stage_gains(rows, answering.config.seed) if gain["stage"] == stage)
    pays = gain["gain"] > 0
    gained = f"{100 * gain['gain']:+.1f} points on {len(known)} known rows"
    return {"on": pays, "why": f"{'it pays' if pays else 'it does not pay'}: {gained}", **gain}
