"""Intervals against scipy and against simulation: 95% must mean 95%."""

from functools import cache

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from distill.score.paired import (
    clustered_half_width,
    detectable_difference,
    gap_closed,
    gate,
    paired_difference,
    score_interval,
    sign_test,
)
from distill.score.stats import Interval, bootstrap_mean, macro_f1_interval, mean_interval, wilson

pytestmark = pytest.mark.slow  # together they take seconds

SIMULATIONS = 2000
wilson_of = cache(wilson)
score_of = cache(score_interval)


@given(st.integers(1, 500), st.data())
@settings(max_examples=50, deadline=None)
def test_wilson_agrees_with_scipy(n, data):
    right = data.draw(st.integers(0, n))
    theirs = scipy_stats.binomtest(right, n).proportion_ci(method="wilson")
    ours = wilson(right, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_wilson_of_nothing_and_of_nonsense():
    assert wilson(0, 0) == Interval(0.0, 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="3 right of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(("n", "low", "high"), [(50, 0.92, 0.98), (200, 0.93, 0.97), (1000, 0.93, 0.97)])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_wilson_covers_95_percent(n, low, high, share):
    rights = numpy.random.default_rng(1).binomial(n, share, SIMULATIONS)
    covered = [interval.low <= share <= interval.high for interval in (wilson_of(int(r), n) for r in rights)]
    assert low <= numpy.mean(covered) <= high


def simulated(n, gained, lost, seed=2):
    shares = [gained, lost, 1 - gained - lost]
    counts = numpy.random.default_rng(seed).multinomial(n, shares, SIMULATIONS)
    return [score_of(int(gains), int(losses), n) for gains, losses, _ in counts]


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize(("gained", "lost"), [(0.1, 0.1), (0.13, 0.08), (0.08, 0.13)])
def test_paired_interval_covers_95_percent(n, gained, lost):
    truth = gained - lost
    covered = [interval.low <= truth <= interval.high for interval in simulated(n, gained, lost)]
    assert 0.93 <= numpy.mean(covered) <= 0.97


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize(("gained", "lost"), [(0.0, 0.03), (0.01, 0.04), (0.08, 0.11), (0.2, 0.23)])
def test_false_yes_at_the_margin_is_at_most_5_percent(n, gained, lost):
    answers = [gate(interval, 3).answer for interval in simulated(n, gained, lost)]
    assert answers.count("yes") / SIMULATIONS <= 0.05
    assert answers.count("no") / SIMULATIONS <= 0.05


@pytest.mark.parametrize(("n", "low", "high"), [(50, 0.91, 0.98), (200, 0.93, 0.97)])
def test_bootstrap_covers_95_percent(n, low, high):
    rows = numpy.random.default_rng(3).beta(4, 2, size=(SIMULATIONS, n))
    lows, highs = bootstrap_mean(rows, seed=0, resamples=300)
    assert low <= numpy.mean((lows <= 4 / 6) & (highs >= 4 / 6)) <= high


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_rows_that_all_score_alike_are_not_certain(value):
    interval = mean_interval([value] * 40, seed=0)
    assert interval.value == pytest.approx(value)
    assert interval.low <= value <= interval.high
    assert interval.high - interval.low > 0.05


def test_systems_that_never_differ_still_differ_by_up_to():
    same = paired_difference([1.0, 0.0] * 100, [1.0, 0.0] * 100, seed=0)
    edge = 1.96**2 / (200 + 1.96**2)
    assert same.value == 0
    assert (same.low, same.high) == pytest.approx((-edge, edge), abs=1e-4)
    graded = paired_difference([0.4] * 30, [0.7] * 30, seed=0)
    assert graded.low < -0.3 < graded.high
    assert paired_difference([], [], seed=0) == Interval(0.0, -1.0, 1.0, 0)


@pytest.mark.parametrize(("a", "b", "expected"), [(1.0, 0.0, (1, 1)), (0.0, 1.0, (-1, -1))])
def test_systems_that_always_differ(a, b, expected):
    interval = paired_difference([a] * 30, [b] * 30, seed=0)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.value == expected[0]
    assert interval.high - interval.low > 0.05


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="longer"):
        paired_difference([1.0], [1.0, 0.0], seed=0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_paired_interval_is_antisymmetric_and_holds_its_estimate(gains, losses, ties):
    n = gains + losses + ties
    one, other = score_interval(gains, losses, n), score_interval(losses, gains, n)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    if n:
        assert one.low < one.high


def test_seeded():
    values = [0.1, 0.5, 0.9, 0.7] * 20
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert paired_difference(values, values[::-1], 7) == paired_difference(values, values[::-1], 7)


def test_macro_f1_interval():
    gold = ["a", "b", "c"] * 60
    answers = ["a", "b", "a"] * 20 + gold[60:]
    interval = macro_f1_interval(answers, gold, seed=0)
    assert 0.7 < interval.low < interval.value < interval.high < 1
    perfect = macro_f1_interval(gold, gold, seed=0)
    assert (perfect.value, perfect.high) == (1, 1)
    assert 0.9 < perfect.low < 1
    assert macro_f1_interval([None] * 3, ["a", "b", "c"], seed=0).value == 0
    assert macro_f1_interval([], [], seed=0) == Interval(0.0, 0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("interval", "answer", "more"),
    [
        (Interval(0.05, 0.01, 0.09, 400), "yes", None),
        (Interval(-0.10, -0.15, -0.05, 400), "no", None),
        (Interval(0.00, -0.06, 0.06, 200), "unclear", 600),
        (Interval(-0.05, -0.12, 0.02, 200), "unclear", None),
        (Interval(-0.0299, -0.1, 0.04, 200), "unclear", None),
    ],
)
def test_gate(interval, answer, more):
    assert gate(interval, 3) == (answer, more)


def test_what_n_can_see_is_what_the_design_says():
    assert detectable_difference(200) == pytest.approx(0.08, abs=0.005)
    assert detectable_difference(1000) == pytest.approx(0.035, abs=0.002)
    assert detectable_difference(0) == 1.0
    assert {detectable_difference(n) for n in range(6)} == {1.0}
    assert detectable_difference(6) == pytest.approx(7.849 / 13.849, abs=0.001)
    assert detectable_difference(20) == pytest.approx(7.849 / 27.849, abs=0.001)
    shares = [detectable_difference(n) for n in range(6, 2000)]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (7, 2), (30, 41)])
