"""Every row once, like lengths together, padding that nothing sees."""

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.student.batches import by_tokens, epoch_batches, shared_prefix, sorted_batches
from distill.student.encode import Row

LENGTHS = st.lists(st.integers(1, 500), max_size=200)


@given(lengths=LENGTHS, size=st.integers(1, 20), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=50)
def test_every_row_exactly_once(lengths, size, seed):
    for batches in (epoch_batches(lengths, size, seed), sorted_batches(lengths, size)):
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(1 <= len(batch) <= size for batch in batches)


def test_like_lengths_go_together_in_an_order_the_seed_decides():
    lengths = [index % 50 for index in range(400)]
    batches = epoch_batches(lengths, 8, 0)
    assert max(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches) <= 4
    assert batches == epoch_batches(lengths, 8, 0)
    assert batches != epoch_batches(lengths, 8, 1)


def test_pieces_fit_and_keep_the_order():
    rows = [Row(str(index), (0,) * length, ((0, 1),)) for index, length in enumerate([5, 5, 9, 30, 2, 2])]
    pieces = by_tokens(rows, 20)
    assert [row.id for piece in pieces for row in piece] == list("012345")
    assert [len(piece) for piece in pieces] == [2, 1, 1, 2]


def test_shared_prefix_leaves_one_token():
    assert shared_prefix([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 1
    assert shared_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert shared_prefix([[7], [8]]) == 0
