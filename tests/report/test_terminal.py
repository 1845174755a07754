"""What a terminal of 80 columns shows of a report: no number is cut, metrics have their names."""

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from distill.report.cascade import sentence
from distill.report.terminal import models_line, scores_tables, slices_tables, systems_table
from distill.score.verdict import named

SYSTEM = {"prompt": "zero-shot", "latency_p50_s": 0.249, "latency_p95_s": 1.08, "rows_per_s": 1234.5,
          "tokens_per_s": 12345.6, "usd_per_1000": 0.0094, "usd_per_accepted": 0.000014}  # fmt: skip


def narrow(*things):
    made = StringIO()
    Console(file=made, width=80).print(*things)
    return made.getvalue()


def test_no_number_is_cut_in_eighty_columns():
    systems = [
        {**SYSTEM, "who": "prompted base", "model": "org/a-model-with-a-long-name"},
        {**SYSTEM, "who": "another/run-with-a-very-long-name-indeed", "model": "x", "usd_per_1000": None},
    ]
    seen = narrow(systems_table(systems))
    assert "…" not in seen
    for value in ("249 ms", "1.08 s", "1234.5", "12345.6", "$0.0094", "$1.4e-05", "unknown", "USD per"):
        assert value in seen
    assert "prompted base: org/a-model-with-a-long-name, prompt zero-shot; " in narrow(models_line(systems))


def scored(metrics, who=("teacher", "student", "prompted base")):
    numbers = {"value": 1.0, "low": 0.886, "high": 1.0, "n": 30}
    return {
        "task": "mood",
        "scores": [
            {"who": each, "split": "gold", "metric": metric, **numbers} for each in who for metric in metrics
        ],
    }


@pytest.mark.parametrize(
    "metrics",
    [
        ("accuracy", "off_label_rate", "macro_f1"),
        ("token_f1", "exact", "chrf", "rouge_l", "empty_rate"),
        ("exact", "parse_rate", "schema_rate"),
    ],
)
@pytest.mark.parametrize("name", ["another/run-with-a-very-long-name-indeed", "x" * 100, "短い名前" * 20])
def test_scores_are_whole_in_eighty_columns(metrics, name):
    seen = narrow(scores_tables(scored(metrics), "gold"))
    assert seen.count("100.0% (88.6 to 100.0)") == 3 * len(metrics)
    for metric in metrics:
        assert f" {named(metric)} ┃" in seen
    assert seen.count("mood: 30 gold rows") == 1
    assert seen.count("│ prompted base │") == seen.count("┏━")
    with_long = narrow(scores_tables(scored(metrics, ("student", name)), "gold"))
    assert with_long.count("100.0% (88.6 to 100.0)") == 2 * len(metrics)
    assert "…" not in with_long
    assert max(cell_len(line) for line in with_long.splitlines()) <= 80


def test_scores_that_fit_are_one_table():
    wide = StringIO()
    Console(file=wide, width=120).print(
        scores_tables(scored(("accuracy", "off_label_rate", "macro_f1")), "gold")
    )
    assert wide.getvalue().count("┏━") == 1
    assert narrow(scores_tables(scored(("accuracy",)), "gold")).count("┏━") == 1


def test_slices_keep_their_numbers_whole_in_eighty_columns():
    numbers = {
        "n": 1234,
        "a": 0.8,
        "b": 1.0,
        "diff": -0.2,
        "low": -0.512,
        "high": 0.133,
        "p_adjusted": 3.8e-6,
    }
    slices = [{"by": "length", "value": "medium (to 134 characters)", **numbers}]
    summary = {"slices": slices, "correction": "Benjamini-Hochberg over all slices"}
    seen = narrow(slices_tables(summary, slices))
    for word in ("-20.0 (-51.2 to +13.3)", "3.8e-06", "1234", "length: medium (to 134", "p, corrected"):
        assert word in seen
    assert "teacher" not in seen
    wide = StringIO()
    Console(file=wide, width=120).print(slices_tables(summary, slices))
    for word in (
        "student",
        "teacher",
        "80.0%",
        "100.0%",
        "-20.0 (-51.2 to +13.3)",
        "length: medium (to 134 char",
    ):
        assert word in wide.getvalue()


def test_metrics_are_named_as_people_write_them():
    assert [named(name) for name in ("token_f1", "macro_f1", "chrf", "rouge_l", "off_label_rate")] == [
        "token F1",
        "macro F1",
        "chrF",
        "ROUGE-L",
        "off label rate",
    ]


def test_a_cascade_of_all_or_nothing_is_said_so():
    target = {"value": 0.9, "low": 0.8, "high": 1.0, "usd_per_1000": None}
    assert sentence({**target, "share_to_teacher": 1.0}).startswith("Send everything to the teacher: 0.90")
    assert sentence({**target, "share_to_teacher": 0.0}).startswith("Send nothing to the teacher: 0.90")
    assert sentence({**target, "share_to_teacher": 0.2}).startswith("Send the 20% least sure to the teacher")
