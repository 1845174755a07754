"""The verdict in plain words: can the student replace the teacher.

Refuses to sound sure where the rows are few, or where the teacher wrote them itself.
"""

from distill.results import Chance, GateVerdict, PairedDifference, Score
from distill.score.paired import gate
from distill.score.stats import Interval

RIGHT = ("accuracy", "exact", "same_number")
"""Metrics by which a row is right or wrong."""
LONGEST_SHOWN = 40
CAVEAT = "the teacher wrote and agreed on these rows itself, so this is agreement with the teacher, not truth"
IMPORTED = (
    "their answers are those of the imported file: where a model wrote it, this is agreement with it,"
    " not truth"
)


def verdict(
    student: Score,
    teacher: Score,
    difference: PairedDifference,
    max_drop: float,
    chance: Chance,
    *,
    imported: bool = False,
) -> GateVerdict:
    """Whether the student stays within `max_drop` points of the teacher, with a sentence that says why.

    More sentences say that the teacher is no better than `chance`, where it is not, and that the rows were
    answered by the teacher itself, on the split "test" where it was not `imported` with its answers.
    """
    passed = gate(Interval(difference.diff, difference.low, difference.high, difference.n), max_drop)
    facts = (
        f"{_measured(student, teacher)} on {difference.n} {difference.split} rows, a difference of "
        f"{points(difference.diff)} points (95%: {points(difference.low)} to {points(difference.high)})"
    )
    allowed = f"the {max_drop:g} points allowed"
    if passed.answer == "yes":
        sentence = f"Yes: the student can replace the teacher: {facts}, within {allowed}."
    elif passed.answer == "no":
        sentence = f"No: the student cannot replace the teacher: {facts}, beyond {allowed}."
    else:
        advice = _advice(passed.more_rows)
        sentence = f"Unclear: too few rows to say: {facts}, on both sides of {allowed}; {advice}."
    beats_chance = teacher.low > chance.value
    caveats = [] if beats_chance else [_no_better(student, teacher, chance)]
    if difference.split == "test" and not imported:
        caveats.append(f"{CAVEAT}: label some rows yourself and pass --gold FILE")
    return GateVerdict(
        answer=passed.answer,
        sentence=sentence + "".join(f" But {caveat}." for caveat in caveats),
        max_drop=max_drop,
        more_rows=passed.more_rows,
        caveats=tuple(caveats),
        teacher_beats_chance=beats_chance,
        student_beats_chance=student.low > chance.value,
    )


def points(share: float) -> str:
    """A share as signed points with one decimal: 0.058 -> +5.8."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _no_better(student: Score, teacher: Score, chance: Chance) -> str:
    always = chance.answer if len(chance.answer) <= LONGEST_SHOWN else chance.answer[:LONGEST_SHOWN] + "…"
    said = (
        f"the teacher is not shown to be better than chance: always answering '{always}' scores "
        f"{_value(chance.value, teacher.metric)}, so to be as good as it says little"
    )
    if student.low <= chance.value:
        return said
    own = f"{_value(student.value, student.metric)} ({_value(student.low, student.metric)} at least)"
    return f"{said}; go by the student's own {own}"


def _measured(student: Score, teacher: Score) -> str:
    both = f"{_value(student.value, student.metric)} against {_value(teacher.value, teacher.metric)}"
    return f"{both} right" if student.metric in RIGHT else f"{named(student.metric)} {both}"


def named(metric: str) -> str:
    """A metric's name inside a sentence."""
    return {"chrf": "chrF", "rouge_l": "ROUGE-L"}.get(metric, metric.replace("_", " ").replace(" f1", " F1"))


def _value(value: float, metric: str) -> str:
    return f"{value:.1%}" if metric in RIGHT else f"{value:.3f}"


def _advice(more_rows: int | None) -> str:
    if more_rows is None:
        return "more rows alone are unlikely to turn it into a yes"
    return f"about {more_rows:,} more rows would settle it if the difference stays so"
