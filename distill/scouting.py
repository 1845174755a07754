"""One task scouted: the search for its prompt, and the measurement that decides.

    tuning probes    ->  search: kinds of prompt, examples, rewritten instructions
    deciding probes  ->  the finalists, audited; the verdict and its reason

Refuses to lose what was measured: where the money ends, what there is comes back as "unclear".
"""

from collections.abc import Sequence

import msgspec

from distill import auditing, deciding
from distill.config import ExploreConfig
from distill.errors import BudgetReached
from distill.improving import Bench, search
from distill.menu import YOURS, find_prompt
from distill.probe_sets import Rows, gold_rows, written_rows
from distill.reasons import reason
from distill.scouted import Scouted, Source, Trial
from distill.teacher.counted import Counted
from distill.teacher.protocol import Teacher
from distill.types import Example, Progress, PromptChoice, Task

ANSWER_TOKENS = {"label": 24, "json": 160, "text": 160, "chat": 160}
TRUST = {
    "gold": "your labelled rows",
    "construction": "inputs written for a label; some of them miss it",
    "agreement": "two samples agree; both can be wrong",
}
BASELINE = "zero-shot"


async def scout(
    task: Task,
    config: ExploreConfig,
    teacher: Teacher,
    progress: Progress,
    *,
    gold: Sequence[Example] = (),
    baseline: str = "",
    source: Source = "brief",
) -> Scouted:
    """Find the prompt that `task` is done best with and say how well, within `config.calls` calls.

    `gold` rows are split: some shape the prompt, the others decide. `baseline` is the user's own prompt (with
    "{input}" where the input goes, else ahead of it), which races with the menu's.
    """
    counted, heard = Counted(teacher, config.calls), list[Trial]()
    scouted = Scouted(task, "unclear", TRUST[_basis(task, gold)], [], source=source)
    try:
        if gold:
            task, rows = gold_rows(task, gold, config)
        else:
            task, rows = await written_rows(task, config, counted, progress)
        scouted = msgspec.structs.replace(scouted, task=task, tuned_on=len(rows.tuning))
        if not rows.tuning:
            return nothing_written(scouted, counted.calls)
        bench = Bench(
            counted,
            rows.tuning,
            rows.pool,
            ANSWER_TOKENS[task.kind],
            _reserve(task, config, gold=bool(gold)),
            config.seed,
            progress,
            heard,
        )
        progress.begin(f"trying {task.name}", None)
        tried = await search(task, bench, rounds=config.improve, baseline=baseline)
        # Where the calls did not allow a search, the prompt to beat is all that is measured.
        alone = PromptChoice(YOURS, instruction=baseline) if baseline else PromptChoice(BASELINE)
        finalists = pick_finalists(tried, baseline=bool(baseline)) or [alone]
        scouted = await _decided(scouted, rows, finalists, tried, counted, config, progress, heard)
    except BudgetReached as stopped:
        scouted = _unfinished(scouted, heard, stopped)
    return msgspec.structs.replace(scouted, calls=counted.calls)


def _reserve(task: Task, config: ExploreConfig, *, gold: bool) -> int:
    """Calls kept for deciding: the first look at all finalists, and a second one at the better half."""
    each = 1 if task.labels or gold else 2
    first = min(deciding.FIRST_LOOK, config.probes)
    second = min(deciding.FIRST_LOOK, config.probes - first)
    writing = 0 if gold else first + second
    judging = 0 if task.labels or gold else auditing.CONTROLS + first + second
    looked = deciding.FINALISTS * first + deciding.halved(deciding.FINALISTS) * second
    return writing + each * looked + judging


async def _decided(
    scouted: Scouted,
    rows: Rows,
    finalists: Sequence[PromptChoice],
    tried: Sequence[Trial],
    teacher: Counted,
    config: ExploreConfig,
    progress: Progress,
    heard: list[Trial],
) -> Scouted:
    """The finalists measured, audited and put in order, and what is to be said of the best."""
    task = scouted.task
    trials, probes = await deciding.decide(
        task,
        teacher,
        finalists,
        rows.deciding,
        config=config,
        max_tokens=ANSWER_TOKENS[task.kind],
        progress=progress,
        heard=heard,
    )
    stop = deciding.Stop(config.ok, config.good, config.probes, len(finalists))
    note, audited = "", None
    if trials[0].basis == "construction":
        voices = [trial for trial in tried if trial.way in finalists]
        audited = auditing.audit([(probes, trials), (rows.tuning, voices)])
        trials = [deciding.widened(trial, audited, probes, stop) for trial in trials]
    elif trials[0].basis == "agreement":
        best, note = await auditing.judged(task, teacher, trials[0], probes, progress)
        kept = note == auditing.JUDGED
        trials = [deciding.agreeing(best, stop, judged=kept)] + [
            deciding.agreeing(trial, stop, judged=False) for trial in trials[1:]
        ]
    best = trials[0]
    losers = [trial for trial in tried if trial.way not in {decided.way for decided in trials}]
    return msgspec.structs.replace(
        scouted,
        task=msgspec.structs.replace(task, prompt=chosen(trials)),
        standing=deciding.stands(best, config),
        trusted=best.trusted,
        trials=[*trials, *losers],
        probes=[*probes, *(msgspec.structs.replace(probe, tuning=True) for probe in rows.tuning)],
        held_out=len(probes),
        reason=reason(task, trials, config, audited, note),
    )


def nothing_written(scouted: Scouted, calls: int) -> Scouted:
    """What there is to say where the teacher writes no input that could be read."""
    why = "the teacher wrote no input to try it on (it refused, or wrote one thing only)"
    why += ": give --gold rows, or another --teacher"
    return msgspec.structs.replace(scouted, reason=why, calls=calls)


def _unfinished(scouted: Scouted, heard: Sequence[Trial], stopped: BudgetReached) -> Scouted:
    """What there is where the money ended."""
    latest = {trial.way: trial for trial in heard}
    trials = sorted(latest.values(), key=lambda trial: (-trial.n, -trial.value))
    tuning = [msgspec.structs.replace(trial, tuning=True) for trial in trials]
    return msgspec.structs.replace(
        scouted,
        trials=tuning,
        reason=f"the money ended before it was measured ({len(tuning)} prompts tried)",
        unfinished=stopped.message,
    )


def _basis(task: Task, gold: Sequence[Example]) -> str:
    return "gold" if gold else "construction" if task.kind == "label" else "agreement"


def pick_finalists(trials: Sequence[Trial], *, baseline: bool) -> list[PromptChoice]:
    """The winner on tuning probes, the best of another kind, and the prompt to beat: yours, or zero-shot."""
    ways = [trial.way for trial in trials]
    found = ways[:1]
    kinds = {find_prompt(way.name).template for way in found}
    found += [way for way in ways if find_prompt(way.name).template not in kinds][:1]
    to_beat = YOURS if baseline else BASELINE
    plain = [way for way in ways if way.name == to_beat and not (way.shots or way in found)]
    found += [way for way in plain if baseline or not way.instruction]
    return found[: deciding.FINALISTS]


def chosen(trials: Sequence[Trial]) -> PromptChoice:
    """The winner as `task.toml` records it, with its score on the probes that decided."""
    best = trials[0]
    others = [trial.prompt for trial in trials[1:] if trial.high >= best.low and trial.prompt != best.prompt]
    return msgspec.structs.replace(
        best.way,
        score=round(best.value, 4),
        low=round(best.low, 4),
        high=round(best.high, 4),
        n=best.n,
        others=tuple(dict.fromkeys(others)),
    )
