"""The cascade's numbers, against cases worked out by hand."""

import math
import random

import pytest

from distill.score.cascade import (
    Calibration,
    Rows,
    calibrate,
    calibration_error,
    cross_fitted,
    steps,
    threshold_for,
)

# The student is wrong on its two least sure rows and on its surest; the teacher on the third.
ROWS = Rows([0.1, 0.2, 0.4, 0.6, 0.9], [0, 0, 1, 1, 0], [1, 1, 0, 1, 1])


def test_less_sure_than_the_threshold_goes_to_the_teacher():
    joint = ROWS.at(0.4)
    assert joint.values == [1, 1, 1, 1, 0]
    assert joint.sent == [True, True, False, False, False]
    assert joint.share == 0.4


@pytest.mark.parametrize(
    ("drop", "sent"),
    # The teacher alone has 4 of 5. The joint mean by rows sent: 2/5, 3/5, 4/5, 3/5, 3/5, 4/5.
    [(0.4, 0), (0.2, 1), (0.1, 2), (0.0, 2)],
)
def test_the_threshold_sends_no_more_than_the_target_takes(drop, sent):
    assert sum(ROWS.at(threshold_for(ROWS, drop)).sent) == sent


def test_the_threshold_is_half_way_between_rows():
    assert threshold_for(ROWS, 0.0) == pytest.approx(0.3)


def test_a_student_that_is_never_good_enough_sends_everything():
    rows = Rows([0.3, 0.6], [0, 0], [1, 1])
    assert threshold_for(rows, 0.0) == 1.0
    assert rows.at(1.0).share == 1


def test_rows_alike_in_sureness_go_together():
    rows = Rows([0.5, 0.5, 0.5, 0.8], [0, 0, 1, 1], [1, 1, 1, 1])
    assert rows.at(threshold_for(rows, 0.3)).sent == [True, True, True, False]


def test_steps_go_from_nothing_to_everything():
    found = steps(ROWS.sure, 5)
    assert [sum(ROWS.at(threshold).sent) for threshold in found] == [0, 1, 2, 3, 4, 5]
    assert steps([0.5, 0.5], 20) == [0.0, 1.0]


def test_cross_fitting_never_uses_a_rows_own_answer():
    # Row 0 alone is unsure and wrong: all others say "send nothing", so it is kept and stays wrong.
    sure, student = [0.05] + [0.9] * 19, [0] + [1] * 19
    rows = Rows(sure, student, [1] * 20)
    names = [str(place) for place in range(20)]
    assert sum(rows.at(threshold_for(rows, 0.0)).values) == 20
    found = cross_fitted(rows, 0.0, names, seed=0)
    assert sum(found.values) == 19
    assert found.share == pytest.approx(0.0)
    with pytest.raises(ValueError, match="two clusters"):
        cross_fitted(rows, 0.0, ["one"] * 20, seed=0)


def test_what_luck_promises_cross_fitting_takes_back():
    """Both right by chance: the threshold keeps the target on the rows that chose it, by luck alone."""
    rng, promised, found = random.Random(3), [], []
    for seed in range(40):
        coins = [[float(rng.random() < 0.5) for _ in range(60)] for _ in range(2)]
        rows = Rows([rng.random() for _ in range(60)], *coins)
        wanted = sum(rows.teacher)
        promised.append(sum(rows.at(threshold_for(rows, 0.0)).values) - wanted)
        found.append(sum(cross_fitted(rows, 0.0, [str(n) for n in range(60)], seed).values) - wanted)
    assert min(promised) >= 0
    assert sum(found) < sum(promised) - 40


def test_rows_of_a_cluster_stay_in_one_fold():
    # Two clusters: each is answered by a threshold from the other, which knows nothing of its kind of row.
    rows = Rows([0.2] * 10 + [0.8] * 10, [0] * 10 + [1] * 10, [1] * 20)
    found = cross_fitted(rows, 0.0, ["a"] * 10 + ["b"] * 10, seed=0)
    assert found.values[:10] == [0] * 10  # by b: send nothing
    assert found.sent[10:] == [True] * 10  # by a: send everything


def test_calibration_finds_the_line_that_made_the_answers():
    rng = random.Random(0)
    true = [rng.uniform(0.05, 0.95) for _ in range(4000)]
    values = [float(rng.random() < p) for p in true]
    # Overconfident by a known line: logit(said) = 2 logit(true) + 1.
    said = [1 / (1 + math.exp(-2 * math.log(p / (1 - p)) - 1)) for p in true]
    found = calibrate(said, values)
    assert found.slope == pytest.approx(0.5, abs=0.05)
    assert found.intercept == pytest.approx(-0.5, abs=0.1)
    after = [found.of(each) for each in said]
    assert calibration_error(after, values) < 0.03 < calibration_error(said, values)


def test_calibration_is_the_best_there_is():
    """Against scipy's minimiser, on graded values too."""
    from scipy.optimize import minimize

    rng = random.Random(1)
    said = [rng.uniform(0.1, 0.999) for _ in range(80)]
    values = [round(rng.random() * each, 2) for each in said]
    found, right = calibrate(said, values), math.fsum(values)
    low, high = 1 / (80 - right + 2), (right + 1) / (right + 2)

    def loss(line):
        zs = [line[0] * math.log(p / (1 - p)) + line[1] for p in said]
        targets = [low + value * (high - low) for value in values]
        return sum(math.log1p(math.exp(z)) - t * z for z, t in zip(zs, targets, strict=True))

    assert tuple(found) == pytest.approx(minimize(loss, (1.0, 0.0)).x, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_calibration_of_answers_all_alike_is_no_certainty(value):
    found = calibrate([0.6, 0.7, 0.8, 0.9] * 10, [value] * 40)
    assert 0 < found.of(0.9) < 1
    assert abs(found.of(0.8) - value) < 0.1


def test_calibration_never_turns_the_order_round():
    said = [0.1 + 0.008 * step for step in range(100)]
    found = calibrate(said, [float(each < 0.5) for each in said])
    assert found.slope > 0
    assert found.of(0.2) < found.of(0.8)
    assert found.of(0.5) == pytest.approx(0.5, abs=0.02)


def test_the_identity_leaves_a_probability_as_it_is():
    assert Calibration().of(0.3) == pytest.approx(0.3)
    assert 0 < Calibration().of(0.0) < Calibration().of(1.0) < 1


def test_calibration_error_by_hand():
    # Ten rows, a bin each: |0.8 - 1| eight times and |0.8 - 0| twice.
    assert calibration_error([0.8] * 10, [1] * 8 + [0] * 2) == pytest.approx((8 * 0.2 + 2 * 0.8) / 10)
    assert calibration_error([0.25, 0.75] * 50, [0, 1] * 50) == pytest.approx(0.25)
