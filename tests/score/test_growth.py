"""The law behind a learning curve: what it says of curves whose truth is known, and how shares are nested."""

import random

import numpy
import pytest

from distill.score.growth import Doubling, doubling, gain, nested, sentence

pytestmark = pytest.mark.slow
SIZES = (80, 160, 320, 640)


def rows_of(error, count, seed):
    """Right (1) or wrong (0) of `count` rows at each size; the same rows are hard for all."""
    rng = random.Random(seed)
    own = [rng.random() for _ in range(count)]
    return [
        [float((hard if rng.random() < 0.6 else rng.random()) >= error(size)) for hard in own]
        for size in SIZES
    ]


def falling(size):
    return 0.05 + 0.2 * (size / 80) ** -0.5


def test_a_law_without_noise_is_found_again():
    errors = [falling(size) for size in SIZES]
    truth = falling(640) - falling(1280)
    assert gain(SIZES, errors, 0.01, floor=True) == pytest.approx(truth, rel=0.02)
    no_floor = [0.3 * (size / 80) ** -0.35 for size in SIZES]
    expected = no_floor[-1] * (1 - 2**-0.35)
    assert gain(SIZES, no_floor, 0.01, floor=False) == pytest.approx(expected, rel=0.01)
    assert gain(SIZES, [0.1] * 4, 0.01, floor=True) == pytest.approx(0, abs=1e-3)


def test_the_interval_holds_the_truth_and_narrows_with_rows():
    truth = 100 * (falling(640) - falling(1280))
    few = doubling(SIZES, rows_of(falling, 60, 3), 0)
    many = doubling(SIZES, rows_of(falling, 2000, 3), 0)
    assert few.low <= truth <= few.high
    assert many.low <= truth <= many.high
    assert many.high - many.low < few.high - few.low
    assert many == doubling(SIZES, rows_of(falling, 2000, 3), 0)


def test_falling_flat_and_noisy_curves_are_told_apart():
    def said(error, count):
        return sentence(doubling(SIZES, rows_of(error, count, 1), 0), count, SIZES)

    assert said(falling, 2000).startswith("doubling the data would give about +")
    assert "hardly help" in said(lambda size: 0.1, 1000)
    assert said(lambda size: 0.4 * (size / 80) ** -0.05, 40).startswith("cannot tell with 40 valid rows")


def test_the_sentence_has_points_and_plus_minus():
    assert (
        sentence(Doubling(1.8, 1.0, 2.7), 300, SIZES)
        == "doubling the data would give about +1.8 ± 0.9 points"
    )
    assert "between +0.0 and +6.2 points" in sentence(Doubling(2.0, 0.0, 6.2), 60, SIZES)
    assert sentence(None, 60, (640,)) == "cannot tell what more data would give from 1 size of training set"
    assert doubling((320, 640), [[1.0, 0.0]] * 2, 0) is None


def test_shares_are_nested_balanced_and_the_seed_decides():
    answers = ["good"] * 30 + ["bad"] * 10
    shares = nested(answers, (5, 10, 20, 40), 0)
    assert [len(shares[size]) for size in (5, 10, 20, 40)] == [5, 10, 20, 40]
    assert set(shares[5]) < set(shares[10]) < set(shares[20]) < set(shares[40])
    for size, chosen in shares.items():
        bad = sum(answers[index] == "bad" for index in chosen)
        assert abs(bad - size / 4) <= 1
        assert chosen == sorted(chosen)
    assert shares == nested(answers, (5, 10, 20, 40), 0)
    assert shares[5] != nested(answers, (5, 10, 20, 40), 1)[5]


def test_twice_the_data_mends_no_more_than_what_is_wrong():
    rows = 200
    values = [[1.0] * (rows - wrong) + [0.0] * wrong for wrong in (60, 20, 0)]
    assert gain((10, 20, 40), numpy.array([0.3, 0.1, 0.0]), numpy.full(3, 0.01), floor=False) == 0.0
    found = doubling((10, 20, 40), values, 0)
    assert (found.points, found.low, found.high) == (0.0, 0.0, 0.0)
    assert "hardly help" in sentence(found, rows, (10, 20, 40))
