"""Simulated compares for `intervals.py`: macro F1, graded values, conversations and a cascade.

Each arm says how often a 95% interval of the product holds the truth of its simulation, and how often a
student that loses exactly the margin gets a yes.
"""

from collections.abc import Sequence
from functools import cache

import numpy
from scipy import stats

from distill.score.cascade import Rows, cross_fitted, folded, threshold_for
from distill.score.paired import gate, paired_difference, score_interval
from distill.score.stats import Interval, macro_f1_interval, mean_interval

SIZES = (50, 200, 1000)
COMPARES = 2000
BOOTSTRAPS = 400
"""Compares of the naive bootstrap that stands beside ours."""
MARGIN = 3.0
LABELS = (0.30, 0.25, 0.20, 0.15, 0.08, 0.02)
RECALLS = {
    # of each label, the commonest first: what is wrong goes to the others by how common they are
    "all alike": (0.85,) * 6,
    "rare ones hard": (0.95, 0.90, 0.85, 0.85, 0.70, 0.50),
    "good": (0.97, 0.97, 0.95, 0.95, 0.90, 0.80),
    "poor": (0.70, 0.60, 0.60, 0.50, 0.40, 0.20),
}
EXACT, NOTHING = 0.35, 0.10
"""Shares of answers that have all words in common with the right one, and none; the rest is Beta(5, 2)."""
interval_of = cache(score_interval)


def told(n: int, intervals: list[Interval], truth: float | list[float]) -> dict:
    """How often the intervals hold the truth, and on which side those that do not have left it."""
    truths = truth if isinstance(truth, list) else [truth] * len(intervals)
    pairs = list(zip(intervals, truths, strict=True))
    return {
        "n": n,
        "covered": float(numpy.mean([low <= true <= high for (_, low, high, _), true in pairs])),
        "truth above": float(numpy.mean([true > found.high for found, true in pairs])),
        "truth below": float(numpy.mean([true < found.low for found, true in pairs])),
        "mean width": float(numpy.mean([found.high - found.low for found in intervals])),
        "compares": len(intervals),
    }


def macro_f1(compares: int = COMPARES) -> list[dict]:
    """Coverage of macro F1 over six labels, the rarest 2%: the truth is that of all six, seen or not."""
    rows = []
    for name, recalls in RECALLS.items():
        shares = numpy.array([_answers(gold, recall) for gold, recall in enumerate(recalls)])
        truth = float(numpy.mean(2 * shares.diagonal() / (shares.sum(axis=0) + shares.sum(axis=1))))
        for n in SIZES:
            rng = numpy.random.default_rng(n)
            found = []
            for place in range(compares):
                cells = rng.choice(shares.size, n, p=shares.ravel())
                gold, answers = cells // len(LABELS), cells % len(LABELS)
                found.append(
                    macro_f1_interval(answers.astype(str).tolist(), gold.astype(str).tolist(), place)
                )
            rows.append({"student": name, **told(n, found, truth)})
    return rows


def _answers(gold: int, recall: float) -> numpy.ndarray:
    """The shares of all rows that have this gold label, by answer."""
    others = numpy.array(LABELS)
    others[gold] = 0
    shares = (1 - recall) * others / others.sum()
    shares[gold] = recall
    return LABELS[gold] * shares


def overlaps(n: int, rng: numpy.random.Generator) -> numpy.ndarray:
    """Token F1 as free text has it: some answers are the right one, some share no word with it."""
    kind = rng.random(n)
    return numpy.where(kind < EXACT, 1.0, numpy.where(kind < EXACT + NOTHING, 0.0, rng.beta(5, 2, n)))


def at_the_margin(n: int, alike: float, rng: numpy.random.Generator) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(student, teacher) of whom a share scores alike; the student loses exactly MARGIN points in truth.

    On so many rows that the mean is right it has no word in common.
    """
    teacher = overlaps(n, rng)
    student = numpy.where(rng.random(n) < alike, teacher, overlaps(n, rng))
    mean = EXACT + (1 - EXACT - NOTHING) * 5 / 7
    return numpy.where(rng.random(n) < MARGIN / 100 / mean, 0.0, student), teacher


def graded_at_the_margin(compares: int = COMPARES) -> list[dict]:
    """Coverage and false yes of graded answers (0, 1 and between), far from the teacher's and near them."""
    rows = []
    for alike in (0.3, 0.8):
        for n in SIZES:
            rng = numpy.random.default_rng(n)
            found = []
            for place in range(compares):
                student, teacher = at_the_margin(n, alike, rng)
                found.append(paired_difference(student.tolist(), teacher.tolist(), place))
            yes = numpy.mean([gate(each, MARGIN).answer == "yes" for each in found])
            rows.append({"rows alike": alike, **told(n, found, -MARGIN / 100), "yes": float(yes)})
    return rows


