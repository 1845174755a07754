"""Splits: frozen, leak-free, in proportion, whatever the pairs."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.store.near import cleaned, grams, jaccard
from distill.store.split import sampled, split_pairs
from distill.types import Message, Pair

pytestmark = pytest.mark.slow  # together they take seconds

SHARES = {"valid_share": 0.1, "test_share": 0.1}


def pair(text, answer="x"):
    return Pair.make((Message("system", "s"), Message("user", text)), answer, "test")


def distinct(n, answers=("a", "b")):
    # Spread over the alphabet, so that no two are near.
    texts = ["".join(chr(0x4E00 + (37 * row + 11 * row * k) % 9000) for k in range(12)) for row in range(n)]
    return [pair(text, answers[row % len(answers)]) for row, text in enumerate(texts)]


def test_sizes_and_proportions():
    pairs = distinct(200)
    splits = split_pairs(pairs, **SHARES, seed=0, by_answer=True)
    assert [len(part) for part in splits] == [160, 20, 20, 0]
    for part in splits[:3]:
        assert abs(Counter(row.answer for row in part)["a"] - len(part) / 2) <= 1


def test_rare_answers_are_dealt_out():
    pairs = distinct(300, answers=("a",) * 9 + ("rare",))
    splits = split_pairs(pairs, **SHARES, seed=3, by_answer=True)
    assert 2 <= sum(row.answer == "rare" for row in splits.test) <= 4


@pytest.mark.parametrize("n", [10, 11, 30])
def test_a_share_gets_a_row_from_ten_pairs_on(n):
    splits = split_pairs(distinct(n), valid_share=0.01, test_share=0.01, seed=0)
    assert len(splits.valid) == len(splits.test) == 1


def test_no_share_no_row_and_no_pairs_no_rows():
    splits = split_pairs(distinct(30), valid_share=0, test_share=0, seed=0)
    assert [len(part) for part in splits] == [30, 0, 0, 0]
    assert [len(part) for part in split_pairs([], **SHARES, seed=0)] == [0, 0, 0, 0]


def test_the_seed_decides_and_the_order_does_not():
    pairs = distinct(100)
    one, again = (split_pairs(rows, **SHARES, seed=1) for rows in (pairs, pairs[::-1]))
    assert one.assignment() == again.assignment()
    assert one.assignment() != split_pairs(pairs, **SHARES, seed=2).assignment()


def test_near_duplicates_stay_together():
    base = "my parcel with order number {} has not arrived at the flat in the old town, where is it now"
    pairs = [*distinct(40), *(pair(base.format(number)) for number in range(40))]
    splits = split_pairs(pairs, **SHARES, seed=0)
    homes = {name for row in pairs[40:] for name in [splits.assignment()[row.id]]}
    assert homes == {"train"}
    assert len(splits.test) == 8


def test_one_group_is_never_torn_even_if_a_split_stays_empty():
    base = "my parcel with order number {} has not arrived at the flat in the old town, where is it now"
    splits = split_pairs([pair(base.format(n)) for n in range(12)], **SHARES, seed=0)
    assert [len(part) for part in splits] == [12, 0, 0, 0]


def test_a_new_pair_near_two_splits_is_left_out():
    left = "the quick brown fox jumps over the lazy dog"
    right = "while seven wizards box with liquor jugs"
    kept = {pair(left).id: "train", pair(right).id: "test"}
    bridge = pair(f"{left} {right}")
    splits = split_pairs([pair(left), pair(right), bridge], **SHARES, seed=0, near_duplicate=0.4, frozen=kept)
    assert splits.left_out == [bridge]
    assert splits.assignment() == kept


TEXTS = st.lists(
    st.one_of(
        st.text("abcdefgh ", min_size=12, max_size=24),
        st.builds("order {} from the shop in the old town is late again".format, st.integers(0, 20)),
        st.text("的一是不了人我在有他这中", min_size=4, max_size=12),
    ),
    max_size=40,
    unique=True,
)


@given(TEXTS, TEXTS, st.integers(0, 5), st.booleans())
@settings(max_examples=50, deadline=None)
def test_frozen_and_leak_free(texts, more, seed, by_answer):
    pairs = [pair(text, answer="ab"[len(text) % 2]) for text in texts]
    first = split_pairs(pairs, **SHARES, seed=seed, by_answer=by_answer)
    assert first.left_out == []
    grown = [*pairs, *(pair(text) for text in more if text not in texts)]
    second = split_pairs(grown, **SHARES, seed=seed, by_answer=by_answer, frozen=first.assignment())

    assert Counter(row.id for part in second for row in part) == Counter(row.id for row in grown)
    assert first.assignment().items() <= second.assignment().items()
    for splits in (first, second):
        train = [grams(cleaned(row.input)) for row in splits.train]
        held = [grams(cleaned(row.input)) for row in (*splits.valid, *splits.test)]
        # 0.85, not 0.7: at the threshold itself LSH finds 99%, well above it all.
        assert all(jaccard(one, other) < 0.85 for one in train for other in held)


def test_a_sample_is_as_large_as_asked_grows_and_follows_no_pattern():
    names = [f"row {n}" for n in range(201)]
    found = sampled(names, 200)
    assert (len(found), found) == (200, sorted(found))
    half = sampled(names, 100)
    assert set(half) <= set(found)
    assert 30 < sum(place % 2 for place in half) < 70
    assert {names[place] for place in half} >= {names[1:][place] for place in sampled(names[1:], 99)}
    assert sampled(names[:3], 9) == [0, 1, 2]
