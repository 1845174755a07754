"""Explore as a user meets it: money that ends, own prompts, gold rows, a teacher that is no help."""

import json

import pytest

from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from tests.teacher.fault_server import FaultServer, chat
from tests.test_cli import answer, distill, files_hold, place

pytestmark = pytest.mark.slow  # over HTTP, through the command line
__all__ = ["place"]  # the fixture
BARE = """name = "mood"
kind = "label"
instruction = "Decide the mood of a note."
input_noun = "note"
labels = [{name = "happy"}, {name = "sad"}]
"""


def remote(server):
    return "--teacher", "big", "--base-url", server.url, "--no-student"


def explored(place):
    return [record for _, record in jsonl.read(Run(place / "runs" / "first").tasks, dict)]


def test_when_the_money_ends_the_table_is_shown_and_a_second_run_goes_on(place, capsys):
    (place / "task.toml").write_text(BARE)
    with FaultServer(answer) as server:
        prices = ("--price-in", 1000, "--price-out", 1000)
        words = ("explore", "--task", "task.toml", *remote(server), *prices)
        assert distill(*words, "--budget", 1) == 5
        shown = capsys.readouterr()
        assert "mood" in shown.out
        assert "unclear" in shown.out
        assert "--budget" in shown.err
        assert "Traceback" not in shown.err
        assert explored(place)[0]["unfinished"]
        bought = len(server.asked)
        assert distill(*words, "--budget", 500) == 0
        assert explored(place)[0]["unfinished"] == ""
        assert len(server.asked) > bought > 20
    calls = [record["key"] for _, record in jsonl.read(Run(place / "runs" / "first").ledger("explore"), dict)]
    assert len(set(calls)) == len(calls) == len(server.asked)


def test_tasks_that_the_money_did_not_reach_are_listed_and_can_be_picked(place, capsys):
    with FaultServer(answer) as server:
        prices = ("--price-in", 1000, "--price-out", 1000, "--budget", 4)
        assert distill("explore", "notes", "--tasks", 2, *remote(server), *prices) == 5
    assert "reply: the money ended before it was tried" in capsys.readouterr().out
    assert {task["task"]["name"] for task in explored(place)} == {"mood-check", "reply"}
    assert distill("pick", "reply") == 0


def test_the_prompt_that_won_is_the_one_of_the_picked_task(place, capsys):
    (place / "task.toml").write_text(BARE)
    with FaultServer(answer) as server:
        assert distill("explore", "--task", "task.toml", *remote(server)) == 0
        assert distill("pick", "--task", "task.toml") == 0
    task = read_task(place / "runs" / "first" / "task.toml")
    assert task.prompt is not None
    assert task.prompt.n >= 16
    assert all(label.examples for label in task.labels)


def test_a_free_task_that_gold_gave_its_examples_is_still_the_users_task(place, capsys):
    (place / "task.toml").write_text('name = "topic"\nkind = "text"\ninstruction = "Name the topic."\n')
    rows = [{"input": f"note {n}", "output": f"topic {n}"} for n in range(60)]
    (place / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FaultServer(lambda number, body: chat("topic 1")) as server:
        gold = ("--task", "task.toml", "--gold", "gold.jsonl")
        assert distill("explore", *gold, *remote(server)) == 0
        assert distill("pick", "--task", "task.toml") == 0
    task = read_task(place / "runs" / "first" / "task.toml")
    assert task.prompt is not None
    assert len(task.examples) == 3


def test_a_bad_hole_in_an_own_prompt_is_named_before_anything_is_asked(place, capsys):
    (place / "mine").mkdir()
    (place / "mine" / "answer.txt").write_text("### user\n$inptu\n")
    with FaultServer(answer) as server:
        assert distill("explore", "notes", "--prompts", "mine", *remote(server)) == 2
        assert not server.asked
    told = capsys.readouterr().err
    assert "mine/answer.txt" in told
    assert "$inptu" in told


def test_own_prompts_are_used_and_remembered(place, capsys):
    (place / "task.toml").write_text(BARE)
    (place / "mine").mkdir()
    (place / "mine" / "answer.txt").write_text("### system\nMINE $instruction\n### user\n$input\n")
    with FaultServer(answer) as server:
        assert distill("explore", "--task", "task.toml", "--prompts", "mine", *remote(server)) == 0
        assert distill("explore", "--task", "task.toml", "--no-student") == 0
        assert "nothing changed" in capsys.readouterr().err
        (place / "mine" / "answer.txt").write_text("### system\nMINE TOO $instruction\n### user\n$input\n")
        assert distill("explore", "--task", "task.toml", "--no-student") == 0
        assert "prompts changed" in capsys.readouterr().err
    assert files_hold(place / "runs", "MINE TOO Decide the mood")


def test_gold_rows_need_their_task(place, capsys):
    (place / "gold.jsonl").write_text('{"input": "x", "output": "happy"}\n')
    with FaultServer(answer) as server:
        assert distill("explore", "notes", "--gold", "gold.jsonl", *remote(server)) == 2
    assert "labelled rows need their task" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["I cannot help with that.", "Moods are a nice thing to look at.", ""])
def test_a_teacher_that_is_no_help_is_told_in_words(place, capsys, said):
    with FaultServer(lambda number, body: chat(said)) as server:
        assert distill("explore", "notes", *remote(server)) == 1
    told = capsys.readouterr().err
    assert "proposed no task that could be read" in told
    assert "Traceback" not in told
