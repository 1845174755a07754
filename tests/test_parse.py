"""Teacher text to answers: what counts, and what is no answer."""

import json

import pytest

from distill.parse import (
    find_json,
    parse_answer,
    parse_input,
    parse_label,
    parse_lines,
    parse_proposals,
    slug,
)
from distill.types import AnswerField, Label, PromptChoice, Task

SENTIMENT = Task("s", "label", "Decide.", "review", labels=(Label("positive"), Label("negative")))
ORDER = Task(
    "o",
    "json",
    "Take out.",
    fields=(
        AnswerField("city"),
        AnswerField("seats", "integer"),
        AnswerField("cls", choices=("First", "Second")),
    ),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("positive", "positive"),
        ("Positive.", "positive"),
        ("**Negative**", "negative"),
        ("Answer: negative\nbecause it is dull", "negative"),
        ('{"label": "negative"}', "negative"),
        ("I would say this is positive overall", "positive"),
        ("positive or negative?", None),
        ("neither", None),
        ("", None),
        ("unpositive", None),
    ],
)
def test_label_is_read_wherever_a_model_puts_it_and_two_labels_are_none(text, expected):
    assert parse_answer(SENTIMENT, text) == expected


def test_nested_labels_mean_the_longer_one():
    assert parse_label(("spam", "not_spam"), "This is not spam") == "not_spam"
    assert parse_label(("spam", "not_spam"), "This is spam!") == "spam"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"city": "Rome", "seats": 2, "cls": "first"}', {"city": "Rome", "seats": 2, "cls": "First"}),
        ('Sure:\n```json\n{"seats": "3", "city": " Rome ", "cls": "Second", "extra": 1}\n```', None),
        (
            '```json\n{"seats": "3", "city": " Rome ", "cls": "Second"}\n```',
            {"city": "Rome", "seats": 3, "cls": "Second"},
        ),
        ('{"city": "Rome", "seats": 2.5, "cls": "First"}', None),
        ('{"city": "Rome", "seats": true, "cls": "First"}', None),
        ('{"city": "Rome", "seats": 2, "cls": "Third"}', None),
        ('{"city": "Rome", "seats": 2', None),
        ("[1, 2]", None),
    ],
)
def test_json_answer_has_the_fields_in_order_or_is_none(text, expected):
    if expected is None and "extra" in text:
        expected = {"city": "Rome", "seats": 3, "cls": "Second"}
    got = parse_answer(ORDER, text)
    assert (json.loads(got) if got else None) == expected
    if got:
        assert list(json.loads(got)) == ["city", "seats", "cls"]


def test_deeply_nested_json_is_no_answer_and_no_crash():
    assert find_json("{" * 100_000) is None
    assert find_json('{"a":' * 20_000) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a fine film ."\n\n"a bad film ."', "a fine film ."),
        ("1. a fine film .", "a fine film ."),
        ("Review: a fine film .", "a fine film ."),
        ("- a  fine\tfilm .", "a fine film ."),
        ('{"review": "a fine film ."}', "a fine film ."),
        ("   \n", ""),
        ("Eingabe: ein guter Film .", "ein guter Film ."),
        ("输入文本：一部好电影。", "一部好电影。"),
    ],
)
def test_written_input_is_freed_of_its_wrapping(text, expected):
    assert parse_input(SENTIMENT, text) == expected


def test_proposals_keep_whole_tasks_of_a_cut_answer_and_drop_what_lacks_its_labels():
    good = {
        "name": "Route E-mail",
        "kind": "label",
        "instruction": "Decide the team.",
        "labels": ["Sales", "Help"],
    }
    bad = {"name": "x", "kind": "label", "instruction": "Decide the team.", "labels": ["one"]}
    text = json.dumps({"tasks": [good, bad, good]})
    (task,) = parse_proposals(text)
    assert task.name == "route-e-mail"
    assert task.label_names == ("sales", "help")
    (cut,) = parse_proposals(text[: text.rindex("{") + 20])
    assert cut == task
    assert parse_proposals("I cannot help with that.") == []


def test_labels_proposed_twice_under_one_key_are_one():
    entry = {"name": "x", "kind": "label", "instruction": "Decide it.", "labels": ["a-1", "b", "a 1"]}
    (task,) = parse_proposals(json.dumps({"tasks": [entry]}))
    assert task.label_names == ("a-1", "b")


def test_slug_may_become_a_folder():
    assert slug("../../Etc Passwd!") == "etc-passwd"
    assert len(slug("x" * 200)) == 48


