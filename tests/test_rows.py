"""`distill rows`: candidates with their verdicts, what changed in an answer, while they are being written."""

import json
import re

import msgspec
import pytest
from click.testing import CliRunner

from distill import views_rows
from distill.cli import cli
from distill.errors import DataError, UsageError
from distill.steps.rows import Wanted, read_rows
from distill.store import jsonl
from distill.types import Candidate, Verdict

HOSTILE = "[bold red]look[/bold red] \x1b[31mred\x1b[0m \x07bell"


def row(index, verdict="", **more):
    kept = Verdict(keep=not verdict, rule=verdict, why=f"why of {index}" if verdict else "")
    base = {"input": f"note number {index}", "answer": "happy", "asked": "happy", "origin": "written"}
    return Candidate(index=index, verdict=kept, **(base | more))


ROWS = [
    row(0),
    row(1, "agreement", answer="sad"),
    row(2, "near_duplicates"),
    row(3, asked=None, raw="a short, red house", answer="a tall red house"),
    row(4, "agreement", answer="sad", input="the Quick brown fox"),
    row(5, input=HOSTILE, asked=HOSTILE, answer=f"{HOSTILE}!"),
]


@pytest.fixture
def seen(run):
    jsonl.replace(run.candidates, ROWS)

    def invoke(*arguments, as_json=False):
        flags = ["--runs-dir", str(run.root.parent)] + (["--json"] if as_json else [])
        return CliRunner().invoke(cli, [*flags, "rows", *map(str, arguments)])

    return invoke


def found(result):
    return [entry["index"] for entry in json.loads(result.stdout)["rows"]]


def test_every_row_with_verdict_and_counts(seen):
    result = seen()
    assert result.exit_code == 0
    assert "6 candidates: 3 kept, 2 agreement, 1 near_duplicates. 6 of 6 shown." in result.stdout
    assert "sad (asked" in result.stdout
    assert "why of 2" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize(
    ("flags", "indices"),
    [
        (("--dropped", "agreement"), [1, 4]),
        (("--kept",), [0, 3, 5]),
        (("--diff",), [1, 3, 4, 5]),
        (("--diff", "--kept"), [3, 5]),
        (("--grep", "quick"), [4]),
        (("--grep", "why of"), [1, 2, 4]),
        (("--limit", 2), [0, 1]),
    ],
)
def test_which_rows(seen, flags, indices):
    assert found(seen(*flags, as_json=True)) == indices


def test_json_is_one_object_with_counts(seen):
    summary = json.loads(seen("--dropped", "agreement", "--limit", 1, as_json=True).stdout)
    assert summary["matching"] == 2
    assert len(summary["rows"]) == 1
    assert summary["by_verdict"] == {"kept": 3, "agreement": 2, "near_duplicates": 1}
    assert summary["rows"][0]["verdict"] == {"keep": False, "rule": "agreement", "why": "why of 1"}


def test_unknown_reason_names_those_there_are(seen):
    error = seen("--dropped", "spelling").exception
    assert isinstance(error, UsageError)
    assert error.where == "--dropped"
    assert "agreement (2), near_duplicates (1)" in error.hint
    assert isinstance(seen("--dropped", "agreement", "--kept").exception, UsageError)


def test_no_candidates_says_what_to_run(run):
    error = CliRunner().invoke(cli, ["--runs-dir", str(run.root.parent), "rows"]).exception
    assert isinstance(error, UsageError)
    assert "distill generate" in error.hint


def test_diff_marks_words_of_text_and_a_label_whole():
    assert views_rows.changes(ROWS[3]).plain == "a [-short,-]{+tall+} red house"
    assert views_rows.changes(ROWS[1]).plain == "[-happy-]{+sad+}"
    whole = "one two\nthree,  four"
    assert "".join(views_rows.words(whole)) == whole


def test_hostile_text_stays_text(seen):
    for flags in ((), ("--diff",)):
        shown = seen("--grep", "bell", *flags).stdout
        assert "\x1b" not in shown
        assert "\x07" not in shown
        flat = re.sub(r"\s+", "", shown)
        assert "[boldred]look[/boldred]\\x1b[31mred" in flat


def test_torn_last_line_of_a_running_generate_is_passed_over(run, seen):
    with run.locked(), run.candidates.open("ab") as file:
        file.write(msgspec.json.encode(row(6)) + b"\n" + msgspec.json.encode(row(7))[:40])
        file.flush()
        assert found(seen(as_json=True)) == [0, 1, 2, 3, 4, 5, 6]


def test_damage_in_the_middle_is_an_error_with_its_line(run):
    run.candidates.parent.mkdir()
    run.candidates.write_bytes(
        msgspec.json.encode(row(0)) + b"\n{broken\n" + msgspec.json.encode(row(1)) + b"\n"
    )
    with pytest.raises(DataError) as caught:
        read_rows(run.candidates, Wanted())
    assert caught.value.where.endswith("candidates.jsonl:2")


def filters_of(folder, *flags):
    return CliRunner().invoke(cli, ["--runs-dir", str(folder), *flags, "filters"])


def test_filters_are_listed_with_and_without_a_run(run, tmp_path):
    general = json.loads(filters_of(tmp_path / "none", "--json").stdout)
    assert general["task"] is None
    assert {"exact", "near_duplicates"} <= {each["name"] for each in general["filters"]}
    assert all({"name", "looks_at", "on", "drops"} == each.keys() for each in general["filters"])
    here = json.loads(filters_of(run.root.parent, "--json").stdout)
    assert here["task"] == "mood"
    shown = re.sub(r"\s+", " ", filters_of(run.root.parent).stdout)
    assert "Filters of task 'mood' in run 'test':" in shown
    assert all(each["name"] in shown for each in here["filters"])
