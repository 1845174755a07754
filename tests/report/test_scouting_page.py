"""The page of explore: escaped, offline, honest about what is not known; and a task looked at."""

import re
from html import unescape

import msgspec
import pytest

from distill.report.scouting import HIDDEN, look
from distill.report.scouting_map import scouting_map
from distill.report.scouting_page import render
from distill.scouted import Probe, Scouted, Trial
from distill.steps.explore import summarised
from distill.teacher.prices import Prices
from distill.types import Example, Task
from distill.worth import with_terms
from tests.conftest import MOOD

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def scouted(name="mood", *, base=True, traffic=None, answers=("happy", "sad", None)):
    probes = [Probe(f"{EVIL} {place}", "happy") for place in range(3)]
    best = Trial(
        "zero-shot", "construction", 1, 3, 0.1, 0.8, list(answers), [True, False, False], trusted=True
    )
    other = Trial("role", "construction", 1, 3, 0.1, 0.8, ["sad", "sad", "sad"], [False] * 3)
    tuning = Trial("cued-1", "construction", 2, 2, 0.2, 1, ["happy"] * 2, [True] * 2, tuning=True)
    student = Trial("student", "construction", 0, 3, 0, 0.6, ["sad"] * 3, [False] * 3)
    task = Task(name, MOOD.kind, MOOD.instruction, labels=MOOD.labels)
    found = Scouted(
        task,
        "unclear",
        EVIL,
        [best, other, tuning],
        reason=EVIL,
        probes=probes,
        base=student if base else None,
        traffic=traffic,
    )
    return with_terms(found, Prices(1, 2), None)


def page(*tasks, excerpts=True, **more):
    summary = {**summarised("b", list(tasks)), "notes": [EVIL], "logs": None, **more}
    looks = [look(found, excerpts=excerpts) for found in tasks]
    return render(summary, looks, run=EVIL, sort="score", excerpts=excerpts)


def test_nothing_from_outside_is_markup_and_nothing_is_loaded():
    traffic = {"description": EVIL, "prompt": [{"role": "user", "content": EVIL}], "usd": 3.0, "requests": 9}
    html = page(scouted(traffic=traffic))
    assert "<img" not in html
    assert html.count("<script>") == 1
    assert "alert(1)" in html  # as text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert "default-src 'none'" in unescape(html)


def test_probes_show_who_was_right_and_where_prompts_disagree():
    told = look(scouted(), excerpts=True)
    assert [(row["verdict"], row["disagreeing"]) for row in told["probes"]] == [
        ("wrong", False),
        ("no answer", False),
        ("right", True),
    ]
    assert told["probes"][0]["student"] == "sad"
    # A prompt that was only tried on tuning probes has no say on these.
    assert all(len(row["others"]) == 1 for row in told["probes"])


def test_without_excerpts_there_are_labels_and_no_words():
    html = page(scouted(), excerpts=False)
    assert HIDDEN in html
    assert "alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt; 1" not in html
    assert "alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt; 1" in page(scouted())


def test_the_best_prompt_is_shown_as_it_is_sent_and_tuning_has_no_interval():
    own = msgspec.structs.replace
    found = scouted()
    best = own(found.trials[0], instruction="Read it well.", shots=(Example("a cosy note", "happy"),))
    found = own(found, trials=[best, *found.trials[1:]])
    html = page(found)
    assert "[system] Read it well." in html
    assert "a cosy note" in html
    assert "{input}" in html
    assert html.count('class="quiet">tuning<') == sum(trial.tuning for trial in found.trials) == 1
    hidden = page(found, excerpts=False)
    assert "Read it well." not in hidden
    assert "a cosy note" not in hidden
    assert "{input}" in hidden


def test_a_student_that_was_not_asked_stands_apart_and_unknown_is_a_dash():
    found = scouted(base=False)
    html = page(found)
    assert "not asked" in html
    assert "<td>–</td>" in html
    assert "not asked" not in page(scouted())


def test_tasks_in_one_place_are_all_seen():
    rows = summarised("", [scouted("one"), scouted("two"), scouted("three")])["tasks"]
    places = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', str(scouting_map(rows)))
    assert len(set(places)) == 3


@pytest.mark.parametrize("usd", [(1.0, 100.0), (100.0, 1.0)])
def test_what_costs_more_is_larger(usd):
    rows = summarised("", [scouted("a"), scouted("b")])["tasks"]
    priced = [{**row, "traffic": {"usd_a_month": cost}} for row, cost in zip(rows, usd, strict=True)]
    sizes = [float(size) for size in re.findall(r' r="([\d.]+)"', str(scouting_map(priced)))]
    assert sizes == [30.0, 10.0]  # the larger one is drawn first, so that it hides nothing


def test_a_run_without_any_task_has_a_page():
    assert "none found" in page()
