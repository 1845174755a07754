"""`compare --verify`: each kind of tampering is found, whatever file of the comparison it is in."""

import msgspec
import pytest

from distill.errors import DataError
from distill.rounds import Round
from distill.score.stats import wilson
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.store.run import digest, read_json
from distill.types import Prediction
from tests.test_compare_cascade import with_cascade
from tests.test_compare_step import ONCE, OTHER, compared, run  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture
def whole(run):  # noqa: F811
    """A run with two rounds and a cascade, that holds."""
    with_cascade(run)
    (first,) = [each for _, each in jsonl.read(run.rounds, Round)]
    jsonl.replace(run.rounds, [msgspec.structs.replace(first, round=-1)])
    (run.adapter / "adapter_model.safetensors").write_bytes(b"better weights")
    with_cascade(run)
    report = verify(run)
    assert len(report["rounds"]) == 2
    assert report["cascade"]
    return run


def rewritten(path, change):
    held = read_json(path)
    change(held)
    jsonl.replace_json(path, held)


CEILING = {"self_agreement": 0.99, "low": 0.97, "high": 1.0, "n": 200}
FIELD = {"who": "student", "split": "test", "field": "name", "value": 0.9, "low": 0.8, "high": 1.0, "n": 40}


@pytest.mark.parametrize(
    ("name", "value"),
    [("ceiling", CEILING), ("per_field", [FIELD]), ("checks", [FIELD]), ("accuracy", 0.99)],
)
def test_a_number_that_nothing_gives_is_found(whole, name, value):
    rewritten(whole.summary_path("compare"), lambda held: held.update({name: value}))
    with pytest.raises(DataError, match=f"the report do not follow from the answers: .*{name}"):
        verify(whole)


@pytest.mark.parametrize(
    ("name", "number"), [("value", 0.1), ("low", 0.0), ("high", 1.0), ("n", 4000), ("left_out", 3)]
)
def test_a_changed_round_is_found(whole, name, number):
    rewritten(whole.summary_path("compare"), lambda held: held["rounds"][0].update({name: number}))
    with pytest.raises(DataError, match=rf"rounds\[0\]\.{name}"):
        verify(whole)


def test_what_a_round_got_by_row_is_what_it_is_told_to_be(whole):
    first, second = [each for _, each in jsonl.read(whole.rounds, Round)]
    told = msgspec.structs.replace(first, value=0.1, low=0.0, high=0.2)
    jsonl.replace(whole.rounds, [told, second])
    verify(whole)  # those are worked out from the rows
    worse = dict.fromkeys(first.values, 0.0)
    jsonl.replace(whole.rounds, [msgspec.structs.replace(first, values=worse), second])
    with pytest.raises(DataError, match=r"rounds\[0\]\.value"):
        verify(whole)


def test_rounds_that_are_left_out_of_the_report_are_found(whole):
    rewritten(whole.summary_path("compare"), lambda held: held.pop("rounds"))
    with pytest.raises(DataError, match="rounds"):
        verify(whole)


@pytest.mark.parametrize("change", ["emptied", "gone"])
def test_rounds_that_are_not_there_are_told_of(whole, change):
    whole.rounds.write_text("") if change == "emptied" else whole.rounds.unlink()
    with pytest.raises(DataError, match="the newest round is not there") as error:
        verify(whole)
    assert error.value.where == str(whole.rounds)


def test_another_threshold_to_serve_with_is_found(whole):
    rewritten(whole.cascade, lambda held: held["target"].update(threshold=0.123))
    with pytest.raises(DataError, match=r"what is served with do not follow .*target\.threshold is 0.123"):
        verify(whole)
    whole.cascade.unlink()
    with pytest.raises(DataError, match="what is served with"):
        verify(whole)


def test_a_cascade_of_no_comparison_is_found(run):  # noqa: F811
    compared(run, student=[1])
    verify(run)
    jsonl.replace_json(run.cascade, {"schema": 1, "target": {"threshold": 0.5}})
    with pytest.raises(DataError, match="what is served with"):
        verify(run)


@pytest.mark.parametrize("lost", ["all", "a row of the student", "the base"])
def test_answers_that_are_not_there_are_told_of(whole, lost):
    rows = [row for _, row in jsonl.read(whole.answers, Prediction)]
    if lost == "all":
        rows = []
    elif lost == "the base":
        rows = [row for row in rows if row.who != "base"]
    else:
        rows.pop(next(place for place, row in enumerate(rows) if row.who == "student"))
    jsonl.replace(whole.answers, rows)
    with pytest.raises(DataError, match="not every row has an answer of each system") as error:
        verify(whole)
    assert error.value.where == str(whole.answers)
    assert "run distill compare again" in error.value.hint


@pytest.mark.parametrize("rules", ["as then", "changed since", "gone"])
def test_what_the_users_rules_say_is_asked_again_where_they_are_as_they_were(run, tmp_path, rules):  # noqa: F811
    path = tmp_path / "rules.py"
    path.write_text("def keep(input, answer):\n    return answer == 'negative'\n")
    run.record("generate", {"check": str(path), "check_timeout_s": 10.0})
    report = compared(run, student=[0, 3])
    run.finish("generate", {}, {"check file": digest(path)})
    assert verify(run)["checks"] == report["checks"]

    def better(held):
        held["measured"]["failed_checks"]["student"]["test"] = 0
        told = next(each for each in held["checks"] if each["who"] == "student")
        told |= {"value": 1.0, "low": wilson(40, 40).low, "high": 1.0}
        held["checks"] = [told if each["who"] == "student" else each for each in held["checks"]]

    rewritten(run.summary_path("compare"), better)
    if rules != "as then":
        path.write_text(
            "def keep(input, answer):\n    return True\n"
        ) if rules == "changed since" else path.unlink()
        verify(run)  # what other rules would say proves nothing
        return
    with pytest.raises(DataError, match="checks"):
        verify(run)
