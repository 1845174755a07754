"""report.html as text: what is there, what is not, and that nothing from outside becomes markup."""

import json
import os
import re
from pathlib import Path

import pytest

from distill.errors import StorageError
from distill.report import html, words
from distill.report.frontier import frontier, thinned
from distill.report.reproduce import flags, private
from distill.report.svg import Axis, linear, logarithmic
from distill.report.verdicts import lines
from distill.score.judgement import MARK, PARTIAL
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from tests.conftest import MOOD
from tests.report.whole import QUESTIONS, RELATED, judged, whole

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def real(name="sentiment"):
    return json.loads((RESULTS / f"{name}.json").read_text())


def answer(who, row, text, gold="happy", **more):
    found = {"who": who, "row": row, "split": "gold", "text": text, "answer": text, "gold": gold}
    return {**found, "input": f"input of {row}", "finish_reason": "stop", **more}


def rows_of(page):
    return json.loads(re.search(r'id="data-rows">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize("name", ["sentiment", "question-type", "orders", "own-inputs"])
def test_a_real_report_says_what_was_done_and_whether_to_ship(name):
    told = real(name)
    page = html.render(
        told["report"], told["receipt"], told["metrics"], run={"name": "r", **told["settings"]}
    )
    headline = {"yes": "Yes", "no": "No", "unclear": "Not enough data"}[told["report"]["verdict"]["answer"]]
    assert f'<h1 id="verdict">{headline}</h1>' in page
    assert f"{told['receipt']['accepted']:,} pairs kept" in page
    assert "distill --run r finetune" in page
    assert "undefined" not in page.split("<script>")[0].lower()
    assert "None" not in page.split("<script>")[0].split("</style>")[1]


def test_a_report_alone_has_no_empty_section():
    whole = real()["report"]
    optional = ("data", "slices", "cascade", "judged", "review", "rounds", "learning_curve")
    page = html.render({name: value for name, value in whole.items() if name not in optional})
    for absent in ('id="data"', 'id="training"', 'id="judge"', 'id="rows"', 'id="slices"', "distill --run"):
        assert absent not in page
    assert '<section aria-labelledby="scores">' in page


def test_text_from_outside_is_never_markup():
    report = real()["report"]
    report |= {"task": HOSTILE, "notes": [HOSTILE], "correction": HOSTILE}
    report["verdict"]["sentence"] = f"Yes: {HOSTILE}: {HOSTILE}"
    for each in report["systems"]:
        each |= {"model": HOSTILE, "prompt": HOSTILE}
    numbers = {"n": 9, "a": 0.1, "b": 0.2, "diff": -0.1, "low": -0.2, "high": 0.1, "p_adjusted": 0.5}
    report["slices"] = [{"by": HOSTILE, "value": HOSTILE, **numbers}]
    report, metrics = whole({"report": report, "metrics": real()["metrics"]}, [HOSTILE], banner=HOSTILE)
    report["judged"] |= {"judge": HOSTILE, "a": HOSTILE, "b": HOSTILE}
    report["judged"]["trust"] |= {"why": [HOSTILE], "not_tried": [HOSTILE]}
    report["judged"]["dimensions"] = {HOSTILE: report["judged"]["by_length"][0]}
    report["review"]["against"] = report["cascade"]["sentence"] = HOSTILE
    metrics["learning_curve"]["sentence"] = HOSTILE
    answers = [answer("student", HOSTILE, HOSTILE, HOSTILE), answer("teacher", HOSTILE, "happy", HOSTILE)]
    run = {
        "name": HOSTILE,
        "instruction": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "generate": {"inputs": HOSTILE},
    }
    receipt = {"accepted": 1, "tried": 2, "dropped": {HOSTILE: 1}}
    page = html.render(report, receipt, metrics, (), answers, run)
    assert page.count("<script") == 2
    assert "<img" not in page
    assert "\u2028" not in page
    assert rows_of(page)["rows"][0]["said"][1]["text"] == HOSTILE.replace("\u2028", "\\u2028")


def test_the_policy_allows_what_is_in_the_page_and_nothing_else():
    page = html.render(real()["report"])
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1].replace("&#39;", "'")
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    assert "default-src 'none'" in policy
    assert f"style-src '{html.digest(style)}'" in policy
    assert f"script-src '{html.digest(script)}'" in policy
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "")
    assert not re.search(r"<[^>]+ (style|on\w+)=", page)


