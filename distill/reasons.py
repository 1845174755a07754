"""Why a task stands where it does, in one plain line.

Refuses adjectives: it says what was counted, on what, and what would settle what is open.
"""

from collections.abc import Sequence

from distill.auditing import JUDGED, TELLING, Audit
from distill.config import ExploreConfig
from distill.scouted import Trial
from distill.types import Task

REFUSES = 0.5
OFF_MENU = 0.3


def reason(
    task: Task, trials: Sequence[Trial], config: ExploreConfig, audited: Audit | None, note: str
) -> str:
    """The line for the table: the count first, then what most limits it."""
    best = trials[0]
    if best.n == 0:
        return "no input could be written to try it on"
    told = [counted(best), *limits(task, best, config, audited, note)]
    if tied := ties(trials):
        told.append(f"ties with {tied}")
    return "; ".join(told)


def counted(best: Trial) -> str:
    """What was counted, and on what."""
    of = f"{best.right} of {best.n}"
    by = f"with {best.title}"
    if best.basis == "gold":
        return f"right on {of} of your rows {by}"
    if best.basis == "construction":
        return f"reads {of} written inputs as meant {by}"
    return f"says the same when asked twice on {of} inputs {by}"


def limits(task: Task, best: Trial, config: ExploreConfig, audited: Audit | None, note: str) -> list[str]:
    """What keeps the score from being more: refusals first, as nothing else matters then."""
    found = []
    unread = sum(answer is None for answer in best.answers) - best.refused
    if best.refused >= REFUSES * best.n:
        found.append(f"the teacher refuses {best.refused} of them")
    if unread >= OFF_MENU * best.n:
        wanted = {"label": "no label of the task", "json": "not the JSON asked for"}
        found.append(f"{unread} answers are {wanted.get(task.kind, 'cut or empty')}")
    if audited is not None and audited.confused is not None:
        wrote, read = audited.confused
        found.append(f"inputs written for '{wrote}' are read as '{read}': do the two labels mean the same?")
    elif audited is not None and not best.trusted:
        why = f"prompts voting confirm {audited.read:.0%} of the labels"
        why += f" and {audited.telling:.0%} of the inputs name theirs" if audited.telling > TELLING else ""
        found.append(f"{why}: indicative only")
    if best.basis == "agreement" and not best.trusted:
        found.append(note if note and note != JUDGED else "both answers can be wrong: indicative only")
    for bar in (config.ok, config.good) if best.trusted else (config.ok,):
        if best.low < bar <= best.high:
            found.append(f"the interval spans the bar of {bar:.0%}: {settles(best, config, note)}")
            break
    return found


def settles(best: Trial, config: ExploreConfig, note: str) -> str:
    """What would take the bar out of the interval: the samples of an answer that nobody judged cannot."""
    if best.basis == "gold":
        rows = "more of your rows, or more --calls," if best.n < config.probes else "more --probes"
        return f"{rows} settle it"
    if best.basis == "agreement" and note != JUDGED and best.value**0.5 >= config.ok:
        return "only --gold rows settle it"
    return f"--gold rows or more {'--probes' if best.n >= config.probes else '--calls'} settle it"


def ties(trials: Sequence[Trial]) -> str:
    """The finalists that did as well as the best on as many probes."""
    best = trials[0]
    if not best.right:
        return ""
    same = [trial.title for trial in trials[1:] if trial.n == best.n and trial.right == best.right]
    return " and ".join(same)
