"""Metrics against answers worked out by hand."""

import pytest

from distill.score.metrics import PRIMARY, macro_f1, row_values, token_f1
from distill.score.text import normalised, tokens


@pytest.mark.parametrize("kind", ["label", "json", "text"])
def test_primary_metric_comes_first(kind):
    assert next(iter(row_values(kind, [("{}", "{}")]))) == PRIMARY[kind]


def test_an_unparsable_label_is_wrong_and_counted():
    values = row_values("label", [("a", "a"), ("b", "a"), (None, "a")])
    assert values == {"accuracy": [1, 0, 0], "off_label_rate": [0, 0, 1]}


def test_json_is_compared_by_value_not_by_spelling():
    gold = '{"name":"Ann Lee","age":30,"vip":true}'
    values = row_values(
        "json",
        [
            ('{"age": 30.0, "vip": true, "name": "ann  lee."}', gold),
            ('{"name":"Ann Lee","age":31,"vip":true}', gold),
            ('{"name":"Ann Lee","age":30,"vip":1}', gold),
            ('{"name":"Ann Lee","age":30,"vip":true,"more":1}', gold),
            (None, gold),
            ("not json", gold),
        ],
    )
    assert values["exact"] == [1, 0, 0, 0, 0, 0]
    assert values["parse_rate"] == [1, 1, 1, 1, 0, 1]
    assert values["field_accuracy"] == pytest.approx([1, 2 / 3, 2 / 3, 1, 0, 0])


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("The cat sat.", "the cat sat", 1.0),
        ("the cat", "the cat sat down", 2 / 3),
        ("the the the", "the cat", 2 / 5),
        ("dog", "cat", 0.0),
        (None, "cat", 0.0),
        ("", "cat", 0.0),
        ("!", "!", 1.0),
        ("北京市", "北京", 4 / 5),
        ("東京タワー", "東京", 4 / 7),
        ("hi 北京", "北京 hi", 1.0),
    ],
)
def test_token_f1(answer, gold, f1):
    assert token_f1(answer, gold) == pytest.approx(f1)


def test_words_are_cut_by_script():
    assert tokens("我爱NLP，真的。") == ["我", "爱", "nlp", "真", "的"]
    assert tokens("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert tokens("It costs 3.50, or -5 (well-known)") == ["it", "costs", "3.50", "or", "-5", "well", "known"]


def test_normal_form_keeps_what_changes_the_meaning():
    assert normalised("  “Hello,\n World!” ") == "hello, world"
    assert normalised("ＡＢＣ") == "abc"
    assert normalised("-5") == "-5"
    assert normalised("50%") == "50%"
    assert normalised(".5") == ".5"
    assert normalised("...") != ""


def test_macro_f1_by_hand():
    rows = [("a", "a"), ("a", "a"), ("b", "a"), ("b", "b"), (None, "b"), ("z", "b")]
    f1_a, f1_b = 2 * 2 / (3 + 2), 2 * 1 / (3 + 2)
    assert macro_f1(rows) == pytest.approx((f1_a + f1_b) / 2)


def test_macro_f1_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        macro_f1([])