def test_sign_test_is_the_exact_one_of_scipy(gains, losses):
    a, b = [1.0] * gains + [0.0] * losses + [1.0] * 9, [0.0] * gains + [1.0] * losses + [1.0] * 9
    tail = scipy_stats.binom.cdf(min(gains, losses), gains + losses, 0.5)
    assert sign_test(a, b) == (gains, losses, pytest.approx(min(1.0, 2 * tail)))


def conversations(groups, turns, rng):
    """Differences of -1, 0 and 1 around -0.05 that are alike within a conversation."""
    lean = rng.normal(size=(groups, 1))
    score = 0.7 * lean + numpy.sqrt(1 - 0.49) * rng.normal(size=(groups, turns))
    differences = (score > scipy_stats.norm.ppf(0.9)).astype(float) - (score < scipy_stats.norm.ppf(0.15))
    return differences.ravel(), [str(group) for group in range(groups) for _ in range(turns)]


@pytest.mark.parametrize(("groups", "turns"), [(20, 5), (100, 4)])
def test_turns_of_a_conversation_are_covered_where_rows_alone_are_not(groups, turns):
    rng, held, alone = numpy.random.default_rng(4), [], []
    for _ in range(1000):
        differences, clusters = conversations(groups, turns, rng)
        row = score_of(int((differences > 0).sum()), int((differences < 0).sum()), len(differences))
        half = clustered_half_width(differences.tolist(), clusters)
        low, high = min(row.low, row.value - half), max(row.high, row.value + half)
        held.append(low <= -0.05 <= high)
        alone.append(row.low <= -0.05 <= row.high)
    assert 0.93 <= numpy.mean(held) <= 0.97
    assert numpy.mean(alone) < 0.92


