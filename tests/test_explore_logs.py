"""`distill explore --from-logs` over HTTP: the table, one task looked at, the page, and what is picked."""

import json
import re

import pytest

from distill.cli import Context, main
from distill.store import jsonl
from distill.store.run import Run
from distill.workflow import with_picked_logs
from tests.conftest import play
from tests.teacher.fault_server import FaultServer, chat
from tests.traffic.test_clusters import labelled, line
from tests.traffic.test_templates import sentences

pytestmark = pytest.mark.slow
SECRET_OF_A_FAULT = "vanopika"
SECRET = "tapasovi"  # a word of the log's inputs, on purpose in no template


def answer(number, body):
    said = body["messages"][-1]["content"]
    if "Answers it got look like this" in said:
        name = "Mood of notes" if "happy or sad" in said else "Poems"
        return chat(json.dumps({"name": name, "description": "A note goes in, its mood comes out."}))
    if said.startswith("Write a "):
        from distill.types import Message, Request

        return chat(
            play(Request(tuple(Message(**turn) for turn in body["messages"]), seed=body.get("seed", 0)), 0)
        )
    found = re.search(r"(\d+)(?!.*\d)", said, re.S)
    return chat("happy" if found and int(found.group(1)) % 2 == 0 else "sad")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    lines = labelled(90, model="gpt-4o-mini")
    lines = [{**each, "response": {**each["response"], "created": 1_790_000_000 + 40_000 * place}}
             for place, each in enumerate(lines)]  # fmt: skip
    lines[3]["request"]["messages"][0]["content"] = f"Is this note happy or sad?\nNote: {SECRET} 3\nMood:"
    poems = [
        line(f"Make a short poem about this, please: {text}", text, day=3) for text in sentences(40, seed=5)
    ]
    rows = [json.dumps(each) for each in [*lines, *poems]] + ["{broken", json.dumps(line("hm?", "?", day=4))]
    failed = line("hm?", "", day=4) | {"error": {"message": f"refused: {SECRET_OF_A_FAULT}"}}
    rows.append(json.dumps(failed))
    (tmp_path / "log.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def explore_log(*, tasks):
    few = ("--calls", 120, "--probes", 20, "--improve", 0)
    return ("explore", "--from-logs", "log.jsonl", "--tasks", tasks, *few)


def distill(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_from_a_log_to_a_picked_task(place, capsys):
    with FaultServer(answer) as server:
        explore = explore_log(tasks=2)
        remote = ("--teacher", "big", "--base-url", server.url, "--no-student")
        assert distill(*explore, *remote) == 0
        shown = capsys.readouterr()
        assert "131 requests in log.jsonl: 2 templates hold 99% of them, 1 are one-offs" in shown.out
        assert "Skipped 1 line: not a line of JSON (line 131)" in shown.out
        assert re.search(
            r"^ 1   \S+ +\S+ +\d+% \(\d+-\d+\) ", shown.out, re.M
        )  # 80 columns hold every column
        assert "mood-of-notes" in shown.out
        assert "1/2 " in shown.err  # the table grows while tasks are scouted
        asked = len(server.asked)
        assert distill(*explore, *remote) == 0
        assert len(server.asked) == asked
        # More probes: what was asked before is not asked again.
        assert distill(*[30 if each == 20 else each for each in explore], *remote) == 0
        assert 0 < len(server.asked) - asked < asked
    capsys.readouterr()
    assert distill("--json", "explore", "--show", "mood-of-notes") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["traffic"]["requests"] == 90
    assert told["traffic"]["description"].startswith("A note goes in")
    assert "agreement with it, not truth" in told["trust"]
    assert {probe["verdict"] for probe in told["probes"]} <= {"right", "wrong", "no answer"}
    assert any(prompt["prompt"].startswith("yours") for prompt in told["prompts"])
    assert distill("pick", "mood-of-notes") == 0
    out = capsys.readouterr().out
    assert "--from-logs" in out
    run = Run.open(place / "runs", None)
    assert len(list(jsonl.read(run.picked_requests, dict))) == 90


def test_the_picked_requests_become_pairs(place, capsys):
    with FaultServer(answer) as server:
        explore = explore_log(tasks=1)
        assert distill(*explore, "--teacher", "big", "--base-url", server.url, "--no-student") == 0
        assert distill("pick", "1") == 0
        picked = re.search(r"--from-logs (\S+)", capsys.readouterr().out).group(1)
        assert distill("generate", "--n", 20, "--from-logs", picked, "--language", "off") == 0
    run = Run.open(place / "runs", None)
    pairs = [record for _, record in jsonl.read(run.pairs, dict)]
    assert len(pairs) == 20
    asked = [pair["messages"][-1]["content"] for pair in pairs]
    assert all(any(text in turn for text in [*sentences(90), SECRET]) for turn in asked)
    # `distill run --from-logs` hands generate the requests of the task that it picked, never the whole log.
    context = Context(None, place / "runs", as_json=False, quiet=True, debug=False)
    assert with_picked_logs(context, {"from_logs": "log.jsonl"})["from_logs"] == run.picked_requests
    assert with_picked_logs(context, {"n": 3}) == {"n": 3, "from_logs": None}
    assert distill("pick", "--task", str(run.task)) == 0


def test_calls_for_no_search_still_measure_the_users_own_prompt(place, capsys):
    with FaultServer(answer) as server:
        explore = (
            "--json",
            "explore",
            "--from-logs",
            "log.jsonl",
            "--tasks",
            1,
            "--calls",
            50,
            "--probes",
            40,
        )
        assert distill(*explore, "--teacher", "big", "--base-url", server.url, "--no-student") == 0
    (row,) = json.loads(capsys.readouterr().out)["tasks"]
    assert row["prompt"].startswith("yours")
    assert row["n"] >= 20


def files_shown(run):
    return [run.explored_html.read_text(), run.summary_path("explore").read_text()]


def test_no_excerpts_keeps_inputs_out_of_terminal_json_and_page(place, capsys):
    with FaultServer(answer) as server:
        explore = explore_log(tasks=2)
        remote = ("--teacher", "big", "--base-url", server.url, "--no-student")
        assert distill(*explore, *remote, "--no-excerpts") == 0
    run = Run.open(place / "runs", None)
    pages = files_shown(run)
    assert distill("explore", "--show", "mood-of-notes", "--no-excerpts") == 0
    assert distill("--json", "explore", "--show", "mood-of-notes", "--no-excerpts") == 0
    shown = capsys.readouterr()
    for text in [*pages, shown.out, shown.err]:
        for words in sentences(90):
            assert words not in text
    assert "Skipped 1 line: the call failed (line 133)" in shown.out
    assert SECRET_OF_A_FAULT not in shown.out + pages[0]
    assert distill("explore", "--show", "mood-of-notes") == 0
    assert any(words in capsys.readouterr().out for words in sentences(90))


def test_a_log_of_no_known_shape_is_named(place, capsys):
    (place / "other.jsonl").write_text('{"a": 1, "b": 2}\n')
    assert (
        distill(
            "explore", "--from-logs", "other.jsonl", "--teacher", "big", "--base-url", "http://127.0.0.1:9/v1"
        )
        == 2
    )
    assert "the keys here are 'a', 'b'" in capsys.readouterr().err