@pytest.mark.parametrize("labels", [3, "yes, no", None, [1, 2], ["one"], [["a"], ["b"]]])
def test_labels_that_are_no_list_of_names_are_no_task(labels):
    entry = {"name": "x", "kind": "label", "instruction": "Decide it.", "labels": labels}
    assert parse_proposals(json.dumps({"tasks": [entry]})) == []


def test_proposals_in_other_scripts_and_with_described_fields_are_tasks():
    label = {"name": "情感", "kind": "label", "instruction": "判断情感。", "labels": ["正面", "负面"]}
    facts = {
        "name": "facts",
        "kind": "json",
        "instruction": "Take out.",
        "fields": [{"name": "Item no", "type": "x"}],
    }
    first, second = parse_proposals(json.dumps({"tasks": [label, facts]}))
    assert first.label_names == ("正面", "负面")
    assert first.name.startswith("task-")
    assert [field.name for field in second.fields] == ["item_no"]


def test_absurd_numbers_are_no_answer():
    for number in ("9" * 400, "1e999", '"' + "9" * 400 + '"'):
        assert parse_answer(ORDER, f'{{"city": "Rome", "seats": {number}, "cls": "First"}}') is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is not negative at all.\n**Answer:** positive", "positive"),
        ("There is praise, there is blame: negative wins.\nSo the answer is: negative.", "negative"),
        ("Answer: negative\nNo, wait.\nAnswer: positive", "positive"),
        ("Positive or negative?\nAnswer:", None),
        ("Nicht negative.\nDie Antwort lautet: positive", "positive"),
        ("No negative.\n**Respuesta final:** positive", "positive"),
        ("Pas negative.\nRéponse\u00a0: positive", "positive"),
        ("negative ではない。\n答え：positive。", "positive"),
        ("不是 negative。\n所以，最终答案是：positive。", "positive"),
        ("negative?\nAnswer：positive", "positive"),
        ("Answer: negative\nAntwort: positive", "positive"),
        ("回答问题：positive 还是 negative", None),  # "answering the question:" gives no answer
        ("Antworten: positive, negative", None),
    ],
)
def test_reasons_before_an_answer_are_no_answer(text, answer):
    assert parse_answer(SENTIMENT, text) == answer


def test_free_answers_are_what_follows_the_reasons_only_where_those_were_asked_for():
    plain = Task("t", "text", "Do.")
    asked = Task("t", "text", "Do.", prompt=PromptChoice("step-by-step"))
    text = "First 2, then 3.\nAnswer: 5"
    assert parse_answer(asked, text) == "5"
    assert parse_answer(plain, text) == text
    assert parse_answer(asked, "just 5") == "just 5"
    assert parse_answer(asked, "3 - 8\n**Answer:** -5") == "-5"
    assert parse_answer(asked, "三减八。\n答案：-5") == "-5"
    facts = Task("t", "json", "Do.", fields=(AnswerField("n"),), prompt=PromptChoice("step-by-step"))
    assert parse_answer(facts, '{x}\nAnswer: {"n": "1"}') == '{"n": "1"}'


def test_ends_of_a_chinese_line_are_no_part_of_what_it_says():
    assert parse_lines("主题：\n1、手机。\n2、书；") == ["手机", "书"]
    assert parse_label(("退款", "退款中"), "“退款。”") == "退款"


@pytest.mark.parametrize(
    ("labels", "text", "expected"),
    [
        ("正面 负面", "这条评论是正面的。", "正面"),
        ("正面 负面", "我认为这条评论属于负面评价，因为观众很失望。", "负面"),
        ("正面 负面", "可能是正面，也可能是负面。", None),
        ("正面 负面", "这条评论并不正面。", None),
        ("肯定 否定", "これは肯定です", "肯定"),
        ("肯定 否定", "肯定でも否定でもありません", None),
        ("ポジティブ ネガティブ", "このレビューはポジティブだと思います。", "ポジティブ"),
        ("好 不好", "这部电影不好。", "不好"),
        ("好 不好", "这部电影很好。", "好"),
        ("是 否", "这不是垃圾邮件", None),
        ("บวก ลบ", "รีวิวนี้เป็นบวกมาก", "บวก"),
        ("positive negative", "这条评论是positive的。", "positive"),
        ("positive negative", "这条评论是unpositive的。", None),
        ("A类 B类", "应归入A类。", "A类"),
        ("A类 B类", "应归入DNA类。", None),
        ("1 10", "属于第10类", "10"),
    ],
)
def test_a_label_is_read_out_of_prose_written_without_spaces(labels, text, expected):
    assert parse_label(tuple(labels.split()), text) == expected