def test_who_did_better_is_told_row_by_row_losses_first():
    said = [("a", "happy", "happy"), ("b", "sad", "happy"), ("c", "happy", "sad"), ("d", None, "happy")]
    answers = [answer("student", row, mine or "??", answer=mine) for row, mine, _ in said]
    answers += [answer("teacher", row, theirs) for row, _, theirs in said]
    answers += [answer("teacher again", "a", "sad")]
    flipped = {"row": "a", "outcome": "tie", "flipped": True}
    section = judged(["a"]) | {"rows": [flipped]}
    page = html.render(real()["report"] | {"judged": section}, answers=answers)
    rows = rows_of(page)["rows"]
    assert [(row["input"][-1], row["outcome"], row["format"], row["flipped"]) for row in rows] == [
        ("b", "lost", False, False),
        ("d", "lost", True, False),
        ("c", "won", False, False),
        ("a", "tie", False, True),
    ]
    assert 'data-filter="flipped"' in page
    assert 'data-filter="flipped"' not in html.render(real()["report"], answers=answers)


def test_the_judges_banner_stands_wherever_its_numbers_do():
    report, metrics = whole(real(), ["a"] * 40, banner=RELATED)
    answers = [answer("student", "a", "happy"), answer("teacher", "a", "happy")]
    page = html.render(report, metrics=metrics, answers=answers)
    by_section = re.split(r'<section [^>]*aria-labelledby="', page)
    with_it = {each.split('"')[0] for each in by_section if RELATED in each}
    assert with_it == {"verdict", "judge", "review", "answers-name"}


@pytest.mark.parametrize("sound", [True, False])
def test_every_judged_number_is_marked_unless_the_judge_is_trustworthy(sound):
    report, metrics = whole(real(), [str(n) for n in range(60)], sound=sound)
    assert report["judged"]["trust"]["grade"] == ("trustworthy" if sound else "not trustworthy")
    answers = [answer("student", "1", "happy"), answer("teacher", "1", "happy")]
    page = html.render(report, metrics=metrics, answers=answers)
    rows = page.split('<table class="judged">')[1].split("</table>")[0].split("<tr>")[2:]
    assert [re.search(r'<th scope="row">(.*?)</th>', row)[1] for row in rows] == [
        "Over all", "Its answer is shorter", "Its answer is about as long", "Its answer is longer",
        *QUESTIONS,
    ]  # fmt: skip
    assert [MARK in row for row in rows] == [not sound] * 6
    by_judge = page.split('id="review"')[1].split("By the judge</th>")[1].split("</tr>")[0]
    assert (MARK in by_judge) is not sound
    assert (MARK in page.split('id="answers-name"')[1].split("<noscript>")[0]) is not sound
    assert ("These numbers are not trustworthy." in page) is not sound
    told = [line for line, _ in lines(report["judged"])]
    numbers = [line for line in told if "win rate" in line or " of " in line.split(":")[0]]
    assert all((MARK in line) is not sound for line in numbers)
    found = report["judged"]
    each = [found, *found["by_length"], *found["dimensions"].values()]
    assert {one["mark"] for one in each} == ({""} if sound else {MARK})


def test_a_partial_judge_is_marked_though_it_passes_its_trial():
    report, _ = whole(real(), [str(n) for n in range(60)], banner=RELATED)
    assert report["judged"]["trust"]["grade"] == "trustworthy"
    found = report["judged"]
    each = [found, *found["by_length"], *found["dimensions"].values()]
    assert {one["mark"] for one in each} == {PARTIAL}
    page = html.render(report)
    assert 'class="trust bad"' in page
    rows = page.split('<table class="judged">')[1].split("</table>")[0].split("<tr>")[2:]
    assert all(PARTIAL in row for row in rows)
    assert sum(PARTIAL in line for line, _ in lines(found)) == 6


def test_a_doubtful_judge_is_marked_too():
    assert judged(["a"])["trust"]["grade"] == "doubtful"
    assert judged(["a"])["mark"] == MARK


