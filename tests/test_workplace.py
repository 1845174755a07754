"""What a command may not get wrong before its step starts: files, numbers, money and what is shown."""

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from distill.config import CompareConfig, SpendConfig, TeacherConfig
from distill.console import Console
from distill.errors import UsageError
from distill.making import Making
from distill.store.run import Run
from distill.types import Candidate, Message, Quiet, Request
from distill.workplace import Workplace, filled, with_teacher
from tests.conftest import MOOD
from tests.teacher.fault_server import FaultServer
from tests.test_cli import answer, distill, place

__all__ = ["place"]


def test_file_that_is_not_there_is_told_by_its_flag():
    with pytest.raises(UsageError, match=r"no such file: absent\.jsonl") as caught:
        filled(CompareConfig, {"gold": Path("absent.jsonl")})
    assert caught.value.where == "--gold"


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_what_is_no_number_is_no_bound(place, capsys, number):
    assert distill("compare", "--max-drop", number) == 2
    assert "--max-drop" in capsys.readouterr().err


def test_prices_and_endpoint_of_one_teacher_are_not_kept_for_another(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    work = Workplace(run, Console(quiet=True))
    work.record("teacher", TeacherConfig(teacher="big", base_url="http://127.0.0.1:1/v1", price_in=1.0))
    assert work.teacher_config({"teacher": "big"}).price_in == 1.0
    assert work.teacher_config({}).base_url == "http://127.0.0.1:1/v1"
    other = work.teacher_config({"teacher": "other"})
    assert (other.teacher, other.price_in, other.base_url) == ("other", None, None)


def test_text_of_a_model_reaches_the_terminal_as_text(capsys):
    hostile = "[/INST] \x1b]0;evil\x07[bold]x[/bold] <script>\nnext"
    Console().result({}, hostile)
    Console().say(hostile)
    for shown in capsys.readouterr():
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[bold]x[/bold] <script>\nnext" in shown


def test_json_is_all_that_stdout_gets(capsys):
    Console(as_json=True).result({"a": 1}, "a table")
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_more_of_a_label_than_its_share_is_surplus(run, ledgered):
    from distill.config import GenerateConfig

    teacher, _ = ledgered()
    config = GenerateConfig(n=3)
    making = Making(run, MOOD, config, teacher, Quiet())
    assert [making.quota("happy"), making.quota("sad")] == [2, 1]
    making.kept["sad"] = 1
    one = Candidate(index=0, input="a plain little note", answer="sad", asked="sad", origin="written")
    assert making._verdict(one).rule == "surplus"
    making.kept["sad"] = 0
    assert making._verdict(one).keep


def test_ctrl_c_while_the_teacher_closes_loses_no_answer_and_hides_no_error(tmp_path, monkeypatch):
    """The step has failed, a call that is paid for is under way, and somebody presses Ctrl-C."""
    failed, heard = threading.Event(), threading.Event()
    monkeypatch.setattr(Console, "say", lambda self, text: heard.set() if "stopping" in text else None)

    def answer_late(number, body):
        assert failed.wait(30)
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(30)
        return answer(number, body)

    async def work(teacher, bar):
        call = asyncio.create_task(teacher.complete(Request((Message("user", "q"),))))
        while not server.asked:
            await asyncio.sleep(0.01)
        failed.set()
        raise UsageError(f"no such thing, {call.done()}")

    run = Run.open(tmp_path, "r", create=True)
    with FaultServer(answer_late) as server:
        config = TeacherConfig(teacher="big", base_url=server.url)
        with pytest.raises(UsageError, match="no such thing, False"):
            with_teacher(Workplace(run, Console(quiet=True)), config, SpendConfig(), "generate", work)
    assert len(run.ledger("generate").read_text().splitlines()) == 1
