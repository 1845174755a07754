"""What a committed compare holds, and what keeps it from being committed."""

import json
import sys
from pathlib import Path

import pytest

from distill.errors import DataError
from tests.report.test_html import rows_of
from tests.test_compare_step import compared, run, text  # noqa: F401

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import compares

pytestmark = pytest.mark.slow  # together they take seconds


def test_a_published_compare_is_whole_and_holds_a_few_excerpts(run):  # noqa: F811
    compared(run, student=[1, 2])
    texts = compares.published(run, 3)
    report = json.loads(texts["report.json"])
    assert report["verdict"]["answer"] in texts["report.html"].split("<main>")[1][:200]
    shown = rows_of(texts["report.html"])
    assert (len(shown["rows"]), shown["total"]) == (3, 40)
    assert json.loads(texts["made.json"])["packages"]["python"]
    assert sum(text(n) in texts["report.html"] for n in range(40)) == 3
    assert not any(text(n) in texts["report.json"] for n in range(40))


def test_nothing_is_published_that_was_changed(run):  # noqa: F811
    compared(run, student=[1, 2])
    path = run.summary_path("compare")
    path.write_text(
        path.read_text().replace('"losses":2', '"losses":1').replace('"losses": 2', '"losses": 1')
    )
    with pytest.raises(DataError, match="losses"):
        compares.published(run, 3)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        ("/home/me/models/big", "names a path of this machine: /home/me/models/big"),
        ("sk-" + "a1B2" * 6, "looks like a key"),
        ("the-secret-of-this-test", "a secret of the environment"),
        (
            "a row that is longer than what an excerpt may hold, so it cannot be one",
            "1 rows of the data whole",
        ),
    ],
)
def test_keys_paths_and_rows_keep_it_back(put, said, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "the-secret-of-this-test")
    clean = {"report.json": '{"a": "https://host/v1/data/ and runs/one/4-compare"}'}
    rows = {"a row that is longer than what an excerpt may hold, so it cannot be one", "short"}
    assert compares.trouble(clean, rows, 0) == []
    found = compares.trouble({"report.json": json.dumps({"a": put})}, rows, 0)
    assert len(found) == 1
    assert said in found[0]
    assert compares.trouble({"p": '{"input":"short"}'}, rows, 1) == []
    assert len(compares.trouble({"p": '{"input":"short"}'}, rows, 0)) == 1


def test_the_committed_simulations_hold_what_is_claimed_of_them():
    found = json.loads((compares.RESULTS / "intervals.json").read_text())
    names = ("paired difference", "graded differences", "gap closed")
    for name in names:
        rows = found[f"coverage of {'' if name == 'graded differences' else 'the '}{name}"]
        assert {row["n"] for row in rows} == {50, 200, 1000}
        assert {row["compares"] for row in rows} == {2000}
        assert all(0.93 <= row["covered"] <= 0.97 for row in rows)
    assert all(0.93 <= row["covered"]["ours"] <= 0.97 for row in found["coverage by conversation"])
    margins = (
        "yes at the margin of 3 points",
        "graded differences at the margin",
        "conversations at the margin",
    )
    for name in margins:
        assert max(row["yes"] for row in found[name]) <= 0.05
    right = {"tie": "yes", "5 points lost": "no", "5 points gained": "yes"}
    wrong = {"tie": "no", "5 points lost": "yes", "5 points gained": "no"}
    for row in found["planted"]:
        assert row[wrong[row["planted"]]] <= 0.01
        assert row["n"] < 10_000 or row[right[row["planted"]]] >= 0.99


def test_the_committed_simulations_of_harder_cases_hold_too():
    found = json.loads((compares.RESULTS / "intervals.json").read_text())
    arms = {
        "coverage of macro F1": ("student", 4),
        "graded differences at the margin": ("rows alike", 2),
        "coverage of the cascade": ("values", 2),
    }
    for name, (what, kinds) in arms.items():
        rows = found[name]
        assert {row["n"] for row in rows} == {50, 200, 1000}
        assert len(rows) == 3 * len({row[what] for row in rows}) == 3 * kinds
        assert {row["compares"] for row in rows} == {2000}
        assert min(row["covered"] for row in rows) >= 0.93
        assert max(row["covered"] for row in rows if row["n"] == 1000) <= 0.97
    rows = found["conversations at the margin"]
    assert {row["conversations"] for row in rows} == {10, 20, 50, 200}
    assert {row["compares"] for row in rows} == {2000}
    assert min(row["covered"] for row in rows) >= 0.93
    # The one threshold that is served: its joint quality is hardly ever below what is told.
    assert max(row["served"]["truth below"] for row in found["coverage of the cascade"]) <= 0.05