def test_every_section_is_there_and_says_its_sentence():
    report, metrics = whole(real(), [str(n) for n in range(60)])
    page = html.render(report, metrics=metrics)
    for name in ("judge", "review", "cascade", "rounds", "training"):
        assert f'id="{name}"' in page
    for said in (
        report["cascade"]["sentence"],
        metrics["learning_curve"]["sentence"],
        "+4.0 points (+1.0 to +7.0)",
        "within 3 points of the teacher",
        "Person and judge agree on 75% of 20 pairs; Cohen&#39;s kappa 0.61 (0.30 to 0.92).",
        "60 pairs of gold answers",
    ):
        assert said in page
    assert "undefined" not in page.split("<script>")[0].lower()


@pytest.mark.parametrize(
    ("change", "split", "said"),
    [
        ({"answer": "yes"}, "gold", "Ship it."),
        ({"answer": "yes"}, "test", "Check before you ship it."),
        (
            {"answer": "yes", "teacher_beats_chance": False, "student_beats_chance": False},
            "gold",
            "Do not ship it.",
        ),
        (
            {"answer": "yes", "teacher_beats_chance": False, "student_beats_chance": True},
            "gold",
            "Ship it if its own score is enough.",
        ),
        ({"answer": "no"}, "gold", "Do not ship it."),
        (
            {"answer": "unclear", "more_rows": 1234},
            "gold",
            "Do not ship it yet.</strong> Label about 1,234 more",
        ),
        ({"answer": "unclear", "more_rows": None}, "gold", "Do not ship it yet.</strong> More rows alone"),
    ],
)
def test_it_says_whether_to_ship(change, split, said):
    report = real("orders" if split == "test" else "sentiment")["report"]
    report["verdict"] |= change
    assert f"<strong>{said}" in html.render(report).split("</h1>")[1].split("</section>")[0]


def test_a_caveat_stands_by_itself_and_no_more_in_the_reason():
    report = real("sentiment")["report"]
    caveats = ["the teacher guesses: always answering 'It is red. But it fades' says as much", "it is late"]
    report["verdict"] |= {
        "sentence": "Yes: the student can replace the teacher: it does."
        + "".join(f" But {caveat}." for caveat in caveats),
        "caveats": caveats,
        "teacher_beats_chance": False,
    }
    hero = html.render(report).split("</h1>")[1].split("</section>")[0]
    assert hero.count("it fades") == 1
    assert "The teacher guesses: always answering &#39;It is red. But it fades&#39; says as much.</p>" in hero
    assert '<p class="banner soft">It is late.</p>' in hero


def test_an_excerpt_gives_few_rows_and_little_of_each():
    long = "a secret sentence " * 20
    answers = [answer(who, str(n), long, input=long) for n in range(30) for who in ("student", "teacher")]
    rows = rows_of(html.render(real()["report"], answers=answers, excerpts=4))
    assert (len(rows["rows"]), rows["total"]) == (4, 30)
    assert all(len(row["input"]) < 100 and "more characters]" in row["input"] for row in rows["rows"])
    assert 'id="data-rows"' not in html.render(real()["report"], answers=answers, excerpts=0)


def test_commands_name_no_folder_and_no_secret():
    from distill.config import CompareConfig

    assert flags({"gold": "/home/me/secret/gold.jsonl", "max_drop": 5.0, "seed": 0}, CompareConfig) == [
        "--gold", "gold.jsonl", "--max-drop", "5.0",
    ]  # fmt: skip
    assert private("https://me:key@host:8000/v1?token=x") == "https://host:8000/v1"


def test_an_unknown_price_is_not_drawn_and_not_zero():
    systems = [{"who": "teacher", "usd_per_1000": 0.3}, {"who": "student", "usd_per_1000": None}]
    scores = {who: {"value": 0.8, "low": 0.7, "high": 0.9} for who in ("teacher", "student")}
    assert frontier(systems, scores, "usd_per_1000", "USD") is None
    systems[1]["usd_per_1000"] = 0.003
    drawn = frontier(systems, scores, "usd_per_1000", "USD")
    assert "student 80.0% at $0.0030" in drawn or "student 80.0% at $0.003" in drawn
    assert words.usd(None) == "unknown"
    assert words.usd(0) == "$0"
    assert (words.usd(0.0142), words.usd(0.0094), words.usd(1.5)) == ("$0.014", "$0.0094", "$1.50")
    assert words.percent(-0.001, 0) == "0%"


