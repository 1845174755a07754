"""Logs as the common loggers write them; what cannot be read is counted and says why."""

import json
import time
import tracemalloc

import pytest

from distill.errors import DataError, UsageError
from distill.store.conversations import Unfit
from distill.store.logs import logged, read_logs
from distill.types import Message

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is my card?"}]
MESSAGES = (Message("system", "Be brief."), Message("user", "Where is my card?"))
REQUEST = {"model": "gpt-4o-mini", "temperature": 0.2, "messages": ASKED}
RESPONSE = {
    "id": "chatcmpl-AZ1",
    "object": "chat.completion",
    "created": 1717000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "In the post.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26},
}
RESPONSES_API = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1717000000,
    "model": "gpt-4o-mini-2024-07-18",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "In the post.", "annotations": []}],
        },
    ],
    "usage": {"input_tokens": 21, "output_tokens": 5},
}
LITELLM = {
    "id": "chatcmpl-AZ1",
    "call_type": "acompletion",
    "status": "success",
    "error_str": None,
    "model": "gpt-4o-mini-2024-07-18",
    "messages": ASKED,
    "response": RESPONSE,
    "prompt_tokens": 21,
    "completion_tokens": 5,
    "startTime": 1717000000.0,
}
LANGFUSE = {
    "type": "GENERATION",
    "startTime": "2024-05-29T16:26:40.000Z",
    "model": "gpt-4o-mini-2024-07-18",
    "input": {"messages": ASKED},
    "output": {"role": "assistant", "content": "In the post."},
    "usage": {"input": 21, "output": 5, "total": 26, "unit": "TOKENS"},
}
OPENPIPE = {
    "requestedAt": 1717000000000,
    "reqPayload": json.dumps(REQUEST),
    "respPayload": json.dumps(RESPONSE),
    "statusCode": 200,
}
FULL = {
    "request and response": {"request": REQUEST, "response": RESPONSE},
    "as JSON in strings": {"request": json.dumps(REQUEST), "response": json.dumps(RESPONSE)},
    "HTTP around them": {
        "request": {"method": "POST", "url": "/v1/chat/completions", "body": REQUEST},
        "response": {"status_code": 200, "body": RESPONSE},
    },
    "stored completion": {**RESPONSE, "messages": ASKED, "metadata": {}},
    "stored completion, input": {**RESPONSE, "input": ASKED},
    "responses API": {
        "request": {"model": "m", "instructions": "Be brief.", "input": "Where is my card?"},
        "response": RESPONSES_API,
    },
    "responses API, flat": {**RESPONSES_API, "input": ASKED},
    "litellm": LITELLM,
    "langfuse": LANGFUSE,
    "helicone": {"request_body": REQUEST, "response_body": RESPONSE},
    "openpipe": OPENPIPE,
}


@pytest.mark.parametrize("record", FULL.values(), ids=FULL)
def test_a_log_says_all_it_knows(record):
    read = logged(record, "l.jsonl:3")
    assert (read.messages, read.response, read.source) == (MESSAGES, "In the post.", "l.jsonl:3")
    assert read.model == "gpt-4o-mini-2024-07-18"
    assert (read.prompt_tokens, read.completion_tokens) == (21, 5)
    assert read.finish_reason == "stop"
    assert read.created == 1717000000.0


@pytest.mark.parametrize(
    ("record", "finish"),
    [
        ({"prompt": "Where is my card?", "completion": "In the post."}, "stop"),
        ({"prompt": "Where is my card?", "response": " In the post."}, "stop"),
        ({"input": "Where is my card?", "output": "In the post."}, "stop"),
        ({"messages": [*ASKED[1:], {"role": "assistant", "content": "In the post."}]}, "stop"),
        (
            {
                "prompt_messages": ASKED[1:],
                "completion_message": {"role": "assistant", "content": "In the post."},
            },
            "stop",
        ),
        (
            {
                "prompt": ["Where is my card?"],
                "choices": [{"text": "In the post.", "finish_reason": "length"}],
            },
            "length",
        ),
        (
            {"input": "Where is my card?", "status": "incomplete", "output": RESPONSES_API["output"]},
            "length",
        ),
    ],
)
def test_a_plain_log_is_read_too(record, finish):
    read = logged(record, "l:1")
    assert (read.messages, read.response) == (MESSAGES[1:], "In the post.")
    assert (read.finish_reason, read.model, read.prompt_tokens, read.created) == (finish, "", None, None)


