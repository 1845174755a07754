"""Confident learning and robust outliers, against numbers worked out by hand."""

import math

from distill.score.suspicion import confident, far_out

PROBABILITIES = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.7, 0.3]]
GIVEN = [0, 0, 0, 1, 1, 1]


def test_a_row_is_suspect_by_the_thresholds_of_both_classes():
    # Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.9 + 0.6 + 0.3) / 3 = 0.6.
    flags = confident(PROBABILITIES, GIVEN)
    assert [(flag.place, flag.suggested) for flag in flags] == [(2, 1), (5, 0)]
    assert (flags[0].given, flags[0].preferred) == (0.2, 0.8)
    assert math.isclose(flags[0].strength, -math.log(0.2))


def test_hard_rows_whose_other_label_is_below_its_threshold_are_left():
    # Class 1 is always given 0.95: 0.55 of it is not enough to suspect the first row.
    assert confident([[0.45, 0.55], [0.9, 0.1], [0.05, 0.95], [0.05, 0.95]], [0, 0, 1, 1]) == []


def test_a_label_no_row_has_is_never_suggested():
    assert confident([[0.1, 0.0, 0.9], [0.8, 0.1, 0.1], [0.1, 0.9, 0.0]], [0, 0, 1]) == []


def test_losses_far_above_the_median_are_suspect_the_farthest_first():
    # Median 2, median distance 1: the robust deviation is 1.4826.
    losses = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 7.0, 9.0]
    flags = far_out(losses)
    assert [flag.place for flag in flags] == [8, 7]
    assert math.isclose(flags[0].strength, 7 / 1.4826)
    assert math.isclose(flags[1].given, math.exp(-7))
    assert flags[0].suggested is None


def test_equal_losses_have_no_outlier():
    assert far_out([1.0] * 9) == []
