"""Explore: proposals, probes, the race of prompts and what is said of it."""

import asyncio
import json
from collections import Counter

import pytest
from msgspec.structs import replace

from distill.ask import prompt_names
from distill.config import ExploreConfig
from distill.deciding import stands
from distill.errors import TeacherError, UsageError
from distill.menu import MENU
from distill.probe_sets import with_examples
from distill.probing import try_prompts, write_probes
from distill.proposing import lost_file
from distill.score.distillability import Costs, by, terms
from distill.scouted import Scouted, Trial
from distill.steps.explore import by_title, explore, made_from, ranked
from distill.store import jsonl
from distill.store.taskfile import write_task
from distill.types import AnswerField, Completion, Example, Quiet, Task
from distill.views_explore import named, term_lines
from distill.worth import interval
from tests.conftest import MOOD, play, sentence

PROPOSED = {
    "tasks": [
        {"name": "Mood", "kind": "label", "instruction": "Decide the mood.", "labels": ["happy", "sad"]},
        {"name": "reply", "kind": "text", "instruction": "Answer the note.", "input_noun": "note"},
        {"name": "facts", "kind": "json", "instruction": "Take out the place.", "fields": ["place"]},
        {"name": "broken", "kind": "label", "instruction": "Decide nothing.", "labels": []},
    ]
}


def scout(request, sample):
    last = request.messages[-1].content
    if "Propose" in last:
        return json.dumps(PROPOSED)
    if last.startswith("Write a note") or last.startswith("Write a text"):
        return sentence(request.seed, "note")
    if "place" in request.messages[0].content:
        return '{"place": "home"}' if request.temperature == 0 else '{"place": "work"}'
    if "Answer the note" in request.messages[0].content:
        return "thank you for your note"
    return play(request, sample)


def go(run, teacher, brief="notes", **knobs):
    async def session():
        try:
            return await explore(run, ExploreConfig(**knobs), brief, teacher, Quiet())
        finally:
            await teacher.close()

    return asyncio.run(session())


def test_tasks_of_every_kind_are_scored_on_what_can_be_known(run, ledgered):
    teacher, _ = ledgered(scout, step="explore")
    summary = go(run, teacher, tasks=3, probes=20)
    by_name = {row["name"]: row for row in summary["tasks"]}
    assert by_name["mood"]["basis"] == "construction"
    assert by_name["mood"]["value"] == 1.0
    assert by_name["mood"]["standing"] == "~OK"
    assert not by_name["mood"]["trusted"]
    assert "of the inputs name theirs" in by_name["mood"]["reason"]
    assert by_name["reply"]["basis"] == "agreement"
    assert by_name["reply"]["value"] == 1.0
    assert by_name["facts"]["value"] == 0.0
    assert by_name["facts"]["standing"] == "poor"
    assert "broken" not in by_name
    assert [row["number"] for row in summary["tasks"]] == [1, 2, 3]
    assert summary["tasks"][-1]["name"] == "facts"


def test_own_task_alone_needs_no_brief_and_keeps_every_probe(run, ledgered, tmp_path):
    write_task(tmp_path / "t.toml", MOOD)
    teacher, script = ledgered(scout, step="explore")
    summary = go(run, teacher, brief="", task=tmp_path / "t.toml", probes=20)
    assert [row["name"] for row in summary["tasks"]] == ["mood"]
    assert not [request for request, _ in script.requests if "Propose" in request.messages[-1].content]
    probes = [record for _, record in jsonl.read(run.probes, dict)]
    for tuning in (False, True):
        of_kind = [probe["expected"] for probe in probes if probe["tuning"] is tuning]
        assert Counter(of_kind) == {"happy": 10, "sad": 10}
    assert len({probe["input"] for probe in probes}) == 40
    assert not {probe["input"] for probe in probes} & {
        text for label in MOOD.labels for text in label.examples
    }


def test_second_explore_with_more_probes_reuses_the_first(run, ledgered, tmp_path):
    write_task(tmp_path / "t.toml", MOOD)
    teacher, _ = ledgered(scout, step="explore")
    go(run, teacher, brief="", task=tmp_path / "t.toml", probes=12)
    teacher, _ = ledgered(scout, step="explore")
    go(run, teacher, brief="", task=tmp_path / "t.toml", probes=24)
    assert teacher.reused >= 12


def test_only_prompts_that_may_win_see_every_probe(ledgered):
    def cued_reads(request, sample):
        return play(request, sample) if request.messages[-1].content.startswith("Note:") else "happy"

    async def session():
        teacher, _ = ledgered(
            lambda r, s: play(r, s) if r.messages[-1].content.startswith("Write a ") else cued_reads(r, s)
        )
        probes = await write_probes(MOOD, teacher, 48, seed=1, progress=Quiet())
        trials = await try_prompts(MOOD, teacher, probes, max_tokens=8, progress=Quiet())
        await teacher.close()
        return trials

    trials = asyncio.run(session())
    assert trials[0].prompt.startswith("cued-")
    assert trials[0].right == trials[0].n == 48
    assert {trial.prompt for trial in trials} == set(prompt_names(MOOD))
    assert sum(trial.n for trial in trials) < 48 * len(trials) / 2
    assert [trial.n for trial in trials] == sorted((trial.n for trial in trials), reverse=True)


def test_teacher_that_proposes_nothing_is_asked_again_and_then_told(run, ledgered):
    teacher, script = ledgered(lambda request, sample: "I cannot help with that.", step="explore")
    with pytest.raises(TeacherError, match="proposed no task") as caught:
        go(run, teacher)
    assert len(script.requests) == 4
    assert "it refuses" in caught.value.message
    assert "--task" in caught.value.hint


