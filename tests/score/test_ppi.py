"""Prediction-powered estimates and kappa: against the papers' formulas, classical intervals, simulation."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distill.score.ppi import agreement, cohens_kappa, prediction_powered, tuned, with_ties
from distill.score.stats import Interval, wilson


def rows(rng, count, shares, informed):
    """(human, judge) points of `count` rows; the judge knows a share `informed` of them, else guesses."""

    def drawn(win, tie):
        at = rng.random()
        return 1.0 if at < win else 0.5 if at < win + tie else 0.0

    found = []
    for _ in range(count):
        human = drawn(*shares)
        found.append((human, human if rng.random() < informed else drawn(0.4, 0.2)))
    return found


def estimated(sample, n):
    seen, rest = sample[:n], [judge for _, judge in sample[n:]]
    return prediction_powered([human for human, _ in seen], [judge for _, judge in seen], rest)


def covered(n, rest, shares, informed, times=2000):
    rng, truth = random.Random(f"{n} {informed}"), shares[0] + shares[1] / 2
    found = [estimated(rows(rng, n + rest, shares, informed), n) for _ in range(times)]
    return sum(each.low <= truth <= each.high for each in found) / times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "rest", "shares", "informed"),
    [
        (20, 180, (0.4, 0.2), 0.0),
        (20, 180, (0.4, 0.2), 0.5),
        (50, 450, (0.4, 0.2), 0.5),
        (50, 150, (0.7, 0.1), 0.3),
        (200, 800, (0.4, 0.2), 0.9),
        (200, 800, (0.7, 0.1), 0.5),
    ],
)
def test_intervals_cover_as_they_say(n, rest, shares, informed):
    assert 0.93 <= covered(n, rest, shares, informed) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.9, 0.05), (0.1, 0.8), (0.97, 0.0)])
@pytest.mark.parametrize("informed", [0.5, 1.0])
def test_where_hardly_a_row_contradicts_they_are_wide_and_never_narrow(shares, informed):
    assert covered(20, 180, shares, informed, times=500) >= 0.93


def test_a_judge_that_tells_nothing_leaves_the_classical_interval():
    human = [1.0] * 9 + [0.5] * 5 + [0.0] * 11
    found = prediction_powered(human, [0.5] * 25, [0.5] * 300)
    low, high = stats.t.interval(0.95, 24, statistics.fmean(human), stats.sem(human))
    assert found.weight == 0
    assert (found.value, found.low, found.high) == pytest.approx((statistics.fmean(human), low, high))
    # A contrary one is given no weight either: the estimate would only get worse in practice.
    assert tuned([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)], [0.0, 1.0]) == 0


def test_a_good_judge_makes_the_interval_narrower_and_an_idle_one_does_not():
    rng = random.Random(5)
    widths = {}
    for informed in (0.0, 0.95):
        found = [estimated(rows(rng, 300, (0.4, 0.2), informed), 60) for _ in range(50)]
        widths[informed] = statistics.fmean(each.high - each.low for each in found)
    classical = 2 * stats.t.ppf(0.975, 59) * math.sqrt((0.4 + 0.05 - 0.25) / 60)
    assert widths[0.95] < 0.7 * classical
    assert widths[0.0] == pytest.approx(classical, rel=0.05)


def test_a_judge_that_is_always_kind_is_corrected():
    """It gives half a point to what loses: its own mean is off, the corrected one is not."""
    rng = random.Random(3)
    truths, kind, corrected = 0.4, [], []
    for _ in range(300):
        sample = [(human, max(0.5, human)) for human, _ in rows(rng, 240, (0.3, 0.2), 1.0)]
        kind.append(statistics.fmean(judge for _, judge in sample))
        corrected.append(estimated(sample, 40).value)
    assert statistics.fmean(kind) > truths + 0.2
    assert statistics.fmean(corrected) == pytest.approx(truths, abs=0.01)


def test_weight_and_value_are_the_papers():
    human, judge, rest = [1, 0, 1, 1, 0, 0.5], [1, 0, 0.5, 1, 0.5, 0], [1, 1, 0, 0.5, 0, 1, 0.5, 1]
    covariance = statistics.covariance(human, judge)
    weight = covariance / ((1 + 6 / 8) * statistics.variance([*judge, *rest]))
    found = prediction_powered(human, judge, rest)
    assert found.weight == pytest.approx(weight)
    by_hand = statistics.fmean(human) + weight * (statistics.fmean(rest) - statistics.fmean(judge))
    assert found.value == pytest.approx(by_hand)


@pytest.mark.parametrize("judge", [[1.0] * 20, [0.0] * 20, [0.5] * 20])
def test_twenty_rows_of_one_opinion_are_no_certainty(judge):
    found = prediction_powered([1.0] * 20, judge, [1.0] * 180)
    assert found.low < 0.93  # Wilson's bound of 20 of 20 is 0.84
    assert found.value <= found.high <= 1


def test_too_few_rows_say_nothing():
    assert prediction_powered([1.0, 0.0], [1.0, 0.0], [1.0]) is None
    assert prediction_powered([], [], []) is None
    without = prediction_powered([1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [])
    assert without.weight == 0


half = st.sampled_from([0.0, 0.5, 1.0])


@given(st.lists(st.tuples(half, half), min_size=3, max_size=30), st.lists(half, max_size=30))
def test_estimates_stay_within_bounds(seen, rest):
    found = prediction_powered([human for human, _ in seen], [judge for _, judge in seen], rest)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert 0 <= found.weight <= 1


def test_rows_answered_alike_are_ties_of_the_whole():
    found = with_ties(Interval(0.7, 0.5, 0.85, 20), 150, 200)
    assert found.value == pytest.approx(0.5 + 0.25 * 0.2)
    assert found.value - found.low >= 0.25 * 0.2
    assert found.high - found.low < 0.2
    assert with_ties(Interval(0.7, 0.5, 0.85, 20), 0, 200)[:3] == pytest.approx((0.7, 0.5, 0.85))


@pytest.mark.slow
def test_ties_counted_in_still_cover():
    rng, hits, times = random.Random(8), 0, 2000
    truth = 0.5 + 0.4 * (0.65 - 0.5)
    for _ in range(times):
        differ = sum(rng.random() < 0.4 for _ in range(300))
        won = sum(rng.random() < 0.65 for _ in range(40))
        found = with_ties(wilson(won, 40), 300 - differ, 300)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / times <= 0.97


def test_kappa_is_that_of_the_textbook():
    """The table of Fleiss, Levin and Paik (2003), p. 598: 100 subjects, two raters, three categories."""
    table = {("p", "p"): 75, ("p", "n"): 1, ("p", "o"): 4, ("n", "p"): 5, ("n", "n"): 4, ("n", "o"): 1}
    table |= {("o", "o"): 10}
    one = [pair[0] for pair, count in table.items() for _ in range(count)]
    two = [pair[1] for pair, count in table.items() for _ in range(count)]
    found = cohens_kappa(one, two)
    assert found.value == pytest.approx(0.68, abs=0.005)
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(0.087, abs=0.001)


def test_agreement_says_what_is_unknown():
    found = agreement(["win"] * 5, ["win"] * 5)
    assert (found["share"], found["kappa"], found["n"]) == (1.0, None, 5)
    assert found["low"] < 0.6
    found = agreement(["win", "loss", "win", "loss"], ["loss", "win", "loss", "win"])
    assert (found["share"], found["kappa"]) == (0.0, -1.0)
    assert agreement([], [])["share"] is None


@pytest.mark.parametrize(("agree", "differ"), [(20, 0), (0, 20), (20, 4), (4, 20), (1, 1)])
def test_kappa_has_no_interval_where_its_standard_error_says_nothing(agree, differ):
    same, other = [("win", "win"), ("loss", "loss")] * 10, [("win", "loss"), ("loss", "win")] * 10
    pairs = same[:agree] + other[:differ]
    found = agreement([one for one, _ in pairs], [two for _, two in pairs])
    assert (found["n"], found["kappa"] is None) == (agree + differ, False)
    assert (found["kappa_low"], found["kappa_high"]) == (None, None)


@pytest.mark.parametrize("others", [0, 1, 4])
def test_kappa_has_no_interval_where_one_side_all_but_always_says_the_same(others):
    constant = ["loss"] * others + ["win"] * (20 - others)
    mixed = ["win", "loss"] * 10
    for human, judge in ((constant, mixed), (mixed, constant)):
        found = agreement(human, judge)
        assert found["kappa"] == pytest.approx(0, abs=0.2)
        assert (found["kappa_low"], found["kappa_high"]) == (None, None)
    assert agreement(["loss"] * 5 + ["win"] * 15, mixed)["kappa_low"] is not None


def test_kappa_of_enough_pairs_has_one():
    human = ["win", "loss"] * 10
    found = agreement(human, [*human[:15], "win", "loss", "win", "loss", "win"])
    assert found["share"] == 0.75
    assert found["kappa_low"] < found["kappa"] < found["kappa_high"]
