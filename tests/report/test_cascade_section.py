"""The report's cascade: joint quality and price at each threshold, and a target nobody chose by peeking."""

import pytest

from distill.config import CompareConfig
from distill.report.build import build
from distill.report.cascade import cascade, lines, sureness
from distill.results import VALID, Measured
from distill.types import Label, Prediction, Task

LABELS = Task(name="t", kind="label", instruction="?", labels=(Label("a"), Label("b")))
TEXT = Task(name="t", kind="text", instruction="?")
N = 40


def rows(who, right, *, sure=None, usd=None, split="test", tokens=1):
    """A row for each of `right`, said with that confidence at that price."""
    return [
        Prediction(
            row=f"{split} {place}",
            who=who,
            split=split,
            text="a" if is_right else "b",
            answer="a" if is_right else "b",
            gold="a",
            confidence=sure[place] if sure else None,
            cost_usd=usd,
            spent_s=0.1,
            tokens=tokens,
        )
        for place, is_right in enumerate(right)
    ]


SURE = [0.50 + 0.01 * place for place in range(N)]
WEAK = [place >= 10 for place in range(N)]
"""The student is wrong on its ten least sure rows."""


def section(student=WEAK, teacher=(True,) * N, *, valid=WEAK, usd=0.002, mine=0.5, drop=0.0):
    found = cascade(
        LABELS,
        rows("student", student, sure=SURE),
        rows("teacher", teacher, usd=usd),
        rows(VALID, valid, sure=SURE, split="valid") if valid else (),
        mine,
        drop_points=drop,
        seed=0,
    )
    return found["cascade"]


def test_points_go_from_the_student_alone_to_the_teacher_alone():
    points = section()["points"]
    assert [point["share_to_teacher"] for point in points] == pytest.approx([step / 20 for step in range(21)])
    first, quarter, last = points[0], points[5], points[-1]
    assert (first["value"], quarter["value"], last["value"]) == (0.75, 1.0, 1.0)
    assert points[1]["value"] == pytest.approx(0.8)
    assert first["low"] < first["value"] < first["high"]
    assert first["to_teacher"]["diff"] == pytest.approx(-0.25)
    thresholds = [point["threshold"] for point in points]
    assert thresholds == sorted(thresholds)


def test_the_student_is_paid_for_every_row_and_the_teacher_for_those_sent():
    points = section()["points"]
    assert points[0]["usd_per_1000"] == pytest.approx(0.5)
    assert points[5]["usd_per_1000"] == pytest.approx(0.5 + 1000 * 0.002 * 0.25)
    assert points[-1]["usd_per_1000"] == pytest.approx(2.5)


@pytest.mark.parametrize("unknown", [{"usd": None}, {"mine": None}])
def test_an_unknown_price_stays_unknown(unknown):
    found = section(**unknown)
    assert found["points"][-1]["usd_per_1000"] is None
    assert "at an unknown price per 1000 requests" in found["sentence"]


def test_the_target_is_measured_on_rows_that_did_not_choose_it():
    found = section(drop=5.0)
    target = found["target"]
    assert target["drop_points"] == 5.0
    # Valid is the same by construction: eight of its ten misses sent leave two in 40, a loss of 5 points.
    assert target["on_valid"]["share_to_teacher"] == pytest.approx(0.2)
    assert target["on_valid"]["value"] == pytest.approx(0.95)
    assert target["chosen_on"] == "held-out rows"
    assert "cross-fitting" in target["measured_by"]
    assert 0.1 < target["share_to_teacher"] < 0.35
    assert found["sentence"].startswith(
        f"Send the {target['share_to_teacher']:.0%} least sure to the teacher: "
    )


def test_a_single_miss_is_not_caught_by_a_threshold_that_never_saw_it():
    lone = [place > 0 for place in range(N)]
    found = section(lone, drop=0.0)
    assert found["points"][1]["value"] == 1.0
    assert found["target"]["threshold"] > 0  # by all rows: the least sure one goes
    assert found["target"]["value"] == pytest.approx(1 - 1 / N)


def test_a_student_good_enough_sends_nothing():
    found = section(student=[True] * N, valid=[True] * N)
    assert found["target"]["share_to_teacher"] == 0
    assert found["sentence"].startswith("Send nothing to the teacher: 1.00 (")


def test_without_validation_rows_confidence_stays_as_it_is():
    found = section(valid=None)
    assert found["calibration"] is None
    assert "on_valid" not in found["target"]
    assert found["points"][5]["threshold"] == pytest.approx((SURE[9] + SURE[10]) / 2)


def test_calibration_says_how_far_off_it_is():
    found = section(valid=[True] * 39 + [False])["calibration"]
    assert (found["on"], found["n"], found["ece_n"]) == ("valid", N, N)
    assert found["ece"] > 0.15  # calibrated where 98% were right, used where 75% are


def test_a_student_that_does_not_say_how_sure_it_is_has_no_cascade():
    student = rows("student", WEAK, sure=SURE)
    silent = [*student[:-1], rows("student", WEAK)[-1]]
    teacher = rows("teacher", WEAK)
    assert cascade(LABELS, silent, teacher, (), None, drop_points=3, seed=0) == {}
    assert cascade(LABELS, student[:19], teacher[:19], (), None, drop_points=3, seed=0) == {}


def test_a_label_is_as_sure_as_all_of_its_tokens_and_a_text_as_its_mean_one():
    (row,) = rows("student", [True], sure=[0.9], tokens=3)
    assert sureness(LABELS, row) == pytest.approx(0.729)
    assert sureness(TEXT, row) == 0.9
    assert sureness(LABELS, rows("student", [True])[0]) is None


def test_the_report_has_it_for_the_verdicts_split_and_valid_rows_score_nothing():
    predictions = {
        "teacher": rows("teacher", [True] * N, usd=0.002),
        "student": rows("student", WEAK, sure=SURE),
        "base": rows("base", WEAK),
        VALID: rows(VALID, WEAK, sure=SURE, split="valid"),
    }
    names = dict.fromkeys(("teacher", "student", "base"), "m")
    config = CompareConfig(hardware_usd_per_hour=1.0, max_drop=4.0)
    report = build(LABELS, config, predictions, Measured(models=names, prompts=names))
    assert report["cascade"]["split"] == "test"
    assert report["cascade"]["target"]["drop_points"] == 4.0
    assert {score["split"] for score in report["scores"]} == {"test"}
    assert [each["who"] for each in report["systems"]] == ["teacher", "student", "base"]
    assert report["cascade"]["points"][0]["usd_per_1000"] == pytest.approx(1000 * 0.1 / 3600)
    asked = build(
        LABELS, CompareConfig(cascade_target=0.0), predictions, Measured(models=names, prompts=names)
    )
    assert asked["cascade"]["target"]["drop_points"] == 0.0
    told = "\n".join(lines(report))
    assert report["cascade"]["sentence"] in told
    assert "within 4 points of the teacher" in told
    assert lines({}) == []
