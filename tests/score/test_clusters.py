"""Conversations that are lost whole, now and then: few losses, no gains, and no yes that is not earned."""

import numpy
import pytest
from scipy import stats

from distill.score.paired import gate, paired_difference, score_interval

pytestmark = pytest.mark.slow  # together they take seconds


def test_a_loss_of_the_margin_in_conversations_is_a_yes_in_at_most_5_percent():
    rng, answers = numpy.random.default_rng(201), []
    clusters = [str(group) for group in range(200) for _ in range(5)]
    for _ in range(2000):
        lean = 0.7 * rng.normal(size=(200, 1)) + numpy.sqrt(1 - 0.49) * rng.normal(size=(200, 5))
        right = (lean >= stats.norm.ppf(0.03)).astype(float).ravel()
        answers.append(gate(paired_difference(right.tolist(), [1.0] * 1000, 0, clusters), 3).answer)
    assert answers.count("yes") / len(answers) <= 0.04


def test_conversations_lost_whole_are_as_few_rows_as_conversations():
    """10 of 100 conversations of 5 turns each: Tango's interval of about 100 rows, not of 500."""
    student = [0.0] * 50 + [1.0] * 450
    clusters = [str(place // 5) for place in range(500)]
    found, few = paired_difference(student, [1.0] * 500, 0, clusters), score_interval(0, 10, 100)
    assert found.low == pytest.approx(few.low, abs=0.003)
    assert found.high >= few.high - 0.003
    assert found.n == 500
