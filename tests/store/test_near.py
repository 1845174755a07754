"""Near-duplicates: planted ones are found, in any script, and nothing else."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.store.near import NearIndex, Sketcher, banding, cleaned, grams, groups, jaccard

TEXT = "the film was a slow and rather dull story about two friends who never agree on anything"
WORDS = TEXT.split(" ")


def test_near_and_far():
    index = NearIndex(0.7)
    index.add("a", "The acting is superb and the story moves along briskly from start to finish.")
    index.add("b", "A dull film.")
    assert (
        index.nearest("the acting is superb, and the story moves along briskly from start to finish, truly")
        == "a"
    )
    assert index.nearest("A DULL FILM!!") == "b"
    assert index.nearest("Something else entirely, about trains") is None
    assert len(index) == 2


def test_chinese():
    index = NearIndex(0.7)
    index.add("a", "我昨天在网上买的手机今天还没有发货，请问什么时候能到？")
    assert index.nearest("我昨天在网上买的手机今天还没有发货，请问什么时候可以到？") == "a"
    assert index.nearest("这部电影的画面非常漂亮，可是故事太长了。") is None


def test_the_most_similar_wins_and_keys_are_unique():
    index = NearIndex(0.5)
    index.add("rough", "please tell me when my parcel will arrive at the house today")
    index.add("same", "please tell me when my parcel will arrive at the house")
    assert index.nearest("please tell me when my parcel will arrive at the house") == "same"
    assert [key for _, key in index.similar("please tell me when my parcel will arrive at the house")] == [
        "same",
        "rough",
    ]
    with pytest.raises(ValueError, match="taken"):
        index.add("same", "x")


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_near_itself(text):
    own = grams(cleaned(text))
    assert len(own) >= 1
    assert jaccard(own, own) == 1.0
    index = NearIndex(1.0)
    index.add("x", text)
    assert index.nearest(text) == "x"


def test_pairs_at_the_threshold_are_found():
    rng, found, asked = random.Random(0), 0, 0
    for seed in range(60):
        words = rng.choices(WORDS, k=30)
        changed = [*words]
        changed[rng.randrange(30)] = "submarine"
        one, other = " ".join(words), " ".join(changed)
        index = NearIndex(0.7, seed)
        index.add("x", one)
        if jaccard(grams(cleaned(one)), grams(cleaned(other))) >= 0.7:
            asked += 1
            found += index.nearest(other) == "x"
    assert asked > 30
    assert found / asked >= 0.97


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_banding_finds_pairs_at_the_threshold(threshold):
    bands, rows = banding(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.985


def test_groups_are_chains():
    texts = [
        "alpha beta gamma delta epsilon zeta",
        "unrelated words stand here",
        "Alpha beta gamma delta epsilon zeta!",
    ]
    assert groups(texts, 0.7) == [0, 1, 0]
    assert groups([], 0.7) == []


def test_half_a_character_is_a_text_too():
    index = NearIndex(0.7)
    index.add("x", "broken \ud83d emoji")
    assert index.nearest("broken \ud83d emoji") == "x"


def test_grams_of_scripts():
    assert grams("abcdef") == {"abcde", "bcdef"}
    assert grams("ab") == {"ab"}
    assert grams("我买手机") == {"我买", "买手", "手机"}
    assert grams("的") == {"的"}
    assert grams("") == {""}
    assert cleaned("  Hello,   WORLD!! ") == "hello world"
    assert cleaned("!?") == "!?"


def test_a_shared_sketcher_sketches_a_text_once():
    sketcher = Sketcher(0.7)
    one, other = (NearIndex(0.7, sketcher=sketcher) for _ in range(2))
    for _ in range(3):
        one.similar("where is my parcel, please?")
        other.similar("where is my parcel, please?")
    one.add("x", "where is my parcel, please?")
    assert sketcher.sketch.cache_info().misses == 1
    assert one.nearest("Where is my parcel please") == "x"
    assert other.nearest("Where is my parcel please") is None


def test_alike_says_how_near_what_is_not_near_came():
    index = NearIndex(0.9)
    index.add("x", "the film was a slow and rather dull story about two friends")
    [(similarity, key)] = index.alike("the film was a slow and rather dull story about two sisters")
    assert (key, 0.7 < similarity < 0.9) == ("x", True)
    assert index.similar("the film was a slow and rather dull story about two sisters") == []


def test_fast_enough():
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=12)) + str(number) for number in range(3000)]
    index = NearIndex(0.9)
    index.nearest("warm up the imports")
    began = time.process_time()
    for number, text in enumerate(texts):
        index.nearest(text)
        index.add(str(number), text)
    assert len(texts) / (time.process_time() - began) > 5_000  # the aim is 10,000; shared cores are slower
