"""Metrics against answers worked out by hand."""

import pytest

from distill.score.metrics import (
    chance,
    confusion,
    field_values,
    macro_f1,
    per_class,
    primary,
    row_values,
    token_f1,
)
from distill.score.overlap import chrf, common_subsequence, rouge_l
from distill.score.text import normalised, tokens
from distill.types import Prediction, Task


def task(kind, verify="", fields=()):
    return Task(name="t", kind=kind, instruction="?", verify=verify, fields=fields)


def said(*pairs, split="gold"):
    return [
        Prediction(row=str(place), who="student", split=split, text=answer or "??", answer=answer, gold=gold)
        for place, (answer, gold) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("kind", "verify", "metric"),
    [
        ("label", "", "accuracy"),
        ("json", "", "exact"),
        ("text", "", "token_f1"),
        ("chat", "", "token_f1"),
        ("text", "exact", "exact"),
        ("text", "number", "same_number"),
    ],
)
def test_primary_metric_comes_first(kind, verify, metric):
    asked = task(kind, verify)
    assert primary(asked) == metric
    assert next(iter(row_values(asked, said(("{}", "{}"))))) == metric


def test_an_unparsable_label_is_wrong_and_counted():
    values = row_values(task("label"), said(("a", "a"), ("b", "a"), (None, "a")))
    assert values == {"accuracy": [1, 0, 0], "off_label_rate": [0, 0, 1]}


def test_json_is_compared_by_value_not_by_spelling():
    gold = '{"name":"Ann Lee","age":30,"vip":true}'
    rows = said(
        ('{"age": 30.0, "vip": true, "name": "ann  lee."}', gold),
        ('{"name":"Ann Lee","age":31,"vip":true}', gold),
        ('{"name":"Ann Lee","age":30,"vip":1}', gold),
        ('{"name":"Ann Lee","age":30,"vip":true,"more":1}', gold),
        (None, gold),
        ("not json", gold),
    )
    values = row_values(task("json"), rows)
    assert values["exact"] == [1, 0, 0, 0, 0, 0]
    assert values["parse_rate"] == [1, 1, 1, 1, 0, 0]
    assert values["schema_rate"] == [1, 1, 1, 1, 0, 1]
    assert values["field_accuracy"] == pytest.approx([1, 2 / 3, 2 / 3, 1, 0, 0])
    assert field_values(rows, "age") == [1, 0, 1, 1, 0, 0]
    assert field_values(rows, "vip") == [1, 1, 0, 1, 0, 0]
    assert field_values(rows, "absent") == []


def test_a_number_is_right_however_it_is_written():
    rows = said(("It is 1,200.", "1200"), ("1200.5", "1200"), (None, "1200"), ("none", "1200"))
    assert row_values(task("text", "number"), rows)["same_number"] == [1, 0, 0, 0]


def test_json_that_is_no_answer_of_the_task_still_parses():
    row = Prediction(row="1", who="base", split="gold", text='Sure: {"other": 1}', answer=None, gold="{}")
    values = row_values(task("json"), [row])
    assert (values["parse_rate"], values["schema_rate"]) == ([1], [0])


def test_chance_is_the_best_constant_answer():
    found = chance(task("label"), said(("a", "a"), ("a", "b"), ("a", "b")))
    assert (found.answer, found.value, found.split) == ("b", pytest.approx(2 / 3), "gold")
    with pytest.raises(ValueError, match="no rows"):
        chance(task("label"), [])


def test_classes_by_hand():
    rows = said(("a", "a"), ("a", "a"), ("b", "a"), ("b", "b"), (None, "b"))
    assert confusion(["a", "b", "c"], rows) == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    a, b, c = per_class(["a", "b", "c"], rows)
    assert a == {
        "label": "a",
        "n": 3,
        "precision": 1,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
    }
    assert (b["precision"], b["recall"]) == (0.5, 0.5)
    assert (c["n"], c["precision"], c["recall"], c["f1"]) == (0, 0, 0, 0)


# What sacrebleu 2.6.0 (CHRF().sentence_score / 100) and rouge-score 0.1.2 (rougeL F1, our words) say.
@pytest.mark.parametrize(
    ("answer", "gold", "by_chrf", "by_rouge_l"),
    [
        ("the cat sat on the mat", "the cat sat on a mat", 0.720848317308, 0.833333333333),
        ("Mat the on sat cat the", "the cat sat on the mat", 0.305473856209, 0.5),
        ("東京タワーは高い", "東京タワーはとても高い", 0.465106857715, 0.842105263158),
        ("我爱北京天安门", "我爱天安门北京", 0.311111111111, 0.714285714286),
        ("a", "a", 1, 1),
        ("ab", "abcdefgh", 0.234042553191, 0),
        ("The price is 3.50.", "Price: 3.50", 0.3370885706, 0.666666666667),
        ("dog", "cat", 0, 0),
        ("El niño comió", "El niño no comió nada", 0.491057946285, 0.75),
    ],
)
def test_chrf_and_rouge_l_are_those_of_the_libraries(answer, gold, by_chrf, by_rouge_l):
    assert chrf(answer, gold) == pytest.approx(by_chrf, abs=1e-9)
    assert rouge_l(answer, gold) == pytest.approx(by_rouge_l, abs=1e-9)


def test_no_answer_overlaps_nothing():
    assert (chrf(None, "x"), rouge_l(None, "x"), chrf("", "x"), rouge_l("...", "x")) == (0, 0, 0, 0)


def test_a_long_subsequence_is_fast_and_right():
    assert common_subsequence(list("abcbdab"), list("bdcaba")) == 4
    one, other = [str(n % 97) for n in range(20_000)], [str(n % 89) for n in range(20_000)]
    assert common_subsequence(one, one) == 20_000
    assert 0 < common_subsequence(one, other) < 20_000


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
