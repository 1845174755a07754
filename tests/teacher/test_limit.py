import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.teacher.limit import Limit


def rounds(limit, count):
    """What is allowed after each of `count` rounds in which all that is allowed is answered."""
    seen = []
    for _ in range(count):
        for _ in range(limit.calls):
            limit.rise(limit.calls)
        seen.append(limit.calls)
    return seen


def cut_at(calls, most=1000):
    limit = Limit(calls, most=most)
    limit.cut(calls)
    return limit


def test_it_doubles_until_it_is_all_that_is_allowed():
    limit = Limit(8, most=100)
    assert [limit.calls, *rounds(limit, 5)] == [8, 16, 32, 64, 100, 100]


def test_answers_to_less_than_half_of_it_raise_nothing():
    limit = Limit(8, most=100)
    for _ in range(50):
        limit.rise(3)
    assert limit.calls == 8
    limit.rise(4)
    assert limit.calls == 9


def test_a_cut_leaves_three_quarters_of_what_was_under_way():
    assert cut_at(64).calls == 48
    limit = Limit(64, most=64)
    limit.cut(20)
    assert limit.calls == 15


def test_the_ceiling_is_neared_soon_and_crossed_slowly():
    seen = rounds(cut_at(64), 60)
    near = next(index for index, calls in enumerate(seen) if calls >= 62)
    over = next(index for index, calls in enumerate(seen) if calls > 64)
    assert near <= 8
    assert over - near >= 8


def test_a_ceiling_that_is_gone_is_left_behind():
    seen = rounds(cut_at(8), 60)
    far = next(index for index, calls in enumerate(seen) if calls >= 64)
    assert 15 <= far <= 50  # plain additive increase: 58 rounds and more
    assert max(seen) == 1000


@pytest.mark.parametrize("most", [1, 3])
def test_it_never_falls_below_one_nor_stays_there(most):
    limit = Limit(most, most=most)
    for _ in range(20):
        limit.cut(1)
    assert limit.calls == 1
    assert rounds(limit, 60)[-1] == most


@given(
    start=st.integers(1, 1024),
    most=st.integers(1, 1024),
    events=st.lists(st.one_of(st.none(), st.integers(0, 2000)), max_size=60),
)
def test_it_is_always_one_at_least_and_never_over_the_most(start, most, events):
    limit = Limit(start, most=most)
    for busy in events:
        before = limit.calls
        if busy is None:
            limit.cut(before)
            assert limit.calls <= before
        else:
            limit.rise(busy)
            assert before <= limit.calls <= before + 1
        assert 1 <= limit.calls <= most
