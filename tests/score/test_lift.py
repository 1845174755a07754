"""Filter lift: the right figures, an interval that covers, and no gain called where none is shown."""

import random

import pytest

from distill.score.lift import filter_lift


def test_figures_by_hand():
    raw = [True, True, False, False]
    right = [True, True, True, False]
    kept = [True, True, True, False]
    found = filter_lift(raw, right, kept)
    assert (found["raw"]["value"], found["chosen"]["value"], found["kept"]["value"]) == (0.5, 0.75, 1.0)
    assert (found["n"], found["kept"]["n"], found["diff"]) == (4, 3, 0.5)


def test_nothing_kept_is_no_figure():
    found = filter_lift([True, False], [True, False], [False, False])
    assert found["diff"] is None
    assert found["kept"]["value"] is None


@pytest.mark.slow
def test_interval_covers_the_true_gain():
    # Raw answers are right with 0.7; the filter keeps right rows with 0.9 and wrong ones with 0.3.
    true = 0.7 * 0.9 / (0.7 * 0.9 + 0.3 * 0.3) - 0.7
    rng, covered, trials = random.Random(0), 0, 400
    for trial in range(trials):
        right = [rng.random() < 0.7 for _ in range(100)]
        kept = [rng.random() < (0.9 if one else 0.3) for one in right]
        found = filter_lift(right, right, kept, seed=trial)
        covered += found["low"] <= true <= found["high"]
    assert 0.92 <= covered / trials <= 0.98
