"""What a person reads of a summary: money that is not invented, warnings that are due."""

import pytest

from distill import views
from distill.store.run import Run


@pytest.mark.parametrize(
    ("usd", "shown"), [(None, "cost unknown"), (0.0, "$0.00"), (2.126, "$2.13"), (0.0004, "$0.0004")]
)
def test_unknown_money_is_not_zero(usd, shown):
    assert views.money(usd) == shown


def receipt(**more):
    base = {
        "accepted": 400,
        "asked_for": 400,
        "tried": 462,
        "dropped": {"near_duplicates": 41, "agreement": 21},
        "by_answer": {"positive": 200, "negative": 200},
        "agreement": {"used": True, "why": "it reads well"},
        "splits": {"train": 320, "valid": 40, "test": 40, "left_out": 0},
        "calls": 900,
        "calls_now": 0,
        "cost_usd": None,
        "seconds": 3.0,
    }
    return base | more


def test_receipt_reads_as_a_sentence(tmp_path):
    text, following = views.generated(Run(tmp_path), receipt())
    assert text.startswith("400 kept of 462: 41 near duplicates, 21 agreement; cost unknown")
    assert "Warning" not in text
    assert following == "Next: distill finetune"


def test_label_that_hardly_occurs_is_a_warning(tmp_path):
    text, _ = views.generated(Run(tmp_path), receipt(by_answer={"positive": 398, "negative": 2}))
    assert "hardly any row is negative" in text


def test_inputs_that_ran_out_are_told(tmp_path):
    text, _ = views.generated(Run(tmp_path), receipt(accepted=380))
    assert "ran out before the 400" in text
