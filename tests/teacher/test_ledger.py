import asyncio
import contextlib
import errno
import os
from itertools import count
from time import process_time

import msgspec
import pytest
from fault_server import FaultServer, chat, error
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import CredentialsError, DataError, Interrupted, StorageError, TeacherError, UsageError
from distill.teacher.flow import ordered
from distill.teacher.ledger import Ledger, call_key, spent
from distill.teacher.ledgered import Ledgered
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.pool import Pool
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Completion, Message, Request

pytestmark = pytest.mark.slow  # together they take seconds

ASK = Request((Message("user", "hi"),))
FULL = Completion("yes", "stop", "big-2026", 10, 2, 0.5, 0.25, {"content": []})


def asking(text, **how):
    return Request((Message("user", text),), **how)


class Gate:
    """A teacher that answers once `open` is set."""

    model = identity = "gate"

    def __init__(self, fault=None):
        self.open, self.asked, self.fault = asyncio.Event(), 0, fault

    async def complete(self, request, sample=0):
        self.asked += 1
        await self.open.wait()
        if self.fault:
            raise self.fault
        return Completion(request.messages[-1].content, cost_usd=0.25, prompt_tokens=3, completion_tokens=1)

    async def close(self):
        pass


def test_what_was_put_is_got_by_the_next_process(tmp_path):
    path = tmp_path / "step" / "calls.jsonl"
    ledger = Ledger(path)
    ledger.put("k", 2, "big @ url", ASK, FULL)
    ledger.close()
    line = msgspec.json.decode(path.read_bytes())
    assert {*line} >= {
        "key",
        "sample",
        "request",
        "response",
        "usage",
        "cost_usd",
        "latency_s",
        "model",
        "at",
    }
    again = Ledger(path)
    assert again.get("k") == FULL
    assert again.get("other") is None
    assert (again.calls, again.cost_usd) == (1, 0.5)
    again.close()


def test_other_steps_ledgers_are_read_but_never_written_nor_counted(tmp_path):
    other = Ledger(tmp_path / "1.jsonl")
    other.put("k", 0, "t", ASK, FULL)
    other.close()
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    whole = (tmp_path / "1.jsonl").read_bytes().split(b'{"key": "torn')[0]
    mine = tmp_path / "2.jsonl"
    ledger = Ledger(mine, [tmp_path / "1.jsonl", mine, tmp_path / "none.jsonl"])
    assert ledger.get("k") == FULL
    assert (ledger.calls, ledger.cost_usd) == (0, 0.0)
    ledger.close()
    assert (tmp_path / "1.jsonl").read_bytes() == whole
    assert mine.read_bytes() == b""


def test_an_unknown_price_makes_the_sum_unknown(tmp_path):
    ledger = Ledger(tmp_path / "c.jsonl")
    ledger.put("a", 0, "t", ASK, FULL)
    ledger.put("b", 0, "t", ASK, Completion("x"))
    assert ledger.cost_usd is None
    ledger.close()


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"key": "half\n{}\n')
    with pytest.raises(DataError) as caught:
        Ledger(path)
    assert caught.value.where == f"{path}:1"


def test_what_was_spent_is_read_without_touching_the_file(tmp_path):
    path = tmp_path / "c.jsonl"
    assert spent(path) == (0, 0.0)
    assert not path.exists()
    ledger = Ledger(path)
    for key in "ab":
        ledger.put(key, 0, "t", ASK, FULL)
    assert spent(path) == (ledger.calls, ledger.cost_usd) == (2, 1.0)
    ledger.put("c", 0, "t", ASK, Completion("x"))
    assert spent(path) == (3, None)
    ledger.close()
    with path.open("ab") as file:
        file.write(b'{"key": "torn \xe4')
    torn = path.read_bytes()
    assert spent(path) == (3, None)
    assert path.read_bytes() == torn


def test_spent_over_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"cost_usd": 1}\n{"key": "half\n{"cost_usd": 1}\n')
    with pytest.raises(DataError) as caught:
        spent(path)
    assert caught.value.where == f"{path}:2"


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=5), part=st.floats(0, 1))
def test_any_truncation_repairs_to_a_prefix(tmp_path_factory, texts, part):
    path = tmp_path_factory.mktemp("ledger") / "c.jsonl"
    ledger = Ledger(path)
    for index, text in enumerate(texts):
        ledger.put(str(index), 0, "t", ASK, Completion(text, model="m"))
    ledger.close()
    whole = path.read_bytes()
    end = round(part * len(whole))
    os.truncate(path, end)
    again = Ledger(path)
    kept = again.calls
    assert kept == whole[:end].count(b"\n")
    assert [again.get(str(index)) for index in range(kept)] == [
        Completion(t, model="m") for t in texts[:kept]
    ]
    assert again.get(str(kept)) is None
    again.put("new", 0, "t", ASK, FULL)
    again.close()
    last = Ledger(path)
    assert (last.calls, last.get("new")) == (kept + 1, FULL)
    last.close()


