"""The judge on trial: canaries, flips, self-agreement, biases by name, and the grade they come to. Pure.

Refuses to vouch for a judge that could not be tried.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from distill.score.judged import Ballot, Side

Standing = Literal["pass", "near", "fail"]
Trials = Mapping[str, Sequence[Ballot]]
"""Canaries and probes by name; the bad, or the padded, answer is a."""
Again = Sequence[tuple[Side | None, Side | None]]
"""(A verdict, the same asked again)."""
CANARIES = ("empty", "constant", "another prompt's answer", "shuffled", "injected")
"""Bad answers that must lose to the good one, by name."""
PADDED, OWN, CONTROL = "padded", "teacher's answer to another prompt", "another prompt's answer"
GRADES: dict[Standing, str] = {"pass": "trustworthy", "near": "doubtful", "fail": "not trustworthy"}
MUST_LOSE, MAY_LOSE = 0.95, 0.80
MOST_FLIPS, MANY_FLIPS = 0.25, 0.50
AGREES, HARDLY_AGREES = 0.90, 0.75
FEW_UNSCORED, MANY_UNSCORED = 0.05, 0.20
LITTLE_BIAS, BIAS = 0.10, 0.20
SURE = 0.01
"""p below which a lean is no accident."""
FEWEST_TRIED, FEWEST_PAIRS = 20, 10
"""Canaries and pairs with a verdict, below which nobody vouches for a judge."""


class Check(NamedTuple):
    """One trial of the judge: what it did, what it had to do, how it stands, on how many."""

    name: str
    value: float | None
    needed: str
    standing: Standing
    n: int


def trust(pairs: Sequence[Ballot], trials: Trials, again: Again) -> dict[str, Any]:
    """The judge's grade with all that it rests on, and the biases it was caught with, by name.

    `checks` are {name, value|null, needed, standing, n}; `why` says what keeps the grade down; `not_tried`
    is what there were no rows for.
    """
    asked = [ballot for ballot in pairs if not ballot.same]
    ballots = [*asked, *(ballot for each in trials.values() for ballot in each)]
    said = [side for ballot in ballots for side in (ballot.forth, ballot.back)]
    unscored = sum(side is None for side in said)
    checks = [*canary_checks(trials), flip_check(asked), agreement_check(again)]
    checks += [unscored_check(unscored, len(said)), *bias_checks(trials)]
    caught = biases(asked, trials)
    why = [f"{check.name}: {shown(check)}" for check in checks if check.standing != "pass"]
    standings: list[Standing] = [check.standing for check in checks]
    standings += ["fail"] * bool(caught)
    scored = sum(ballot.choice is not None for ballot in asked)
    tried = sum(ballot.choice is not None for name in CANARIES for ballot in trials.get(name, ()))
    for few, least, what in ((scored, FEWEST_PAIRS, "pairs"), (tried, FEWEST_TRIED, "canaries")):
        if few < least:
            standings.append("near")
            why.append(f"only {few} {what} got a verdict; {least} are needed to vouch for a judge")
    if said and unscored == len(said):  # all else follows from that
        why = [f"{unscored_check(unscored, unscored).name}: all {unscored} of them"]
    worst = max(standings, key=list(GRADES).index)
    return {
        "grade": GRADES[worst],
        "why": [*(f"{name}: {reason}" for name, reason in caught.items()), *why],
        "biases": list(caught),
        "canaries": {name: lost(trials.get(name, ())) for name in CANARIES},
        "not_tried": [name for name in (*CANARIES, PADDED, OWN) if not trials.get(name)],
        "probes": {name: won(trials.get(name, ())) for name in (PADDED, OWN)},
        "flip_rate": flip_check(asked).value,
        "self_agreement": agreement_check(again).value,
        "unscored": unscored,
        "verdicts": len(said),
        "checks": [check._asdict() for check in checks],
    }


def lost(ballots: Sequence[Ballot]) -> dict[str, int]:
    """How many canaries lost in both orders, of those with a verdict."""
    scored = [ballot.choice for ballot in ballots if ballot.choice is not None]
    return {"lost": scored.count("b"), "n": len(scored)}


def won(ballots: Sequence[Ballot]) -> dict[str, int]:
    """How many answers that are no better won in both orders, of those with a verdict."""
    scored = [ballot.choice for ballot in ballots if ballot.choice is not None]
    return {"won": scored.count("a"), "n": len(scored)}


def canary_checks(trials: Trials) -> list[Check]:
    """Every kind of canary by itself, and all together, which nothing excuses."""
    found, counts = [], {name: lost(trials.get(name, ())) for name in CANARIES}
    for name, count in counts.items():
        if trials.get(name):
            share = count["lost"] / count["n"] if count["n"] else None
            found.append(at_least(f"canary '{name}' loses", share, (MUST_LOSE, MAY_LOSE), count["n"]))
    if n := sum(count["n"] for count in counts.values()):
        share = sum(count["lost"] for count in counts.values()) / n
        found.append(at_least("canaries lose, all together", share, (MUST_LOSE, MUST_LOSE), n))
    return found


def flip_check(asked: Sequence[Ballot]) -> Check:
    """How often the order of the two answers decided."""
    scored = [ballot for ballot in asked if ballot.choice is not None]
    share = sum(ballot.flipped for ballot in scored) / len(scored) if scored else None
    return at_most("verdict flips with the order", share, (MOST_FLIPS, MANY_FLIPS), len(scored))


def agreement_check(again: Again) -> Check:
    """How often the judge, asked once more, says the same."""
    both = [one == other for one, other in again if one is not None and other is not None]
    share = sum(both) / len(both) if both else None
    return at_least("judge agrees with itself", share, (AGREES, HARDLY_AGREES), len(both))


def unscored_check(unscored: int, n: int) -> Check:
    """How often there was no verdict to read."""
    share = unscored / n if n else None
    return at_most("replies without a verdict", share, (FEW_UNSCORED, MANY_UNSCORED), n)


def bias_checks(trials: Trials) -> list[Check]:
    """How often what is no better wins: a padded answer, the teacher's own answer to another prompt."""
    found = []
    for name, what in ((PADDED, "padding alone wins"), (OWN, f"{OWN} beats gold")):
        count = won(trials.get(name, ()))
        if trials.get(name):
            share = count["won"] / count["n"] if count["n"] else None
            found.append(at_most(what, share, (LITTLE_BIAS, BIAS), count["n"]))
    return found


