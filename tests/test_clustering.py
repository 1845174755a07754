"""Misses in clusters: confusions first, texts where they are many, names by words that tell."""

import random
import tracemalloc

import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from distill.clustering import MOST_PARTS, SPLIT_FROM, clustered, features, missed, parts, telling_words
from distill.types import AnswerField, Label, Prediction, Task

MOOD = Task("mood", "label", "Say the mood.", labels=(Label("happy"), Label("sad"), Label("calm")))
ORDER = Task("o", "json", "Read.", fields=(AnswerField("item"), AnswerField("n", "integer")))
TEXT = Task("t", "text", "Explain.")
RAIN = ["umbrella", "rain", "clouds", "puddle", "storm", "wet"]
FOOD = ["soup", "bread", "cheese", "kitchen", "lunch", "salt"]


def row(name, text, answer, gold, split="valid"):
    return Prediction(
        row=name, who="student", split=split, text=answer or "?", answer=answer, gold=gold, input=text
    )


def about(words, seed):
    """A sentence about one thing, among words that are anywhere."""
    rng = random.Random(seed)
    return " ".join(["the", *rng.sample(words, 4), "was", rng.choice(["here", "there"])])


def test_labels_are_grouped_by_what_was_confused():
    rows = [row(f"a{n}", f"note {n}", "sad", "happy") for n in range(5)]
    rows += [row(f"b{n}", f"note {n}", "happy", "sad") for n in range(3)]
    rows += [row("c", "note", None, "sad"), row("d", "note", "calm", "calm")]
    misses = missed(MOOD, rows)
    assert len(misses) == 9
    found = clustered(MOOD, misses, rows)
    assert [(each.given, each.answered, each.count) for each in found] == [
        ("happy", "sad", 5),
        ("sad", "happy", 3),
        ("sad", "", 1),
    ]
    assert [each.share for each in found] == pytest.approx([5 / 9, 3 / 9, 1 / 9])
    assert found[0].name.startswith("happy answered as sad")
    assert found[2].name.startswith("sad answered as no answer")
    assert len({each.id for each in found}) == 3


def test_a_large_confusion_is_split_by_its_texts_and_named_by_their_words():
    rain = [row(f"r{n:02}", about(RAIN, n), "sad", "happy") for n in range(12)]
    food = [row(f"f{n:02}", about(FOOD, n), "sad", "happy") for n in range(12)]
    right = [row(f"x{n}", f"the day {n} was here", "calm", "calm") for n in range(40)]
    rows = [each for pair in zip(rain, food, strict=True) for each in pair] + right
    found = clustered(MOOD, missed(MOOD, rows), rows)
    assert sum(each.count for each in found) == 24
    for each in found:
        kinds = {miss.row[0] for miss in each.rows}
        assert len(kinds) == 1, each
        words = RAIN if kinds == {"r"} else FOOD
        assert any(word in each.name for word in words)
        assert "the" not in each.name.split(": ")[1].split(", ")
    assert len(found) > 1


def test_few_of_a_kind_are_not_split():
    rows = [row(f"{n}", about(RAIN if n % 2 else FOOD, n), "sad", "happy") for n in range(SPLIT_FROM - 1)]
    assert len(clustered(MOOD, rows, rows)) == 1


def test_order_of_rows_decides_nothing():
    rows = [row(f"{n:02}", about(RAIN if n % 2 else FOOD, n), "sad", "happy") for n in range(40)]
    turned = rows[::-1]
    assert clustered(MOOD, rows, rows) == clustered(MOOD, turned, turned)


def test_json_is_grouped_by_the_wrong_fields():
    gold = '{"item": "tea", "n": 2}'
    rows = [
        row("a", "tea two", '{"item": "tea", "n": 3}', gold),
        row("b", "tea two", '{"item": "tea", "n": 4}', gold),
        row("c", "tea two", '{"item": "mug", "n": 4}', gold),
        row("d", "tea two", None, gold),
        row("e", "tea two", gold, gold),
    ]
    found = clustered(ORDER, missed(ORDER, rows), rows)
    names = {each.name.split(":")[0]: each.count for each in found}
    assert names == {"wrong n": 2, "wrong item, n": 1, "no answer": 1}


def test_free_text_is_missed_where_it_says_something_else():
    rows = [
        row("a", "q", "the sky is blue today", "the sky is blue"),
        row("b", "q", "no idea", "the sky is blue"),
        row("c", "q", None, "the sky is blue"),
    ]
    assert [each.row for each in missed(TEXT, rows)] == ["b", "c"]
    (found,) = clustered(TEXT, missed(TEXT, rows), rows)
    assert (found.given, found.answered, found.count) == ("", "", 2)


def test_unspaced_and_hostile_texts_cluster_as_any():
    texts = ["今天下雨了", "明天会下雨", "\x1b[31m[red]x", "", "🙂🙂", "\ud800"]
    rows = [row(f"{n}", texts[n % len(texts)], "sad", "happy") for n in range(24)]
    found = clustered(MOOD, rows, rows)
    assert sum(each.count for each in found) == 24


def test_no_misses_are_no_clusters():
    assert clustered(MOOD, [], []) == []
    assert missed(MOOD, []) == []


def test_words_that_are_everywhere_tell_nothing():
    from collections import Counter

    every = Counter({"the": 100, "rain": 6, "once": 1})
    assert telling_words(["the rain", "the rain", "the rain once"], every, 100) == ["rain"]


def test_long_texts_are_split_in_little_memory_as_their_vectors_would_be():
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh"[place % 3 :], k=1000)) for place in range(150)]
    rows = [
        Prediction(row=f"{place:03}", who="s", split="v", text="", answer="", gold="a", input=text)
        for place, text in enumerate(texts)
    ]
    dense = features(texts).toarray()
    assert dense.size > 3_000_000
    wanted = fcluster(linkage(dense, method="ward"), MOST_PARTS, criterion="maxclust")
    tracemalloc.start()
    found = parts(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {frozenset(int(row.row) for row in part) for part in found} == {
        frozenset(place for place in range(150) if wanted[place] == number) for number in set(wanted)
    }
    assert peak < 4 * dense.size