def test_the_key_is_all_that_decides_the_answer_but_the_room():
    same = [call_key("t", ASK, 0), call_key("t", msgspec.structs.replace(ASK, max_tokens=9), 0)]
    different = [
        call_key("u", ASK, 0),
        call_key("t", ASK, 1),
        *(
            call_key("t", msgspec.structs.replace(ASK, **change), 0)
            for change in ({"temperature": 1.0}, {"seed": 1}, {"response_format": {}}, {"messages": ()})
        ),
    ]
    assert same[0] == same[1]
    assert len({*same, *different}) == 7


def test_keys_of_old_ledgers_stay_valid():
    """Computed by distill 0.1 at 0b7133f, before a request had `top_logprobs`."""
    messages = (Message("system", "be brief"), Message("user", "héllo"))
    full = Request(
        messages, temperature=0.7, max_tokens=64, seed=3, response_format={"type": "json_object", "a": 1}
    )
    assert call_key("big @ http://h/v1", full, 2) == "0618c0d3ffeb85a3"
    assert call_key("t", ASK, 0) == "51913ce4a3aa2f86"
    with_logprobs = msgspec.structs.replace(ASK, top_logprobs=5)
    other = msgspec.structs.replace(ASK, top_logprobs=6)
    assert len({call_key("t", request, 0) for request in (ASK, with_logprobs, other)}) == 3


OLD_LINE = (
    b'{"key":"51913ce4a3aa2f86","sample":0,"teacher":"t","request":{"messages":[{"role":"user","content":"hi"}],'
    b'"temperature":0.0,"max_tokens":256,"seed":null,"response_format":null},"response":{"text":"yes",'
    b'"finish_reason":"stop","logprobs":{"content":[{"token":"yes","logprob":-0.5,"top_logprobs":[]}]}},'
    b'"usage":{"prompt_tokens":10,"completion_tokens":2},"cost_usd":0.5,"latency_s":0.25,"model":"big","at":1.5}'
)