def test_a_cut_answer_of_the_responses_api_says_so():
    cut = {"request": {"input": "x"}, "response": {**RESPONSES_API, "status": "incomplete"}}
    assert logged(cut, "l:1").finish_reason == "length"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        (1717000000, 1717000000.0),
        (1717000000123, 1717000000.123),
        (1717000000123000000, 1717000000.123),
        ("2024-05-29T16:26:40Z", 1717000000.0),
        ("2024-05-29 18:26:40+02:00", 1717000000.0),
        ("2024-05-29T16:26:40", 1717000000.0),
        ("yesterday", None),
        (-1, None),
        (True, None),
        (1e300, None),
    ],
)
def test_a_time_stamp_of_any_kind_is_seconds(stamp, seconds):
    read = logged({"prompt": "x", "completion": "y", "timestamp": stamp}, "l:1").created
    assert read == (seconds if seconds is None else pytest.approx(seconds))


def with_message(**message):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"request": REQUEST, "response": {**RESPONSE, "choices": [choice]}}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            {"request": REQUEST, "response": {"error": {"message": "Rate limit\nreached", "code": 429}}},
            "failed: Rate limit reached",
        ),
        ({"request": REQUEST, "response": {"status_code": 500, "body": {"x": 1}}}, "failed: status 500"),
        ({**LITELLM, "status": "failure", "response": None}, "failed: failure"),
        ({"request": REQUEST, "response": None}, "no response"),
        ({"request": REQUEST}, "no response"),
        (
            {"request": REQUEST, "response": {**RESPONSE, "choices": []}},
            "no answer: the keys of the response are 'id'",
        ),
        ({"request": REQUEST, "response": 5}, "not text: 5"),
        (with_message(content=None, tool_calls=[{"id": "c"}]), "tool call"),
        (with_message(content=None), "the answer is empty"),
        (with_message(content=None, refusal="I can't help."), "refused"),
        ({"prompt": ["a", "b"], "choices": []}, "several prompts"),
        ({"object": "chat.completion.chunk", "choices": [{"delta": {"content": "I"}}]}, "a streamed answer"),
        ({"request": {"model": "m"}, "response": RESPONSE}, "no known shape: the keys here are 'model'"),
        ({"level": "info", "msg": "started"}, "no known shape: the keys here are 'level', 'msg'"),
        ([1], "not an object"),
    ],
)
def test_what_cannot_be_read_says_why(record, why):
    with pytest.raises(Unfit, match=why):
        logged(record, "l:1")


def written(folder, *lines):
    path = folder / "l.jsonl"
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return path


def test_broken_lines_are_counted_and_the_others_read(tmp_path):
    good = json.dumps(FULL["litellm"]).encode() + b"\n"
    path = written(
        tmp_path, good, b'{"request": {\n', b"\n", b'{"prompt": "\xff"}\n', b'{"msg": "up"}\n', good, b'{"pro'
    )
    logs = read_logs(path)
    assert [entry.source for entry in logs.entries] == [f"{path}:1", f"{path}:6"]
    assert [line for line, _ in logs.skipped] == [2, 4, 5, 7]
    assert [why for _, why in logs.skipped] == [
        "not a line of JSON",
        "not UTF-8",
        "no known shape: the keys here are 'msg'",
        "not a line of JSON",
    ]


def test_a_file_without_a_readable_line_is_an_error_that_names_the_keys(tmp_path):
    with pytest.raises(DataError, match=r"none of the 3 lines .*; 2 of them: .*'level', 'msg'") as error:
        read_logs(written(tmp_path, b"start\n", *[b'{"level": "info", "msg": "x"}\n'] * 2))
    assert error.value.where.endswith("l.jsonl:2")
    assert "request and response" in error.value.hint
    with pytest.raises(DataError, match="empty"):
        read_logs(written(tmp_path, b"\n\n"))
    with pytest.raises(UsageError, match="no such file"):
        read_logs(tmp_path / "absent.jsonl")


@pytest.mark.slow
def test_200_000_lines_take_seconds_and_little_beside_what_they_hold(tmp_path):
    path = tmp_path / "l.jsonl"
    line = json.dumps(FULL["request and response"]).encode() + b"\n"
    path.write_bytes(line * 200_000)
    began = time.process_time()
    assert len(read_logs(path).entries) == 200_000
    assert time.process_time() - began < 60
    path.write_bytes(b'{"msg": "x"}\n' * 100_000 + line)
    tracemalloc.start()
    assert len(read_logs(path).skipped) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * 2**20


@pytest.mark.parametrize("said", ['{"vendor": "Acme", "total": 7}', '{"answer": "yes"}', '{"text": "x"}'])
def test_an_answer_that_is_json_is_an_answer(said):
    entry = logged({"messages": ASKED, "response": said}, "log:1")
    assert entry.response == said
    assert logged({"messages": ASKED, "response": json.dumps(RESPONSE)}, "log:1").response == "In the post."
