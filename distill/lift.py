"""Filter lift: do the rows that are kept have better answers than the teacher's raw ones, and by how much?

On rows with a known answer (`--seeds`), else on labels by construction, audited by votes of prompts that had
no part in the filter. It refuses to say "better" of what it could not measure: then it says why.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from distill.answering import Answering
from distill.ask import answer_request, voting_prompts
from distill.bettering import FEWEST, known_rows, through_stages
from distill.making import Making
from distill.parse import parse_answer
from distill.probing import gather
from distill.score.lift import filter_lift, stage_gains
from distill.types import Candidate, Example, Task

AUDITORS = 3


async def measure(making: Making) -> dict[str, Any]:
    """The lift of `making`'s filters, or {"basis": None, "why": …} where it cannot be measured."""
    config, task = making.config, making.task
    if not config.lift_rows:
        return _not_measured("--lift-rows 0")
    if task.kind == "chat":
        return _not_measured("a conversation has no known answer")
    if task.labels and making.given is None:
        return await _by_vote(making)
    known = known_rows(making.seeds, config.lift_rows, config.seed)
    if len(known) < FEWEST:
        return _not_measured(f"no rows with a known answer: --seeds FILE with {FEWEST} or more")
    return await _by_gold(making, known)


async def _by_gold(making: Making, known: Sequence[Example]) -> dict[str, Any]:
    """Every known row through the answering stage and the answer rules, as any other input."""
    making.progress.begin("measuring filter lift on rows with a known answer", len(known))
    rows = await through_stages(making.answering, known, making.progress)
    right = [stages for _, stages in rows]
    at_last = [list(stages.values())[-1] for stages in right]
    kept = [making.judged(candidate).keep for candidate, _ in rows]
    seed = making.config.seed
    lift = filter_lift([stages["plain"] for stages in right], at_last, kept, seed=seed)
    # A judge's verdict keeps or drops; it changes no answer.
    stages = [gain for gain in stage_gains(right, seed) if gain["stage"] != "judged"]
    return {**_said("gold", lift), "stages": stages}


async def _by_vote(making: Making) -> dict[str, Any]:
    """Labels by construction, right where other prompts than the reader's vote for them."""
    answering, progress = making.answering, making.progress
    if not answering.agreeing and not answering.judging:
        return _not_measured("no filter looks at answers here: " + answering.agreeing_why)
    sample = random.Random(making.config.seed).sample(
        making.answered, min(making.config.lift_rows, len(making.answered))
    )
    if len(sample) < FEWEST:
        return _not_measured(f"fewer than {FEWEST} answers")
    progress.begin("measuring filter lift by votes of other prompts", len(sample))

    async def audit(row: tuple[Candidate, bool]) -> tuple[bool, bool] | None:
        candidate, keep = row
        vote = await _voted(answering, candidate)
        progress.advance()
        return None if vote is None else (vote == candidate.asked, keep)

    audited = [row for row in await gather(audit, sample) if row is not None]
    if len(audited) < FEWEST:
        return _not_measured("the other prompts agree on too few rows")
    right, kept = zip(*audited, strict=True)
    return _said("vote", filter_lift(right, right, kept, seed=making.config.seed))


async def _voted(answering: Answering, candidate: Candidate) -> str | None:
    """What most of AUDITORS other prompts read; None without a majority."""
    task, config = answering.task, answering.config
    requests = [
        answer_request(
            task,
            prompt,
            candidate.input,
            max_tokens=config.max_answer_tokens,
            shots=answering.shots,
            rotation=turn,
        )
        for prompt, turn in auditors(task)
    ]
    said = await asyncio.gather(*(answering.teacher.complete(request) for request in requests))
    votes = Counter(parse_answer(task, completion.text) for completion in said)
    answer, count = votes.most_common(1)[0]
    return answer if 2 * count > len(requests) else None


def auditors(task: Task) -> list[tuple[str, int]]:
    """(prompt, rotation of its examples) of each auditor: the other kinds first, then the best one turned."""
    best, *others = voting_prompts(task)
    ways = [(prompt, 0) for prompt in others] + [(best, turn) for turn in (1, 2, 3)]
    return ways[:AUDITORS]


def _not_measured(why: str) -> dict[str, Any]:
    return {"basis": None, "why": why}


def _said(basis: str, lift: dict[str, Any]) -> dict[str, Any]:
    """The lift with its sentence. A gain is one whose whole interval is above zero."""
    if lift["diff"] is None:
        return {"basis": basis, **lift, "pays": None, "why": "the filters kept none of these rows"}
    points = f"{100 * lift['diff']:+.1f} points ({100 * lift['low']:+.1f} to {100 * lift['high']:+.1f})"
    pays = None if lift["low"] <= 0 <= lift["high"] else lift["diff"] > 0
    says = {
        True: f"the filters pay: {points}",
        False: f"the filters do harm: {points}",
        None: f"the filters are not shown to pay on {lift['n']} rows: {points}",
    }[pays]
    return {"basis": basis, **lift, "pays": pays, "why": says}
