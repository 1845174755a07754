"""The command line as a user meets it, against an endpoint over HTTP: results, errors, exit codes, keys."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.cli import guarded, main
from distill.store.run import Run
from distill.types import Message, Request
from tests.conftest import MOOD, play, sentence
from tests.teacher.batch_server import BatchServer, completion
from tests.teacher.fault_server import FaultServer, chat, error

pytestmark = pytest.mark.slow  # together they take seconds

AT_ONCE = 8
KILLS = 50
KEY = "sk-sentinel-0123456789abcdef"
TASK = """name = "mood"
kind = "label"
instruction = "Decide the mood of a note."
input_noun = "note"
prompt = {name = "few-shot-1", score = 1.0, low = 0.9, high = 1.0, n = 40}
labels = [
  {name = "happy", description = "glad", examples = ["what a joyful morning", "we laughed all evening"]},
  {name = "sad", description = "unhappy", examples = ["nobody came and it rained", "she missed him more"]},
]
"""


def answer(number, body):
    messages = tuple(Message(entry["role"], entry["content"]) for entry in body["messages"])
    if "Propose" in messages[-1].content:
        entry = {
            "name": "Mood Check",
            "kind": "label",
            "instruction": "Decide the mood.",
            "labels": ["happy", "sad"],
        }
        other = {"name": "reply", "kind": "text", "instruction": "Answer the note.", "input_noun": "note"}
        return chat(json.dumps({"tasks": [entry, other]}))
    return chat(play(Request(messages, seed=body.get("seed", 0)), 0))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "task.toml").write_text(TASK)
    return tmp_path


def distill(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def files_hold(folder, text):
    return [path for path in Path(folder).rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_explore_pick_generate_status_over_http(place, capsys):
    with FaultServer(answer) as server:
        remote = ("--teacher", "big", "--base-url", server.url)
        assert (
            distill(
                "--run", "a", "explore", "notes", "--task", "task.toml", "--tasks", 2, "--probes", 12, *remote
            )
            == 0
        )
        shown = capsys.readouterr()
        assert "mood" in shown.out
        assert "reply" in shown.out
        assert "distill pick 1 (or a name)" in shown.out
        assert "Next" not in shown.err
        assert distill("pick", "mood") == 0
        # The teacher is remembered: the flags are not needed again.
        assert distill("generate", "--n", 20) == 0
        shown = capsys.readouterr()
        assert re.search(r"20 kept of \d+", shown.out)
        asked = len(server.asked)
        assert distill("generate", "--n", 20) == 0
        assert "is done and nothing changed" in capsys.readouterr().err
        assert len(server.asked) == asked
        assert distill("--json", "status") == 0
        standing = json.loads(capsys.readouterr().out)
        assert [entry["state"] for entry in standing["steps"]] == ["done", "done", "not done", "not done"]
        assert standing["next"] == "distill finetune"
        assert distill("generate", "--n", 30) == 0
        assert "stale (n changed)" in capsys.readouterr().err
    assert not files_hold(place, KEY)


@pytest.mark.slow
def test_what_makes_generate_stale_is_what_is_asked(place, capsys):
    """Own prompts, or a run of a distill that had fewer templates: done, until the words are others."""
    (place / "mine").mkdir()
    (place / "mine" / "answer.txt").write_text("### system\nMINE $instruction $format\n### user\n$input\n")
    with FaultServer(answer) as server:
        remote = ("--teacher", "big", "--base-url", server.url, "--prompts", "mine")
        assert distill("pick", "--task", "task.toml") == 0
        assert distill("generate", "--n", 10, *remote) == 0
        asked = len(server.asked)
        path = Run(place / "runs" / "first").summary_path("generate")
        receipt = json.loads(path.read_text())
        for name in ("format-label", "format-json", "written-for"):
            del receipt["made_from"][f"prompts/{name}"]
        path.write_text(json.dumps(receipt))
        capsys.readouterr()
        assert distill("generate", "--n", 10) == 0
        assert "is done and nothing changed" in capsys.readouterr().err
        (place / "mine" / "format-label.txt").write_text("One of: $labels.")
        assert distill("generate", "--n", 10) == 0
        assert "stale (prompts/format-label changed)" in capsys.readouterr().err
    assert len(server.asked) > asked


def test_json_is_one_object_on_stdout(place, capsys):
    with FaultServer(answer) as server:
        assert distill("--json", "pick", "--task", "task.toml") == 0
        assert json.loads(capsys.readouterr().out)["task"] == "mood"
        assert distill("--json", "generate", "--n", 12, "--teacher", "big", "--base-url", server.url) == 0
        receipt = json.loads(capsys.readouterr().out)
    assert receipt["accepted"] == 12
    assert receipt["cost_usd"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--run", "../../x", "status"], 2, "cannot be a run name"),
        (["status"], 2, "there is no run yet"),
        (["--run", "nope", "generate"], 2, "there is no run 'nope'"),
        (["explore"], 2, "empty brief"),
        (["explore", "  "], 2, "empty brief"),
        (["pick"], 2, "there is no run yet"),
        (["pick", "--task", "absent.toml"], 2, "no such task file"),
        (["generate", "--n", "0"], 2, "--n"),
        (["generate", "--samples", "x"], 2, "--samples"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_words_are_told_with_their_place_and_leave_no_traceback(place, capsys, arguments, code, says):
    assert distill(*arguments) == code
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert not (place.parent / "x").exists()


@pytest.mark.slow
def test_absent_endpoint_refused_key_and_absent_key_are_told_apart(place, capsys, monkeypatch):
    assert distill("pick", "--task", "task.toml") == 0
    capsys.readouterr()
    assert distill("generate", "--n", 5, "--teacher", "big", "--base-url", "http://127.0.0.1:9/v1") == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
    with FaultServer(lambda *_: error(401, f"Incorrect API key provided: {KEY}")) as server:
        assert distill("generate", "--n", 5, "--teacher", "big", "--base-url", server.url) == 4
    shown = capsys.readouterr().err
    assert "OPENAI_API_KEY" in shown
    assert KEY not in shown
    monkeypatch.delenv("OPENAI_API_KEY")
    assert distill("generate", "--n", 5, "--teacher", "big", "--base-url", "https://api.openai.com/v1") == 4
    assert "--teacher local" in capsys.readouterr().err
    assert not files_hold(place, KEY)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b'{"input": "a b c"}\n{"input": "x', "not a line of JSON"),
        (b'{"input": "caf\xe9"}\n', "UTF-8"),
        (b'{"other": 1}\n', "no input"),
        (b'{"input": "' + b"x" * (100 * 2**20) + b'"}\n', "over 16 MiB"),
    ],
    ids=["empty", "half JSON", "latin-1", "no input", "100 MB line"],
)
def test_bad_inputs_name_file_and_line_before_anything_is_bought(place, capsys, content, says):
    (place / "in.jsonl").write_bytes(content)
    assert distill("pick", "--task", "task.toml") == 0
    with FaultServer(answer) as server:
        remote = ("--teacher", "big", "--base-url", server.url)
        assert distill("generate", "--n", 5, "--inputs", "in.jsonl", *remote) == 2
        assert not server.asked
    shown = capsys.readouterr().err
    assert says in shown
    assert "in.jsonl" in shown
    assert "Traceback" not in shown


def test_absent_inputs_file_is_told(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    assert distill("generate", "--inputs", "absent.jsonl") == 2
    assert "absent.jsonl" in capsys.readouterr().err


def test_pick_says_what_there_is(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    assert distill("pick", "3") == 2
    assert "nothing is explored yet" in capsys.readouterr().err


def test_hostile_model_text_is_shown_as_text(place, capsys):
    def hostile(number, body):
        if "Propose" in body["messages"][-1]["content"]:
            entry = {
                "name": "x",
                "kind": "text",
                "instruction": "[red]Do[/red] \x1b[31m<script>",
                "input_noun": "n",
            }
            return chat(json.dumps({"tasks": [entry]}))
        return chat("[/INST] \x1b]0;evil\x07<script>alert(1)</script> [bold]x[/bold]")

    with FaultServer(hostile) as server:
        remote = ("--teacher", "big", "--base-url", server.url)
        assert distill("explore", "[b]brief[/b]", "--tasks", 1, "--probes", 4, *remote) == 0
    shown = capsys.readouterr()
    assert "\x1b]0" not in shown.out + shown.err


def test_locked_run_is_exit_6(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    with Run.open(place / "runs", None).locked():
        code = (
            "import sys; from distill.cli import main\n"
            "main(['generate', '--teacher', 'big', '--base-url', 'http://127.0.0.1:9/v1'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "another distill process" in done.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_paid_for_and_says_how_to_go_on(place):
    def slow(number, body):
        time.sleep(0.02)
        return answer(number, body)

    with FaultServer(slow) as server:
        command = [sys.executable, "-m", "distill.cli"]
        subprocess.run([*command, "pick", "--task", "task.toml"], check=True, capture_output=True)
        remote = ["--teacher", "big", "--base-url", server.url]
        going = subprocess.Popen(
            [*command, "generate", "--n", "400", *remote], stderr=subprocess.PIPE, text=True
        )
        while sum(server.answered.values()) < 40:
            time.sleep(0.02)
        going.send_signal(signal.SIGINT)
        _, told = going.communicate(timeout=30)
        assert going.returncode == 130
        assert f"hint: go on with: distill generate --n 400 --teacher big --base-url {server.url}" in told
        assert "Traceback" not in told
        answered = sum(server.answered.values())
        ledger = Run.open(place / "runs", None).ledger("generate").read_text().splitlines()
        assert len(ledger) == answered
        assert all(json.loads(line)["response"]["text"] for line in ledger)
        done = subprocess.run(
            [*command, "generate", "--n", "60", *remote], capture_output=True, text=True, check=True
        )
        assert re.search(r"60 kept of", done.stdout)
        ledger = Run.open(place / "runs", None).ledger("generate").read_text().splitlines()
        keys = [json.loads(line)["key"] for line in ledger]
        assert len(keys) == len(set(keys)) == sum(server.answered.values())


@pytest.mark.slow
def test_fifty_kills_at_random_moments_buy_nothing_twice_and_end_with_n(place):
    rng = random.Random(7)

    def late(number, body):
        time.sleep(rng.uniform(0.01, 0.06))
        return answer(number, body)

    def recorded():
        ledger = Run.open(place / "runs", None).ledger("generate")
        whole = [line for line in ledger.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [json.loads(line)["key"] for line in whole]

    with FaultServer(late) as server:
        command = [sys.executable, "-m", "distill.cli"]
        subprocess.run([*command, "pick", "--task", "task.toml"], check=True, capture_output=True)
        remote = ["--teacher", "big", "--base-url", server.url, "--max-concurrency", str(AT_ONCE)]
        generate = [*command, "-q", "generate", "--n", "1500", *remote]
        for _ in range(KILLS):
            before = len(server.asked)
            going = subprocess.Popen(generate, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            while len(server.asked) == before and going.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.2))
            going.kill()
            going.wait()
        kept = recorded()
        assert kept
        assert len(server.asked) - len(kept) <= KILLS * AT_ONCE
        assert not Run.open(place / "runs", None).summary("generate")
        subprocess.run(generate, check=True, capture_output=True)
        keys = recorded()
    # What was sent and is not on disk was in flight at one of the kills; nothing on disk was sent again.
    assert len(keys) == len(set(keys)) > len(kept)
    assert len(server.asked) - len(keys) <= KILLS * AT_ONCE
    run = Run.open(place / "runs", None)
    assert len(run.pairs.read_bytes().splitlines()) == 1500
    assert run.summary("generate")["accepted"] == 1500


@pytest.mark.slow
def test_batch_flag_buys_the_same_pairs_at_half_price(place):
    def line(body, number):
        return 200, completion(body, text=answer(0, body).body["choices"][0]["message"]["content"])

    moods = [sentence(n, "happy" if n % 2 else "sad") for n in range(40)]
    (place / "in.jsonl").write_text("".join(json.dumps({"input": text}) + "\n" for text in moods))
    with BatchServer(line=line) as server:
        remote = ["--teacher", "big", "--base-url", server.url, "--price-in", "1", "--price-out", "10"]
        assert distill("pick", "--task", "task.toml") == 0
        flags = ["generate", "--n", 40, "--inputs", "in.jsonl", "--samples", 1, "--batch", "--lift-rows", 0]
        assert distill(*flags, *remote) == 0
        assert sum(server.billed.values()) >= 39
        assert sum(server.billed.values()) + sum(server.live.values()) == 40
        assert distill(*flags, *remote) == 0
        assert sum(server.billed.values()) + sum(server.live.values()) == 40
    run = Run.open(place / "runs", None)
    calls = [json.loads(line) for line in run.ledger("generate").read_text().splitlines()]
    full = (1000 * 1 + 100 * 10) / 1e6
    assert sorted({round(call["cost_usd"], 6) for call in calls}) in ([full / 2], [full / 2, full])
    assert run.summary("generate")["accepted"] == 40
    assert not files_hold(place / "runs", KEY)


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/bin/mount").exists(), reason="mounting a small tmpfs needs root"
)
def test_full_disk_is_told_and_the_ledger_stays_whole(place, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with FaultServer(answer) as server:
            command = [sys.executable, "-m", "distill.cli", "--runs-dir", str(small / "runs")]
            subprocess.run([*command, "pick", "--task", "task.toml"], check=True, capture_output=True)
            remote = ["--teacher", "big", "--base-url", server.url]
            done = subprocess.run(
                [*command, "generate", "--n", "200", *remote], capture_output=True, text=True, check=False
            )
        assert done.returncode == 1
        assert "the disk is full" in done.stderr
        assert "Traceback" not in done.stderr
        lines = Run(small / "runs" / "first").ledger("generate").read_bytes()
        assert lines.endswith(b"\n")
        assert all(json.loads(line) for line in lines.splitlines())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_internal_errors_have_no_traceback_without_debug(capsys):
    def broken():
        raise RuntimeError("boom")

    assert guarded(broken, []) == 1
    assert "boom" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        guarded(broken, ["--debug"])


def test_mood_task_is_the_one_in_the_fixtures():
    assert MOOD.label_names == ("happy", "sad")
