"""Macro F1's interval: rare labels, and 95% of simulated compares."""

import numpy
import pytest

from distill.score.stats import macro_f1_interval

pytestmark = pytest.mark.slow  # together they take seconds

SHARES = numpy.array([0.30, 0.25, 0.20, 0.15, 0.08, 0.02])
RECALLS = {
    "rare ones hard": (0.95, 0.90, 0.85, 0.85, 0.70, 0.50),
    "good": (0.97, 0.97, 0.95, 0.95, 0.90, 0.80),
}


def cells(recalls):
    others = numpy.where(numpy.eye(6), 0, SHARES)
    wrong = others / others.sum(axis=1, keepdims=True) * (1 - numpy.array(recalls))[:, None]
    return SHARES[:, None] * (wrong + numpy.diag(recalls))


@pytest.mark.parametrize("student", RECALLS)
@pytest.mark.parametrize("n", [50, 200])
def test_macro_f1_covers_95_percent_where_a_label_is_rare(n, student):
    shares, rng, held = cells(RECALLS[student]), numpy.random.default_rng(n), []
    truth = numpy.mean(2 * shares.diagonal() / (shares.sum(axis=0) + shares.sum(axis=1)))
    for _ in range(400):
        drawn = rng.choice(36, n, p=shares.ravel())
        found = macro_f1_interval([str(cell % 6) for cell in drawn], [str(cell // 6) for cell in drawn], 0)
        held.append(found.low <= truth <= found.high)
    assert numpy.mean(held) >= 0.93


def test_a_rare_label_that_is_always_right_may_be_wrong():
    """One row right of one leaves its F1 between 0.34 and 1, whatever the other 199 say."""
    gold = ["common"] * 159 + ["rare"] + ["other"] * 40
    answers = ["common"] * 139 + ["other"] * 20 + ["rare"] + ["other"] * 40
    found = macro_f1_interval(answers, gold, seed=0)
    assert found.low < found.value - (1 - 0.35) / 3 < found.value < found.high <= 1