def test_clusters_change_nothing_where_each_row_is_its_own():
    a, b = [1.0] * 30 + [0.0] * 10, [1.0] * 25 + [0.0] * 15
    plain = paired_difference(a, b, 0)
    assert paired_difference(a, b, 0, [str(place) for place in range(40)]) == plain
    doubled = paired_difference(a, b, 0, [str(place // 4) for place in range(40)])
    assert doubled.low < plain.low < plain.high < doubled.high
    assert paired_difference(a, b, 0, ["one"] * 40)[1:3] == pytest.approx((-0.875, 1.0))


def test_conversations_that_all_differ_by_the_same_are_rows_of_one_each():
    """Lost whole with a chance of 5%: 20 of 5 turns show no loss in 36% of the samples: no certainty."""
    rng, held, by_row = numpy.random.default_rng(6), [], []
    clusters = [str(group) for group in range(20) for _ in range(5)]
    for _ in range(400):
        lost = numpy.repeat(rng.random(20) < 0.05, 5)
        found = [paired_difference((1.0 - lost).tolist(), [1.0] * 100, 0, names) for names in (clusters, ())]
        held.append(found[0].low <= -0.05 <= found[0].high)
        by_row.append(found[1].low <= -0.05 <= found[1].high)
    assert numpy.mean(held) >= 0.93
    assert numpy.mean(by_row) < 0.7
    none = paired_difference([1.0] * 100, [1.0] * 100, 0, clusters)
    alone = score_interval(0, 0, 20)
    assert none == (0, alone.low, alone.high, 100)
    assert gate(none, 3).answer == "unclear"
    assert paired_difference([1.0] * 100, [1.0] * 100, 0, ["one"] * 100)[1:3] == (-1, 1)
    graded = paired_difference([0.4] * 100, [0.7] * 100, 0, clusters)
    assert graded.value == pytest.approx(-0.3)
    assert graded.low < graded.value < graded.high
    assert graded.low < paired_difference([0.4] * 100, [0.7] * 100, 0).low


@pytest.mark.parametrize("n", [1, 7, 50, 1000, 100_000])
@pytest.mark.parametrize("value", [0.0, 0.25, -0.5, 1.0])
def test_rows_that_all_differ_by_the_same_leave_an_interval_about_as_exact_as_clopper_pearsons(n, value):
    found = score_interval(n * max(0.0, value), n * max(0.0, -value), n)
    assert found.low < found.value < found.high or (value == 1 and found.low < found.high == 1)
    exact = scipy_stats.binomtest(0, n).proportion_ci(method="exact").high
    if value == 0:
        assert found.high == pytest.approx(-found.low)
        assert 0.7 * exact < found.high < 1.1 * exact


def test_gap_closed():
    base, teacher = [1.0] * 50 + [0.0] * 50, [1.0] * 90 + [0.0] * 10
    halfway = gap_closed([1.0] * 70 + [0.0] * 30, base, teacher, 0)
    assert halfway.value == 0.5
    assert 0.3 < halfway.low < 0.5 < halfway.high < 0.7
    assert gap_closed(teacher, base, teacher, 0) == (1, None, None, 100)
    assert gap_closed(base, base, teacher, 0) == (0, None, None, 100)
    third = [b + (t - b) / 3 for b, t in zip(base, teacher, strict=True)]  # a third of it on every row
    assert gap_closed(third, base, teacher, 0)[1:3] == (None, None)
    one_better = [*base[:50], 1.0, *base[51:]]
    assert gap_closed(one_better, base, teacher, 0).low == 0 < gap_closed(one_better, base, teacher, 0).high
    assert gap_closed(base, base, base, 0) is None
    assert gap_closed(base, teacher, base, 0) is None
    assert gap_closed([], [], [], 0) is None


@pytest.mark.parametrize(
    ("gained", "lost", "answer"), [(0.1, 0.1, "yes"), (0.06, 0.13, "no"), (0.13, 0.08, "yes")]
)
def test_planted_differences_are_called_right(gained, lost, answer):
    answers = [gate(interval, 3).answer for interval in simulated(2000, gained, lost)]
    wrong = {"yes": "no", "no": "yes"}[answer]
    assert answers.count(answer) / SIMULATIONS > 0.8
    assert answers.count(wrong) / SIMULATIONS < 0.01


def test_clustered_half_width_by_hand():
    # Three clusters of two rows, mean 0, sums 2, 0 and -2: variance 3/2 * (4 + 0 + 4) / 36.
    half = clustered_half_width([1.0, 1.0, 0.0, 0.0, -1.0, -1.0], list("aabbcc"))
    assert half == pytest.approx(4.302652729911275 * (1 / 3) ** 0.5)
    assert clustered_half_width([1.0, 0.0], ["a", "a"]) == 1.0