def test_no_brief_and_no_task_is_an_error(run, ledgered):
    teacher, _ = ledgered(step="explore")
    with pytest.raises(UsageError, match="empty brief"):
        go(run, teacher, brief=" ")


def test_cut_answers_are_never_right(ledgered):
    def cut(request, sample):
        if request.messages[-1].content.startswith("Write a "):
            return play(request, sample)
        return Completion("happy and", finish_reason="length", cost_usd=0.0)

    async def session():
        teacher, _ = ledgered(cut)
        probes = await write_probes(MOOD, teacher, 12, seed=1, progress=Quiet())
        trials = await try_prompts(MOOD, teacher, probes, max_tokens=8, progress=Quiet())
        await teacher.close()
        return trials

    assert all(trial.right == 0 for trial in asyncio.run(session()))


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [(0.86, 0.99, "good"), (0.51, 0.8, "~OK"), (0.4, 0.7, "unclear"), (0.1, 0.49, "poor")],
)
def test_standing_needs_the_whole_interval(low, high, standing):
    trial = Trial("zero-shot", "construction", 1, 2, low, high, [], trusted=True)
    assert stands(trial, ExploreConfig()) == standing


def test_what_is_indicative_only_is_never_good():
    trial = Trial("zero-shot", "agreement", 1, 2, 0.9, 1.0, [])
    assert stands(trial, ExploreConfig()) == "~OK"


def test_ranking_goes_by_standing_then_by_what_is_sure():
    def found(name, standing, low):
        task = Task(name, "json", "Do.", fields=(AnswerField("x"),))
        return Scouted(task, standing, "", [Trial("zero-shot", "agreement", 1, 2, low, 1, [])])

    order = ranked(
        [found("a", "poor", 0.1), found("b", "~OK", 0.55), found("c", "~OK", 0.6), found("d", "good", 0.9)]
    )
    assert [entry.task.name for entry in order] == ["d", "c", "b", "a"]


def test_what_nobody_can_be_sure_of_goes_by_its_score():
    def found(name, right):
        return Scouted(
            Task(name, "text", "Do."), "unclear", "", [Trial("role", "agreement", right, 9, 0, 1, [])]
        )

    assert [entry.task.name for entry in ranked([found("a", 1), found("b", 8)])] == ["b", "a"]


def test_a_name_that_became_a_number_has_its_instruction_beside_it():
    assert named({"name": "task-a8e1be", "instruction": "判断留言的情绪。"}) == "task-a8e1be 判断留言的情绪。"
    assert named({"name": "task-check", "instruction": "Check."}) == "task-check"


def test_a_price_that_is_unknown_is_not_said_to_never_pay():
    label = interval(Trial("zero-shot", "gold", 9, 10, 0.6, 1, []))
    told = terms(MOOD, label, None, Costs()) | {"usd_a_call": None, "usd_from": "unknown"}
    assert "Break-even: unknown" in term_lines(told)
    dear = terms(MOOD, label, None, Costs(usd_a_call=1e-9)) | {"usd_a_call": 1e-9, "usd_from": "the log"}
    assert "Break-even: never" in term_lines(dear)


def test_without_a_month_the_log_itself_is_what_is_sorted_by():
    row = {"low": 0.5, "traffic": {"requests": 40, "usd": 2.0, "calls_a_month": None, "usd_a_month": None}}
    assert (by("volume", row), by("cost", row)) == (40, 2.0)
    row["traffic"] |= {"calls_a_month": 9.0}
    assert (by("volume", row), by("cost", row)) == (9.0, -1.0)


def test_bars_the_wrong_way_round_are_an_error(run, ledgered):
    with pytest.raises(UsageError, match="above that of good"):
        go(run, ledgered(scout)[0], ok=0.9, good=0.8)


def test_of_prompts_with_one_title_the_best_is_told():
    trials = [
        Trial("cued-2", "gold", right, 10, 0, 1, [], shots=(Example("x", str(right)),)) for right in (9, 4)
    ]
    assert by_title(trials) == {"cued-2, chosen shots": 0.9}


@pytest.mark.parametrize("brief", ["notes.md", "docs/about.txt", "./"])
def test_a_file_that_is_not_there_is_no_brief(run, ledgered, brief):
    teacher, _ = ledgered(scout)
    with pytest.raises(UsageError, match="no such file"):
        go(run, teacher, brief)
    assert not lost_file("Answer mails, e.g. from notes.md")
    assert not lost_file("Bankberatung")


def test_a_refusal_is_no_input_and_no_example(ledgered):
    def refusing(request, sample):
        return (
            "I'm sorry, but I cannot help with that." if request.seed % 2 else sentence(request.seed, "note")
        )

    async def session():
        teacher, _ = ledgered(refusing)
        bare = replace(
            MOOD, labels=tuple(replace(label, examples=()) for label in MOOD.labels), attributes={}
        )
        probes = await write_probes(bare, teacher, 20, seed=0, progress=Quiet())
        filled = await with_examples(bare, teacher, 0, Quiet())
        await teacher.close()
        return [probe.input for probe in probes] + [
            text for label in filled.labels for text in label.examples
        ]

    texts = asyncio.run(session())
    assert texts
    assert not any("cannot" in text for text in texts)


def test_menu_names_are_unique_and_made_from_names_the_brief():
    assert len({spec.name for spec in MENU}) == len(MENU)
    assert made_from(ExploreConfig(), "b", "local")["brief"] == "b"
