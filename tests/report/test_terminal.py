"""What a terminal of 80 columns shows of a report: no number is cut, metrics have their names."""

from io import StringIO

from rich.console import Console

from distill.report.cascade import sentence
from distill.report.terminal import models_line, systems_table
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