def test_what_costs_nothing_has_its_place_beside_the_log_scale():
    systems = [{"who": "teacher", "usd_per_1000": 0.0}, {"who": "student", "usd_per_1000": 0.01}]
    scores = {who: {"value": 0.8, "low": 0.7, "high": 0.9} for who in ("teacher", "student")}
    drawn = frontier(systems, scores, "usd_per_1000", "USD")
    assert "teacher 80.0% at $0; student 80.0% at $0.01" in drawn
    assert 'text-anchor="middle">$0</text>' in drawn
    place = {who: float(drawn.split(f'mark {who}"')[0].rsplit(spot, 1)[1].split('"')[0])
             for who, spot in (("teacher", '<rect x="'), ("student", '<circle cx="'))}  # fmt: skip
    assert 52 < place["teacher"] < 92 < place["student"]
    assert (
        frontier([{**each, "usd_per_1000": 0.0} for each in systems], scores, "usd_per_1000", "USD") is None
    )
    systems[0]["latency_p50_s"], systems[1]["latency_p50_s"] = 0.0, 0.1
    assert frontier(systems, scores, "latency_p50_s", "time") is None
    systems[0]["usd_per_1000"] = 0.3
    assert "$0</text>" not in frontier(systems, scores, "usd_per_1000", "USD")


def test_axes_hold_their_values_and_their_ticks():
    axis = logarithmic([0.004, 0.3], 50, 400)
    assert axis.at(0.004) < axis.at(0.03) < axis.at(0.3)
    assert axis.at(0.000001) == 50
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks())
    assert len(linear([0.5, 0.5], 0, 10).ticks()) >= 2
    assert len(logarithmic([6.2, 6.9], 0, 100, room=1.05).ticks()) >= 2
    assert Axis(0, 1, 0, 100).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert len(thinned([(step, 1.0) for step in range(100_000)])) <= 600


def test_a_full_disk_costs_the_page_and_not_the_report(tmp_path, monkeypatch):
    run = Run(tmp_path / "r")
    write_task(run.task, MOOD)
    report = real()["report"]
    run.finish("compare", report, {})
    written = html.write_html(run, report)
    assert written == run.html
    assert "Decide the mood of a note." in written.read_text()

    def full(path, chunks):
        raise jsonl.full_disk(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(jsonl, "replace_bytes", full)
    with pytest.raises(StorageError, match="disk is full"):
        html.write_html(run, report)
    assert run.summary("compare")["verdict"] == report["verdict"]


def test_a_page_is_old_where_something_it_shows_was_made_since(tmp_path):
    run = Run(tmp_path / "r")
    write_task(run.task, MOOD)
    run.finish("compare", real()["report"], {})
    assert html.page_is_old(run)
    html.write_html(run, real()["report"])
    assert not html.page_is_old(run)
    run.finish("finetune", real()["metrics"], {})
    later = run.html.stat().st_mtime_ns + 1_000_000
    os.utime(run.summary_path("finetune"), ns=(later, later))
    assert html.page_is_old(run)


def test_names_of_systems_near_each_other_do_not_cover_one_another():
    values = {
        "teacher": (0.782, 1.19),
        "student": (0.896, 0.198),
        "base": (0.784, 1.01),
        "prompted base": (0.78, 0.467),
    }
    systems = [{"who": who, "latency_p50_s": seconds} for who, (_, seconds) in values.items()]
    scores = {
        who: {"value": value, "low": value - 0.04, "high": value + 0.04} for who, (value, _) in values.items()
    }
    drawn = frontier(systems, scores, "latency_p50_s", "time")
    names = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="label" text-anchor="(\w+)">([^<]+)<', drawn)
    assert len(names) == 4
    boxes = []
    for x, y, anchor, said in names:
        left = float(x) - (7 * len(said) if anchor == "end" else 0)
        boxes.append((left, left + 7 * len(said), float(y) - 11, float(y) + 3))
    for place, (left, right, top, bottom) in enumerate(boxes):
        for others_left, others_right, others_top, others_bottom in boxes[:place]:
            assert (
                right <= others_left or others_right <= left or bottom <= others_top or others_bottom <= top
            )