def biases(asked: Sequence[Ballot], trials: Trials) -> dict[str, str]:
    """What the judge is caught with, by name, and by what.

    Position: pairs that turn with the order lean to one place (exact sign test) and are many. Verbosity: the
    good answer loses to itself padded. Self-preference: the teacher's answer to another prompt beats gold
    more often than the student's does, row by row (exact). Injection: the canary that tells the judge what to
    say wins where the same text without that does not.
    """
    found = {}
    turned = [ballot for ballot in asked if ballot.flipped and "tie" not in (ballot.forth, ballot.back)]
    ahead = sum(ballot.forth == "a" for ballot in turned)
    behind, flips = len(turned) - ahead, flip_check(asked)
    if (flips.value or 0) > MOST_FLIPS and likely(max(ahead, behind), min(ahead, behind)):
        place, times = ("first", ahead) if ahead > behind else ("second", behind)
        found["position bias"] = f"of {flips.n} pairs it took the {place} answer in both orders {times} times"
    padded = [ballot.choice for ballot in trials.get(PADDED, ())]
    ahead, behind = padded.count("a"), padded.count("b")
    if ahead > BIAS * len(padded) and likely(ahead, behind):
        found["verbosity bias"] = f"of {len(padded)} answers padding alone made {ahead} win and {behind} lose"
    own, control = won(trials.get(OWN, ())), won(trials.get(CONTROL, ()))
    if own["n"] and own["won"] / own["n"] > BIAS and _ahead(trials.get(OWN, ()), trials.get(CONTROL, ())):
        found["self-preference"] = (
            f"the teacher's answer to another prompt beat gold {own['won']} of {own['n']} times,"
            f" the student's {control['won']} of {control['n']}"
        )
    injected, plain = won(trials.get("injected", ())), won(trials.get("constant", ()))
    if injected["won"] > max(plain["won"], (1 - MUST_LOSE) * injected["n"]):
        found["injection obeyed"] = (
            f"an answer that tells the judge what to say won {injected['won']} of {injected['n']} times,"
            f" the same without that {plain['won']} of {plain['n']}"
        )
    return found


def _ahead(one: Sequence[Ballot], other: Sequence[Ballot]) -> bool:
    """Whether `one` wins on rows where `other` does not more often than chance has it."""
    others = {ballot.row: ballot.choice == "a" for ballot in other}
    both = [(ballot.choice == "a", others[ballot.row]) for ballot in one if ballot.row in others]
    return likely(both.count((True, False)), both.count((False, True)))


def likely(ahead: int, behind: int) -> bool:
    """Whether so many one way and so few the other are no accident (exact two-sided sign test)."""
    from scipy.stats import binomtest

    return ahead > behind and float(binomtest(ahead, ahead + behind).pvalue) < SURE


def at_least(name: str, value: float | None, bars: tuple[float, float], n: int) -> Check:
    """A check that a share is high: `bars` are what passes and what is near; an unknown one is near."""
    standing: Standing = "near" if value is None or value >= bars[1] else "fail"
    passed = value is not None and value >= bars[0]
    return Check(name, value, f"at least {bars[0]:.0%}", "pass" if passed else standing, n)


def at_most(name: str, value: float | None, bars: tuple[float, float], n: int) -> Check:
    """A check that a share is low, likewise."""
    standing: Standing = "near" if value is None or value <= bars[1] else "fail"
    passed = value is not None and value <= bars[0]
    return Check(name, value, f"at most {bars[0]:.0%}", "pass" if passed else standing, n)


def shown(check: Check) -> str:
    """ "85% of 20, needed at least 95%"."""
    if check.value is None:
        return "not known: no verdict to go by"
    return f"{check.value:.0%} of {check.n}, needed {check.needed}"