def test_an_old_line_is_read(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(OLD_LINE + b"\n")
    ledger = Ledger(path)
    answer = ledger.get(call_key("t", ASK, 0), 256)
    ledger.close()
    logprobs = {"content": [{"token": "yes", "logprob": -0.5, "top_logprobs": []}]}
    assert answer == Completion("yes", "stop", "big", 10, 2, 0.5, 0.25, logprobs)


def test_logprobs_come_back_from_memory_as_from_disk(tmp_path):
    bought = msgspec.structs.replace(FULL, logprobs={"tokens": ["é"], "logprobs": [-0.5], "top": [[]]})
    ledger = Ledger(tmp_path / "c.jsonl")
    ledger.put("k", 0, "t", ASK, bought)
    ledger.put("none", 0, "t", ASK, msgspec.structs.replace(FULL, logprobs=None))
    assert ledger.get("k") == bought
    assert ledger.get("none").logprobs is None
    ledger.close()
    again = Ledger(tmp_path / "c.jsonl")
    assert again.get("k") == bought
    assert again.get("none").logprobs is None
    again.close()
    assert b'"logprobs":null' not in (tmp_path / "c.jsonl").read_bytes()


def test_what_did_not_fit_the_context_may_fit_with_less_room_for_the_answer(tmp_path):
    teacher = ScriptedTeacher([Completion("", "context_length"), Completion("a", "stop")])

    async def body(ledgered):
        for room in (8, 8, 16, 4, 8):
            answer = await ledgered.complete(asking("x", max_tokens=room))
            assert answer.finish_reason == ("stop" if ledgered.bought == 2 else "context_length")

    run_on(tmp_path, teacher, body)
    assert [request.max_tokens for request, _ in teacher.requests] == [8, 4]


def test_a_long_ledger_is_loaded_soon(tmp_path):
    path = tmp_path / "c.jsonl"
    tail = OLD_LINE.removeprefix(b'{"key":"51913ce4a3aa2f86"') + b"\n"
    path.write_bytes(b"".join(b'{"key":"%016x"' % number + tail for number in range(100_000)))
    started = process_time()
    ledger = Ledger(path)
    assert process_time() - started < 3
    assert (ledger.calls, ledger.cost_usd) == (100_000, 50_000.0)
    assert ledger.get(f"{99_999:016x}").text == "yes"
    ledger.close()


def run_on(tmp_path, teacher, body):
    """`body(ledgered)` inside a loop; the ledgered teacher is closed after it."""

    async def run():
        ledgered = Ledgered(teacher() if callable(teacher) else teacher, Ledger(tmp_path / "c.jsonl"))
        try:
            return await body(ledgered)
        finally:
            await ledgered.close()

    return asyncio.run(run())


def test_bought_once_reused_after(tmp_path):
    teacher = ScriptedTeacher([Completion("a", cost_usd=0.5, prompt_tokens=7, completion_tokens=2)])

    async def body(ledgered):
        assert (await ledgered.complete(ASK)).text == "a"
        assert (await ledgered.complete(ASK)).text == "a"
        assert (ledgered.bought, ledgered.reused, ledgered.cost_usd) == (1, 1, 0.5)
        assert (ledgered.prompt_tokens, ledgered.completion_tokens) == (7, 2)

    run_on(tmp_path, teacher, body)

    async def later(ledgered):
        assert (await ledgered.complete(ASK)).text == "a"
        assert (ledgered.bought, ledgered.reused, ledgered.cost_usd) == (0, 1, 0.0)

    run_on(tmp_path, ScriptedTeacher([]), later)


def test_a_cut_answer_is_bought_again_only_with_more_room(tmp_path):
    teacher = ScriptedTeacher([Completion("a", "length"), Completion("a whole", "stop")])

    async def body(ledgered):
        small, large = asking("x", max_tokens=4), asking("x", max_tokens=8)
        assert (await ledgered.complete(small)).text == "a"
        assert (await ledgered.complete(small)).text == "a"
        assert (await ledgered.complete(large)).text == "a whole"
        assert (await ledgered.complete(small)).text == "a whole"
        assert ledgered.cost_usd is None

    run_on(tmp_path, teacher, body)
    assert len(teacher.requests) == 2


def test_equal_requests_at_once_are_bought_once(tmp_path):
    async def body(ledgered):
        calls = [asyncio.create_task(ledgered.complete(ASK)) for _ in range(5)]
        await asyncio.sleep(0.01)
        ledgered._teacher.open.set()
        assert {answer.text for answer in await asyncio.gather(*calls)} == {"hi"}
        assert (ledgered._teacher.asked, ledgered.bought, ledgered.reused) == (1, 1, 4)

    run_on(tmp_path, Gate, body)


def test_an_error_reaches_all_who_wait_and_is_not_remembered(tmp_path):
    async def body(ledgered):
        gate = ledgered._teacher
        gate.open.set()
        ends = await asyncio.gather(*(ledgered.complete(ASK) for _ in range(3)), return_exceptions=True)
        assert [type(end) for end in ends] == [TeacherError] * 3
        gate.fault = None
        assert (await ledgered.complete(ASK)).text == "hi"

    run_on(tmp_path, lambda: Gate(TeacherError("no")), body)


def test_a_request_that_is_wrong_is_no_teacher_that_is_gone(tmp_path):
    async def body(ledgered):
        gate = ledgered._teacher
        gate.open.set()
        with pytest.raises(UsageError):
            await ledgered.complete(ASK)
        gate.fault = None
        assert (await ledgered.complete(ASK)).text == "hi"

    run_on(tmp_path, lambda: Gate(UsageError("too much room", where="--max-answer-tokens")), body)


def test_a_teacher_that_is_gone_is_not_asked_again(tmp_path):
    async def body(ledgered):
        gate = ledgered._teacher
        gate.open.set()
        with pytest.raises(CredentialsError):
            await ledgered.complete(ASK)
        gate.fault = None
        with pytest.raises(CredentialsError):
            await ledgered.complete(ASK)
        assert gate.asked == 1

    run_on(tmp_path, lambda: Gate(CredentialsError("no")), body)


def test_a_sent_call_is_recorded_though_nobody_waits_any_more(tmp_path):
    gates = []

    def pooled():
        gates.append(Gate())
        return Pool(gates[0], max_concurrency=1)

    async def body(ledgered):
        sent = asyncio.create_task(ledgered.complete(asking("sent")))
        queued = asyncio.create_task(ledgered.complete(asking("queued")))
        await asyncio.sleep(0.01)
        sent.cancel()
        queued.cancel()
        ends = await asyncio.gather(sent, queued, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
        assert ledgered.in_flight == 1
        asyncio.get_running_loop().call_later(0.02, gates[0].open.set)

    run_on(tmp_path, pooled, body)
    assert gates[0].asked == 1
    ledger = Ledger(tmp_path / "c.jsonl")
    assert ledger.get(call_key("gate", asking("sent"), 0)).text == "sent"
    assert ledger.calls == 1
    ledger.close()


def test_an_interrupted_call_that_is_paid_for_is_on_disk(tmp_path):
    """Over HTTP: the work is cancelled while the endpoint answers, as by Ctrl-C."""

    def pooled():
        return Pool(OpenAITeacher("big", base_url=server.url, api_key="none"), max_concurrency=2)

    async def body(ledgered):
        async def drain():
            requests = [asking(f"q{index}") for index in range(9)]
            async with contextlib.aclosing(ordered(requests, ledgered.complete, 6)) as answers:
                async for _ in answers:
                    pass

        step = asyncio.create_task(drain())
        while len(server.asked) < 2:
            await asyncio.sleep(0.005)
        ledgered.stop()
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        assert step.cancelled()
        assert ledgered.ledger.calls == 0

    with FaultServer(lambda *_: chat("paid", wait_s=0.3)) as server:
        run_on(tmp_path, pooled, body)
        assert len(server.asked) == 2
    ledger = Ledger(tmp_path / "c.jsonl")
    for index in range(2):
        assert ledger.get(call_key(f"big @ {server.url}", asking(f"q{index}"), 0)).text == "paid"
    assert ledger.calls == 2
    ledger.close()


def test_one_of_two_who_wait_may_leave(tmp_path):
    async def body(ledgered):
        one, two = (asyncio.create_task(ledgered.complete(ASK)) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        await asyncio.sleep(0.01)
        ledgered._teacher.open.set()
        assert (await two).text == "hi"
        assert ledgered._teacher.asked == 1

    run_on(tmp_path, Gate, body)


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_who_comes_as_an_unsent_call_is_taken_back_buys_it_anew(tmp_path, turns):
    async def body(ledgered):
        one = asyncio.create_task(ledgered.complete(ASK))
        await asyncio.sleep(0.01)
        one.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        two = asyncio.create_task(ledgered.complete(ASK))
        ledgered._teacher.open.set()
        assert (await asyncio.wait_for(two, 1)).text == "hi"

    run_on(tmp_path, Gate, body)


def test_after_stop_only_the_ledger_answers(tmp_path):
    async def body(ledgered):
        await ledgered.complete(asking("known"))
        ledgered.stop()
        assert (await ledgered.complete(asking("known"))).text == "known"
        with pytest.raises(Interrupted):
            await ledgered.complete(asking("new"))

    run_on(tmp_path, ScriptedTeacher(lambda request, _: request.messages[-1].content), body)


def test_a_full_disk_reaches_the_caller_and_leaves_the_file_whole(tmp_path, monkeypatch):
    real, numbers = os.write, count()

    def full(file, data):
        if b'"key"' in data and next(numbers) == 1:
            real(file, data[:20])
            raise OSError(errno.ENOSPC, "full")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)

    async def body(ledgered):
        await ledgered.complete(asking("a"))
        with pytest.raises(StorageError, match="disk is full"):
            await ledgered.complete(asking("b"))
        await ledgered.complete(asking("c"))

    run_on(tmp_path, ScriptedTeacher(lambda request, _: "x"), body)
    ledger = Ledger(tmp_path / "c.jsonl")
    assert ledger.calls == 2
    ledger.close()


def test_a_key_in_the_environment_is_in_no_record(tmp_path, monkeypatch):
    key = "sk-sentinel-0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    def pooled():
        return Pool(OpenAITeacher("big", base_url=server.url, api_key=key))

    async def body(ledgered):
        await ledgered.complete(ASK)

    with FaultServer([chat(f"echo {key}", model=key)]) as server:
        run_on(tmp_path, pooled, body)
    assert b"echo [key]" in (tmp_path / "c.jsonl").read_bytes()
    assert key.encode() not in (tmp_path / "c.jsonl").read_bytes()


def test_a_withheld_answer_is_recorded_and_not_asked_for_again(tmp_path):
    async def body(ledgered):
        for room in (256, 512):
            answer = await ledgered.complete(msgspec.structs.replace(ASK, max_tokens=room))
            assert (answer.text, answer.finish_reason) == ("", "content_filter")
        assert (ledgered.bought, ledgered.reused, ledgered.cost_usd) == (1, 1, 0.0)

    with FaultServer([error(400, "no", "content_filter")]) as server:
        run_on(tmp_path, lambda: Pool(OpenAITeacher("big", base_url=server.url, api_key="none")), body)
    assert spent(tmp_path / "c.jsonl") == (1, 0.0)


def test_a_script_answers_by_text_by_turn_or_by_function(tmp_path):
    async def run():
        by_text = ScriptedTeacher({"hi": "a"})
        assert (await by_text.complete(ASK)).text == "a"
        by_turn = ScriptedTeacher(["a", "b"], model="turns")
        assert [(await by_turn.complete(ASK, n)).text for n in range(2)] == ["a", "b"]
        assert by_turn.requests == [(ASK, 0), (ASK, 1)]
        with pytest.raises(Exception, match="no answer"):
            await by_turn.complete(ASK)
        by_function = ScriptedTeacher(lambda request, sample: f"{sample}")
        assert (await by_function.complete(ASK, 4)).text == "4"
        assert (by_function.model, by_turn.identity) == ("scripted", "scripted turns")

    asyncio.run(run())
