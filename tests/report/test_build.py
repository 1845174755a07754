"""The report from predictions alone, by hand."""

import json

import pytest

from distill.config import CompareConfig
from distill.report import html
from distill.report.build import build
from distill.report.terminal import standing
from distill.results import AGAIN, Measured
from distill.score.paired import paired_difference
from distill.types import AnswerField, Label, Prediction, Task

LABELS = Task(name="t", kind="label", instruction="?", labels=(Label("a"), Label("b")))
WHO = ("teacher", "student", "base")
MEASURED = Measured(models=dict.fromkeys(WHO, "m"), prompts=dict.fromkeys(WHO, "p"))


def said(who, answers, gold, split="gold", texts=None, finish="stop"):
    texts = texts or [answer or "?" for answer in answers]
    return [
        Prediction(
            row=f"{split}{place}",
            who=who,
            split=split,
            text=text,
            answer=answer,
            gold=wanted,
            finish_reason=finish,
        )
        for place, (answer, wanted, text) in enumerate(zip(answers, gold, texts, strict=True))
    ]


def labels(n=100, student_wrong=10, base_wrong=40, teacher_wrong=5):
    gold = ["a", "b"] * (n // 2)
    other = {"a": "b", "b": "a"}
    wrong = {"teacher": teacher_wrong, "student": student_wrong, "base": base_wrong}
    return {
        who: said(who, [other[g] if place < wrong[who] else g for place, g in enumerate(gold)], gold)
        for who in WHO
    }


def test_a_label_report_has_every_section():
    report = build(LABELS, CompareConfig(), labels(), MEASURED)
    assert report["split"] == "gold"
    assert report["gap_closed"]["value"] == pytest.approx(30 / 35)
    assert report["gap_closed"]["low"] < 30 / 35 < report["gap_closed"]["high"]
    assert report["confusion"]["counts"]["student"] == [[45, 5, 0], [5, 45, 0]]
    by_class = {(each["who"], each["label"]): each for each in report["per_class"]}
    assert by_class["student", "a"]["recall"] == 0.9
    assert report["chance"] == {"answer": "a", "value": 0.5, "split": "gold"}
    assert 5 < report["sees_points"] < 15
    assert report["paired"][0]["gains"] == 0
    assert report["paired"][0]["losses"] == 5
    assert report["paired"][0]["p"] == pytest.approx(2 * 0.5**5)
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(("student_wrong", "value"), [(40, 0), (5, 1)], ids=["as the base", "as the teacher"])
def test_a_share_of_the_gap_without_a_spread_has_no_interval(student_wrong, value):
    report = build(LABELS, CompareConfig(), labels(student_wrong=student_wrong), MEASURED)
    assert report["gap_closed"] == {"value": value, "low": None, "high": None, "n": 100}
    words = "too few rows differ for an interval"
    assert f"gap closed between base and teacher: {value:.1%} ({words})" in standing(report)
    assert words in html.render(report)
    whole = build(LABELS, CompareConfig(), labels(base_wrong=5), MEASURED)
    assert whole["gap_closed"] is None
    assert any("no clear gap to close" in line for line in standing(whole))
    assert "no clear gap to close" in html.render(whole)


def test_a_teacher_only_just_ahead_is_not_called_not_ahead():
    answers = labels(n=50, student_wrong=15, base_wrong=21, teacher_wrong=0)
    gold = [row.gold for row in answers["teacher"]]
    other = {"a": "b", "b": "a"}
    answers["teacher"] = said("teacher", [other[g] if n >= 40 else g for n, g in enumerate(gold)], gold)
    right = [[float(row.answer == row.gold) for row in answers[who]] for who in ("teacher", "base")]
    assert paired_difference(*right, 0).low > 0
    report = build(LABELS, CompareConfig(), answers, MEASURED)
    assert report["gap_closed"] is None
    assert any("not shown to be ahead of the base, or only just" in line for line in standing(report))
    assert "not shown to be ahead of the base, or only just" in html.render(report)


def test_clusters_widen_the_interval_and_take_the_p_away():
    alone = labels()
    together = {
        who: [Prediction(**{**vars_of(row), "cluster": row.row[-1]}) for row in rows]
        for who, rows in alone.items()
    }
    one, other = (build(LABELS, CompareConfig(), each, MEASURED)["paired"][0] for each in (alone, together))
    assert other["p"] is None
    assert other["high"] - other["low"] >= one["high"] - one["low"]


def vars_of(row):
    return {name: getattr(row, name) for name in row.__struct_fields__}


def test_an_unparsable_second_answer_is_no_agreement():
    predictions = labels(n=10, student_wrong=1, base_wrong=2, teacher_wrong=0)
    first = predictions["teacher"]
    first[3] = said("teacher", [None] * 4, ["a", "b", "a", "b"])[3]
    predictions[AGAIN] = said(AGAIN, [None, "b", "a", None], [row.gold for row in first[:4]])
    assert build(LABELS, CompareConfig(), predictions, MEASURED)["ceiling"]["self_agreement"] == 0.5


def test_what_is_told_of_one_split_is_of_the_verdicts_alone():
    gold = labels(n=20, student_wrong=10, teacher_wrong=0)
    wanted = [row.gold for row in gold["teacher"]] * 2
    both = {who: [*said(who, wanted, wanted, split="test"), *rows] for who, rows in gold.items()}
    both[AGAIN] = [*said(AGAIN, wanted, wanted, split="test"), *said(AGAIN, ["a"] * 10, wanted[:10])]
    report = build(LABELS, CompareConfig(), both, MEASURED)
    assert report["split"] == "gold"
    assert {each["who"]: each["accepted_share"] for each in report["systems"]}["student"] == 0.5
    assert (report["ceiling"]["self_agreement"], report["ceiling"]["n"]) == (0.5, 10)
    on_test = build(LABELS, CompareConfig(), {who: rows[:40] for who, rows in both.items()}, MEASURED)
    assert {each["accepted_share"] for each in on_test["systems"]} == {1}


def test_fields_of_a_json_task():
    task = Task(name="t", kind="json", instruction="?", fields=(AnswerField("x"), AnswerField("y")))
    gold = ['{"x": "1", "y": "2"}'] * 6
    half = '{"x": "1", "y": "3"}'
    predictions = {
        "teacher": said("teacher", gold, gold),
        "student": said("student", [half] * 6, gold, finish="length"),
        "base": said("base", [None] * 6, gold, texts=["{}"] * 3 + ["no"] * 3),
    }
    report = build(task, CompareConfig(), predictions, MEASURED)
    by_field = {(each["who"], each["field"]): each["value"] for each in report["per_field"]}
    assert (by_field["student", "x"], by_field["student", "y"], by_field["base", "x"]) == (1, 0, 0)
    scores = {(each["who"], each["metric"]): each["value"] for each in report["scores"]}
    assert (scores["base", "parse_rate"], scores["base", "schema_rate"]) == (0.5, 0)
    assert "confusion" not in report
    assert "6 answers of the student were cut at their token limit." in report["notes"]


def test_a_number_task_is_judged_by_the_number():
    task = Task(name="t", kind="text", instruction="?", verify="number")
    gold = ["12"] * 8
    predictions = {
        "teacher": said("teacher", ["It is 12."] * 8, gold),
        "student": said("student", ["12.0"] * 8, gold),
        "base": said("base", ["13"] * 8, gold),
    }
    report = build(task, CompareConfig(), predictions, MEASURED)
    assert report["primary_metric"] == "same_number"
    assert report["paired"][0]["diff"] == 0
    assert report["paired"][1]["diff"] == 1
    assert "100.0% against 100.0% right" in report["verdict"]["sentence"]


def test_chinese_is_scored_by_character():
    task = Task(name="t", kind="text", instruction="?")
    gold = ["我爱北京天安门"] * 6
    answers = ["我爱北京"] * 6
    predictions = {who: said(who, answers, gold) for who in WHO}
    scores = {
        each["metric"]: each["value"]
        for each in build(task, CompareConfig(), predictions, MEASURED)["scores"]
        if each["who"] == "student"
    }
    assert scores["rouge_l"] == scores["token_f1"] == pytest.approx(2 * 4 / 11)
    assert 0 < scores["chrf"] < 1