def conversations(
    groups: int, turns: int, rng: numpy.random.Generator, loses: float = 0.15, gains: float = 0.10
) -> tuple[list[float], list[str]]:
    """Row differences of -1, 0 and 1 whose mean is gains - loses, alike within a conversation."""
    lean = rng.normal(0, 1, groups)[:, None]
    score = 0.7 * lean + numpy.sqrt(1 - 0.7**2) * rng.normal(0, 1, (groups, turns))
    lost, gained = stats.norm.ppf(loses), stats.norm.ppf(1 - gains)
    differences = (score > gained).astype(float) - (score < lost)
    return differences.ravel().tolist(), [str(group) for group in range(groups) for _ in range(turns)]


def by_conversation() -> list[dict]:
    """Coverage where rows of a conversation go together: ours, rows taken as independent, and a bootstrap."""
    rows = []
    for groups, turns in ((10, 5), (20, 5), (50, 4), (200, 5)):
        rng = numpy.random.default_rng(groups)
        held = {"ours": [], "rows as independent": [], "bootstrap over conversations": []}
        for place in range(COMPARES):
            values, clusters = conversations(groups, turns, rng)
            ours = paired_difference(values, [0.0] * len(values), 0, clusters)
            held["ours"].append(ours.low <= -0.05 <= ours.high)
            alone = interval_of(values.count(1.0), values.count(-1.0), len(values))
            held["rows as independent"].append(alone.low <= -0.05 <= alone.high)
            if place < BOOTSTRAPS:
                sums = numpy.array(values).reshape(groups, turns).mean(axis=1)
                picks = rng.integers(0, groups, (1000, groups))
                low, high = numpy.quantile(sums[picks].mean(axis=1), [0.025, 0.975])
                held["bootstrap over conversations"].append(low <= -0.05 <= high)
        shares = {name: float(numpy.mean(each)) for name, each in held.items()}
        rows.append({"conversations": groups, "turns": turns, "covered": shares})
    return rows


def conversations_at_the_margin(compares: int = COMPARES) -> list[dict]:
    """Coverage and false yes of a student that loses exactly the margin, where rows go together."""
    rows = []
    for loses, gains in ((0.03, 0.0), (0.05, 0.02), (0.11, 0.08)):
        for groups, turns in ((10, 5), (20, 5), (50, 4), (200, 5)):
            rng = numpy.random.default_rng(groups + 1)
            drawn = [conversations(groups, turns, rng, loses, gains) for _ in range(compares)]
            found = [paired_difference(values, [0.0] * len(values), 0, names) for values, names in drawn]
            yes = numpy.mean([gate(each, MARGIN).answer == "yes" for each in found])
            shape = {"gained_lost": [gains, loses], "conversations": groups, "turns": turns}
            rows.append({**shape, **told(groups * turns, found, gains - loses), "yes": float(yes)})
    return rows


def cascaded(n: int, rng: numpy.random.Generator, graded: bool) -> Rows:
    """A student right as often as it is sure, and a teacher right in 92%, more where the student is sure."""
    sure = rng.beta(4, 1, n)
    student = (rng.random(n) < sure).astype(float)
    teacher = (rng.random(n) < 0.84 + 0.1 * sure).astype(float)
    if graded:
        student, teacher = (
            numpy.where(right > 0, right, 0.8 * rng.random(n)) for right in (student, teacher)
        )
    return Rows(sure, student, teacher)


def cascade(compares: int = COMPARES) -> list[dict]:
    """Coverage of the cross-fitted joint quality: in truth, by the thresholds of the folds.

    Beside it that of the one threshold chosen on all rows, which is served: the interval does not hold how
    much another choice would have differed.
    """
    rows = []
    for graded in (False, True):
        many = cascaded(2_000_000, numpy.random.default_rng(0), graded)
        order = numpy.argsort(many.sure)
        ranked, mine, theirs = (numpy.asarray(column)[order] for column in many)
        quality = numpy.concatenate([[0.0], numpy.cumsum(theirs - mine)]) / len(order) + mine.mean()
        for n in SIZES:
            rng = numpy.random.default_rng(n)
            found, measured, served, sent = [], [], [], []
            for place in range(compares):
                drawn = Rows(*(column.tolist() for column in cascaded(n, rng, graded)))
                joint = cross_fitted(drawn, MARGIN / 100, _names(n), place)
                found.append(mean_interval(joint.values, place))
                chosen = thresholds(drawn, _names(n), place)
                worth = quality[numpy.searchsorted(ranked, [*chosen, threshold_for(drawn, MARGIN / 100)])]
                measured.append(float(worth[:-1].mean()))
                served.append(float(worth[-1]))
                sent.append(joint.share)
            kind = {"values": "graded" if graded else "right or wrong", "sent": float(numpy.mean(sent))}
            rows.append({**kind, **told(n, found, measured), "served": told(n, found, served)})
    return rows


@cache
def _names(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def thresholds(rows: Rows, clusters: Sequence[str], seed: int) -> list[float]:
    """Those of `cross_fitted`, a fold each."""
    folds = folded(clusters, seed)
    return [
        threshold_for(rows.chosen([place for place, of in enumerate(folds) if of != fold]), MARGIN / 100)
        for fold in set(folds)
    ]
