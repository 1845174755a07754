"""Is the teacher good enough? Finalists on probes no prompt was shaped on, and how far that can be trusted.

Sequential: 20 probes first, twice as many while the interval straddles a bar. Every look and every finalist
takes its share of the 5% (Bonferroni), so that looking again makes no interval too narrow. It refuses to give
the score of written inputs as that of real ones: the interval is widened by what the two were found to
differ.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import msgspec

from distill.auditing import CONTROLS, TELLING, Audit
from distill.config import ExploreConfig
from distill.probing import VOTERS, try_prompt
from distill.score.stats import wilson
from distill.scouted import Probe, Standing, Trial
from distill.teacher.counted import Counted
from distill.types import Progress, PromptChoice, Task

FIRST_LOOK = 20
FINALISTS = VOTERS + 1
ERROR = 0.05
"""Share of intervals that may miss, over all looks and finalists."""
EASIER, HARDER = 1.0, 0.5
"""How much better and worse written inputs may be read than real ones, in log-odds (dev/LOG.md)."""
AUDITED, LEAST = 0.7, 16
"""For a score on written inputs to be trusted, a vote of prompts must read this share of them as meant, and
there must be so many (some of the first 20 may be doubles)."""


class Stop(NamedTuple):
    """Where measuring stops: the bars, the probes at most, how many prompts compete."""

    ok: float
    good: float
    most: int
    finalists: int

    @property
    def z(self) -> float:
        """The normal quantile of one look at one finalist."""
        return NormalDist().inv_cdf(1 - ERROR / 2 / (len(looks(self.most)) * self.finalists))


def looks(most: int) -> list[int]:
    """Probes at each look: 20, 40, 80, … and `most`."""
    found, upto = [], FIRST_LOOK
    while upto < most:
        found.append(upto)
        upto *= 2
    return [*found, most]


async def decide(
    task: Task,
    teacher: Counted,
    ways: Sequence[PromptChoice],
    probes: Callable[[int], Awaitable[list[Probe]]],
    *,
    config: ExploreConfig,
    max_tokens: int,
    progress: Progress,
    heard: list[Trial],
) -> tuple[list[Trial], list[Probe]]:
    """(the finalists' trials, best first; the probes): the better half goes on while the best says nothing.

    `probes(n)` gives the first n, or all there are. Stops where the calls left are too few for another look
    at the leader. Each trial is put into `heard` as it ends.
    """
    stop = Stop(config.ok, config.good, config.probes, len(ways))
    running, done, shown = list(ways), dict[PromptChoice, Trial](), list[Probe]()
    for upto in looks(config.probes):
        if done:
            running = running[: _affordable(done, upto, upto - len(shown), teacher.left)]
        if not running:
            break
        before, shown = len(shown), await probes(upto)
        if done and len(shown) <= before:
            break
        progress.begin(f"measuring {task.name}", len(shown) * len(running))
        for way in running:
            trial = await try_prompt(task, teacher, way, shown, max_tokens=max_tokens, progress=progress)
            done[way] = trial
            heard.append(trial)
        running = sorted(running, key=lambda way: -done[way].value)
        if not straddles(*hoped(done[running[0]], stop), stop):
            break
        running = running[: halved(len(running))]
    # Who went on to more probes led when it was chosen; the same share of fewer is no lead.
    return sorted((bounded(trial, stop) for trial in done.values()), key=lambda t: (-t.n, -t.value)), shown


def _affordable(done: Mapping[PromptChoice, Trial], upto: int, more: int, left: int) -> int:
    """How many prompts can be asked about `more` probes, with `left` calls to write and to judge them too."""
    basis = next(iter(done.values())).basis
    free = basis == "agreement"
    spare = left - (0 if basis == "gold" else more) - free * (CONTROLS + upto)
    return max(0, spare // (max(1, more) * (1 + free)))


def halved(finalists: int) -> int:
    """How many of them go on to the next look (successive halving)."""
    return -(-finalists // 2)


def hoped(trial: Trial, stop: Stop) -> tuple[float, float]:
    """The narrowest interval that an audit or a judge may leave of a trial: is there more to learn?"""
    interval = wilson(trial.right, trial.n, stop.z)
    if trial.basis == "construction":
        return shifted(interval.low, -EASIER), shifted(interval.high, HARDER)
    return interval.low, agreed_at_most(trial, stop) if trial.basis == "agreement" else interval.high


def straddles(low: float, high: float, stop: Stop) -> bool:
    """Whether a bar lies inside the interval: more probes may say something."""
    return low < stop.ok <= high or low < stop.good <= high


def bounded(trial: Trial, stop: Stop) -> Trial:
    """The trial with the interval that holds over all looks and finalists; gold can be trusted."""
    interval = wilson(trial.right, trial.n, stop.z)
    return msgspec.structs.replace(
        trial, low=interval.low, high=interval.high, trusted=trial.basis == "gold" and trial.n > 0
    )


def widened(trial: Trial, audited: Audit, probes: Sequence[Probe], stop: Stop) -> Trial:
    """A trial on written inputs with the interval of its accuracy on real ones.

    At the top, inputs that all prompts read as another label count as right: they may have missed theirs.
    What cannot be read as an answer is not right, whatever the input was meant to be: a "no" that rests on
    that alone can be trusted, and has nothing at the bottom.
    """
    wrong = [
        probe.input
        for probe, right in zip(probes, trial.marks, strict=False)
        if not right and probe.input in audited.suspects
    ]
    low = wilson(trial.right, trial.n, stop.z).low
    high = wilson(trial.right + len(wrong), trial.n, stop.z).high
    readable = wilson(sum(answer is not None for answer in trial.answers), trial.n, stop.z).high
    confirmed = audited.read >= AUDITED and audited.telling <= TELLING and audited.confused is None
    mute = readable < stop.ok and not confirmed
    return msgspec.structs.replace(
        trial,
        low=0.0 if mute else shifted(low, -EASIER),
        high=min(shifted(high, HARDER), readable),
        trusted=trial.n >= LEAST and (confirmed or mute),
    )


def shifted(share: float, by: float) -> float:
    """A share moved by so much in log-odds: 0 and 1 stay what they are."""
    if share in (0.0, 1.0):
        return share
    return 1 / (1 + (1 - share) / share * math.exp(-by))


def agreeing(trial: Trial, stop: Stop, *, judged: bool) -> Trial:
    """A trial of free answers with the interval of their accuracy.

    At the bottom it is nothing, as both samples can be wrong, unless a judge that can tell kept what counts
    as right here. Only a "no" can be trusted.
    """
    high = agreed_at_most(trial, stop)
    return msgspec.structs.replace(
        trial,
        low=wilson(trial.right, trial.n, stop.z).low if judged else 0.0,
        high=high,
        trusted=trial.n >= LEAST and high < stop.ok,
    )


def agreed_at_most(trial: Trial, stop: Stop) -> float:
    """The most that free answers can be right: what is none is not, and both samples agree where both are.

    Of an input answered right with probability p, both are with p squared, so that accuracy is at most the
    root of agreement (Jensen's inequality).
    """
    answers = sum(answer is not None for answer in trial.answers)
    both, any_ = (wilson(count, trial.n, stop.z).high for count in (trial.right, answers))
    return float(min(both**0.5, any_))


def stands(best: Trial, config: ExploreConfig) -> Standing:
    """good / ~OK / poor where the whole interval is on one side of the bar, else unclear.

    What is indicative only is never "good".
    """
    if best.low >= config.good and best.trusted:
        return "good"
    if best.low >= config.ok:
        return "~OK"
    return "poor" if best.high < config.ok else "unclear"
