"""The sentence a user acts on."""

import pytest

from distill.results import Chance, PairedDifference, Score
from distill.score.verdict import points, verdict


def told(
    diff, low, high, *, split="gold", metric="accuracy", n=500, by_chance=0.5, always="positive", own_low=0.0
):
    teacher = Score(who="teacher", split=split, metric=metric, value=0.796, low=0.76, high=0.83, n=n)
    student = Score(who="student", split=split, metric=metric, value=0.796 + diff, low=own_low, high=1, n=n)
    paired = PairedDifference(
        a="student", b="teacher", split=split, metric=metric, diff=diff, low=low, high=high, n=n
    )
    return verdict(student, teacher, paired, 3.0, Chance(answer=always, value=by_chance, split=split))


def test_yes():
    given = told(0.058, 0.023, 0.093)
    assert given.answer == "yes"
    assert given.sentence == (
        "Yes: the student can replace the teacher: 85.4% against 79.6% right on 500 gold rows, a difference"
        " of +5.8 points (95%: +2.3 to +9.3), within the 3 points allowed."
    )


def test_no():
    given = told(-0.1, -0.13, -0.07)
    assert given.answer == "no"
    assert "beyond the 3 points allowed" in given.sentence


def test_unclear_names_the_rows_it_would_take():
    given = told(0.0, -0.06, 0.06)
    assert (given.answer, given.more_rows) == ("unclear", 1500)
    assert "about 1,500 more rows" in given.sentence


def test_unclear_below_the_margin_promises_nothing():
    given = told(-0.05, -0.11, 0.01)
    assert given.more_rows is None
    assert "unlikely to turn it into a yes" in given.sentence


@pytest.mark.parametrize(("split", "warned"), [("test", True), ("gold", False)])
def test_agreement_with_the_teacher_is_not_called_truth(split, warned):
    assert ("agreement with the teacher, not truth" in told(0.0, -0.01, 0.01, split=split).sentence) is warned


def test_graded_metrics_are_not_called_right():
    assert "token F1 0.846 against 0.796" in told(0.05, 0.01, 0.09, metric="token_f1").sentence


def test_points():
    assert [points(0.058), points(-0.03), points(-0.0001)] == ["+5.8", "-3.0", "0.0"]


@pytest.mark.parametrize(("by_chance", "warned"), [(0.75, False), (0.76, True), (0.9, True)])
def test_a_yes_against_a_teacher_no_better_than_chance_says_so(by_chance, warned):
    given = told(0.0, -0.01, 0.01, by_chance=by_chance)
    assert given.answer == "yes"
    assert given.teacher_beats_chance is not warned
    assert ("the teacher is not shown to be better than chance" in given.sentence) is warned
    assert (f"always answering 'positive' scores {by_chance:.1%}" in given.sentence) is warned


def test_where_the_teacher_guesses_the_student_is_judged_by_itself():
    given = told(0.05, 0.01, 0.09, by_chance=0.76, own_low=0.81)
    worse = told(0.05, 0.01, 0.09, by_chance=0.81, own_low=0.81)
    assert given.student_beats_chance
    assert "go by the student's own 84.6% (81.0% at least)" in given.sentence
    assert not worse.student_beats_chance
    assert "go by" not in worse.sentence
    assert given.caveats == (given.sentence.partition(" But ")[2][:-1],)


def test_a_constant_answer_with_a_but_in_it_is_one_caveat():
    given = told(0.0, -0.01, 0.01, by_chance=0.9, always="It is red. But it fades")
    assert len(given.caveats) == 1
    assert "But it fades" in given.caveats[0]


def test_a_long_constant_answer_is_cut():
    assert "…" in told(0.0, -0.01, 0.01, by_chance=0.9, always="x" * 500).sentence
