"""Slices: worst first, corrected for their number, none too small to say anything."""

import pytest

from distill.report.slices import LEAST, slices, thirds
from distill.score.paired import sign_test
from distill.types import Prediction


def rows(n, **columns):
    return [
        Prediction(
            row=str(place),
            who="student",
            split="gold",
            text="",
            answer="",
            gold="a" if place % 2 else "b",
            input="x" * (place + 1),
            attributes={name: values[place] for name, values in columns.items() if values[place]},
        )
        for place in range(n)
    ]


def sliced(n, wrong, **columns):
    student = [float(place not in wrong) for place in range(n)]
    return slices(rows(n, **columns), student, [1.0] * n, by_label=True, seed=0)


def test_the_surest_loss_stands_first():
    found = sliced(60, set(range(0, 60, 2)) - {0, 2, 4})
    assert (found[0]["by"], found[0]["value"], found[0]["n"]) == ("label", "b", 30)
    assert found[0]["diff"] == pytest.approx(-0.9)
    assert found[0]["low"] < -0.9 < found[0]["high"] < 0
    assert [each["high"] for each in found] == sorted(each["high"] for each in found)


def test_more_slices_cost_more_evidence():
    wrong = set(range(0, 24, 2)[:6])
    few, many = sliced(24, wrong), sliced(24, wrong, kind=list("uvwxyz" * 4), place=list("lmno" * 6))
    p = next(each for each in few if each["value"] == "b")
    later = next(each for each in many if each["value"] == "b")
    assert p["p"] == later["p"] == sign_test([0.0] * 6, [1.0] * 6)[2] == pytest.approx(2 / 64)
    ranked = sorted(each["p"] for each in few)  # the smallest p of m is multiplied by m, the next by m / 2
    steps = [value * len(ranked) / rank for rank, value in enumerate(ranked, 1)]
    assert p["p_adjusted"] == pytest.approx(min(steps))
    assert p["p"] < p["p_adjusted"] < later["p_adjusted"] <= 1


def test_a_slice_is_neither_a_handful_nor_everything():
    n = 40
    found = sliced(n, {1}, source=["web"] * n, rare=["yes"] * (LEAST - 1) + ["no"] * (n - LEAST + 1))
    assert {(each["by"], each["value"]) for each in found if each["by"] not in ("label", "length")} == {
        ("rare", "no")
    }


def test_a_column_named_as_a_slice_of_ours_stands_beside_it():
    found = sliced(30, {1}, length=["brief", "wordy"] * 15, label=["u", "v", "w"] * 10)
    by = {name: {each["value"] for each in found if each["by"] == name} for name in {e["by"] for e in found}}
    assert by["your length"] == {"brief", "wordy"}
    assert by["your label"] == {"u", "v", "w"}
    assert by["label"] == {"a", "b"}
    assert len(by["length"]) == 3


def test_rows_without_the_attribute_are_in_no_slice_of_it():
    found = sliced(20, {1}, topic=["cars"] * 8 + [""] * 12)
    assert [each["n"] for each in found if each["by"] == "topic"] == [8]


def test_lengths_are_thirds_of_the_rows():
    assert thirds(list(range(1, 10))) == (3, 6)
    assert thirds([4] * 9) is None
    assert thirds([]) is None
    found = {each["value"]: each["n"] for each in sliced(30, {1}) if each["by"] == "length"}
    assert sum(found.values()) == 30
    assert set(found) == {
        "short (to 10 characters)",
        "medium (to 20 characters)",
        "long (over 20 characters)",
    }


def test_no_rows_no_slices():
    assert slices([], [], [], by_label=True, seed=0) == []
