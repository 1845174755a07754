"""Verified answers: the same number however it is written, equal text up to its normal form."""

from fractions import Fraction

import pytest

from distill.score.verify import number_in, unverifiable, verified
from distill.types import Task

NUMBER = Task(name="n", kind="text", instruction="How many?", verify="number")
EXACT = Task(name="e", kind="text", instruction="Which city?", verify="exact")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("The answer is $1,234.50.", Fraction("1234.5")),
        ("So 4+5=9 apples.", 9),
        ("He paid 30 for 5, that is 6 each", 6),
        ("12 x 3 = 36\n#### 36 apples (not 12)", 12),
        ("-5", -5),
        ("\u22125 degrees", -5),
        ("10-5", 5),
        ("10 - 3", 3),
        ("3/4", Fraction(3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("\u00bd", Fraction(1, 2)),
        ("1e3", 1000),
        ("1,5", Fraction(3, 2)),
        ("1,2,3", 3),
        ("1\u202f000\u202f000", 1_000_000),
        ("1'000", 1000),
        ("\uff11\uff0c\uff12\uff13\uff14円", 1234),
        ("答案是42。", 42),
        (".5", Fraction(1, 2)),
        ("version v2", None),
        ("5/0", None),
        ("none", None),
        ("", None),
    ],
)
def test_number_in(text, value):
    assert number_in(text) == value


@pytest.mark.parametrize(
    ("answer", "known", "right"),
    [
        ("The total is 1,234 dollars", "1234", True),
        ("12%", "12", True),
        ("12%", "0.12", True),
        ("0.12", "12", False),
        ("0.5", "1/2", True),
        ("0.33", "1/3", False),
        ("9", "#### 9", True),
        ("none", "0", False),
        ("none", "none", False),
    ],
)
def test_same_number(answer, known, right):
    assert verified(NUMBER, answer, known) is right


def test_exact_is_equal_in_normal_form():
    assert verified(EXACT, "  Paris. ", "paris")
    assert verified(EXACT, "「东京」", "东京")
    assert not verified(EXACT, "Paris, France", "Paris")
    assert not verified(EXACT, "-5", "5")


def test_what_no_verifier_can_read():
    assert unverifiable(NUMBER, "many")
    assert not unverifiable(NUMBER, "about 7")
    assert unverifiable(EXACT, " ?! ")
    assert not unverifiable(EXACT, "Paris")
