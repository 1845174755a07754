import asyncio
import base64
import gzip
import json

import pytest
from fault_server import Fault, FaultServer, chat, error

from distill import __version__
from distill.errors import BudgetReached, CredentialsError, TeacherError, UnknownModel, UsageError
from distill.teacher.endpoint import public_url
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.protocol import TryAgain
from distill.teacher.wire import cost_usd
from distill.types import Message, Request

KEY = "sk-sentinel-0123456789abcdef"
ASK = Request((Message("system", "be brief"), Message("user", "hello")))


def ask(server, request=ASK, sample=0, times=1, **how):
    """What `times` completes give: completions, or the exceptions raised; and the teacher."""

    async def run():
        teacher = OpenAITeacher("big", **({"base_url": server.url, "api_key": KEY} | how))
        try:
            out = []
            for _ in range(times):
                out += await asyncio.gather(teacher.complete(request, sample), return_exceptions=True)
            return out, teacher
        finally:
            await teacher.close()

    return asyncio.run(run())


def only(server, **how):
    (outcome,), _ = ask(server, **how)
    return outcome


def test_an_answer_with_its_tokens_cost_time_and_the_model_that_gave_it():
    with FaultServer([chat("hi", model="big-2026", usage=(1000, 500), wait_s=0.02)]) as server:
        answer = only(server, price_in=2.0, price_out=4.0)
    assert (answer.text, answer.finish_reason, answer.model) == ("hi", "stop", "big-2026")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (1000, 500, 0.004)
    assert answer.latency_s >= 0.02
    assert server.asked[0]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
    ]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["content-type"] == "application/json"
    assert server.headers[0]["user-agent"] == f"distill/{__version__}"
    assert server.paths == ["/v1/chat/completions"]


def test_null_content_is_empty_text_and_no_usage_is_unknown_cost():
    with FaultServer([chat(None, finish=None, usage=None)]) as server:
        answer = only(server, price_in=1.0, price_out=1.0)
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.cost_usd) == (
        "",
        "stop",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("seed", "temperature", "sample", "sent"), [(None, 1.0, 3, None), (7, 1.0, 3, 10), (7, 0.0, 3, 7)]
)
def test_sample_moves_the_seed_only_where_sampling(seed, temperature, sample, sent):
    with FaultServer() as server:
        only(server, request=Request(ASK.messages, temperature=temperature, seed=seed), sample=sample)
    assert server.asked[0].get("seed") == sent


# What it is called, then: seconds to wait, "slow down", may be charged for.
AGAIN = {
    "429 in seconds": (error(429, headers={"Retry-After": "3"}), 3.0, True, False),
    "429 in milliseconds": (error(429, headers={"retry-after-ms": "250"}), 0.25, True, False),
    "429 with nonsense": (error(429, headers={"Retry-After": "soon"}), 0.0, True, False),
    "429 without end": (error(429, headers={"Retry-After": "inf"}), 0.0, True, False),
    "429 by a past date": (
        error(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        0.0,
        True,
        False,
    ),
    "500": (error(500), 0.0, False, False),
    "504": (error(504), 0.0, False, True),
    "503 that is no JSON": (Fault(503, b"<html>busy</html>"), 0.0, False, False),
    "cut JSON": (Fault(200, b'{"choices": [{"mess'), 0.0, False, True),
    "not UTF-8": (Fault(200, b'{"choices": "\xff"}'), 0.0, False, True),
    "a page": (Fault(200, b"<html>login</html>"), 0.0, False, True),
    "no choices": (Fault(200, {"choices": []}), 0.0, False, True),
    "an error under 200": (Fault(200, {"error": {"message": "overloaded"}}), 0.0, False, True),
    "dropped before": (Fault(drop=True), 0.0, False, True),
    "dropped half way": (chat("long" * 99, cut=50), 0.0, False, True),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_another_attempt_may_mend(name):
    fault, after_s, limited, lost = AGAIN[name]
    with FaultServer([fault]) as server:
        outcome = only(server)
    assert isinstance(outcome, TryAgain), outcome
    assert (outcome.after_s, outcome.rate_limited, outcome.unreachable) == (after_s, limited, False)
    assert (outcome.lost, outcome.overdue) == (lost, False)
    assert len(server.asked) == 1


def test_a_hanging_call_is_given_up():
    with FaultServer([chat(wait_s=30)]) as server:
        outcome = only(server, timeout_s=1)
    assert isinstance(outcome, TryAgain)
    assert "within 1 s" in outcome.reason
    assert outcome.lost
    assert outcome.overdue


def test_nobody_there():
    with FaultServer() as server:
        pass
    outcome = only(server)
    assert isinstance(outcome, TryAgain)
    assert outcome.unreachable
    assert not outcome.lost
    assert server.url in outcome.reason


def test_an_endpoint_without_tls_is_not_reached_by_https():
    with FaultServer() as server:
        outcome = only(server, base_url=server.url.replace("http", "https"))
    assert isinstance(outcome, TryAgain)
    assert outcome.unreachable
    assert "SSL" in outcome.reason
    assert server.asked == []


FINAL = {
    "401": (error(401, f"Incorrect API key provided: {KEY}"), CredentialsError, "OPENAI_API_KEY"),
    "403": (error(403, "region"), CredentialsError, "region"),
    "402": (error(402, "no credit"), BudgetReached, "no credit"),
    "quota": (error(429, "You exceeded your quota", "insufficient_quota"), BudgetReached, "quota"),
    "404": (error(404, "no such model"), UnknownModel, "big"),
    "400": (error(400, "no such role " * 99, "bad_request"), TeacherError, "no such role"),
    "400 credit": (error(400, "Your credit balance is too low"), BudgetReached, "credit balance"),
    "403 balance": (error(403, "Insufficient Balance"), BudgetReached, "Balance"),
    "422": (Fault(422, {"detail": [{"msg": "bad role"}]}), TeacherError, "bad role"),
    "413": (error(413, "too big"), TeacherError, "413"),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_no_retry_mends(name):
    fault, kind, words = FINAL[name]
    with FaultServer([fault]) as server:
        outcome = only(server)
    assert type(outcome) is kind
    told = f"{outcome.message} {outcome.where} {outcome.hint}"
    assert words in told
    assert server.url in told
    assert len(told) < 600
    assert KEY not in repr(outcome) + told


def test_the_key_is_taken_out_of_whatever_an_endpoint_echoes():
    echoes = [chat(f"your key is {KEY}", model=KEY), Fault(200, f"key {KEY}".encode()), error(500, KEY)]
    with FaultServer(echoes) as server:
        (answer, *faults), _ = ask(server, times=3)
    assert answer.text == "your key is [key]"
    assert KEY not in repr(answer) + "".join(fault.reason for fault in faults)


def test_a_stand_in_for_a_key_is_a_word_like_any_other():
    async def run(server):
        teacher = OpenAITeacher("big", base_url=server.url, api_key="EMPTY")
        try:
            return (await teacher.complete(ASK)).text
        finally:
            await teacher.close()

    with FaultServer([chat("the shelf is EMPTY")]) as server:
        assert asyncio.run(run(server)) == "the shelf is EMPTY"


UNSUPPORTED = [
    ("response_format", error(400, "'response_format' of type json_schema is not supported"), None),
    ("response_format", error(400, "failed to parse grammar"), None),
    (
        "seed",
        Fault(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        None,
    ),
    (
        "max_tokens",
        error(
            400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.", "unsupported_parameter"
        ),
        "max_completion_tokens",
    ),
    (
        "temperature",
        error(400, "Only the default (1) is supported", "unsupported_value", "temperature"),
        None,
    ),
]


@pytest.mark.parametrize(("name", "fault", "instead"), UNSUPPORTED)
def test_what_an_endpoint_does_not_support_is_left_out_and_stays_out(name, fault, instead):
    request = Request(ASK.messages, seed=1, response_format={"type": "json_object"})
    with FaultServer([fault]) as server:
        outcomes, teacher = ask(server, request=request, times=2)
    assert [outcome.text for outcome in outcomes] == ["ok", "ok"]
    assert [name in body for body in server.asked] == [True, False, False]
    assert instead is None or server.asked[1][instead] == request.max_tokens
    assert teacher.left_out == {name}


def test_an_endpoint_that_refuses_everything_is_not_asked_for_ever():
    refusal = error(400, "max_tokens and max_completion_tokens are unsupported")
    with FaultServer(lambda *_: refusal) as server:
        outcome = only(server)
    assert isinstance(outcome, TeacherError)
    assert len(server.asked) <= 4


def test_calls_refused_at_the_same_time_all_learn_it():
    refused = error(400, "temperature is not supported", "unsupported_parameter", "temperature", wait_s=0.05)

    async def run(url):
        teacher = OpenAITeacher("big", base_url=url, api_key=KEY)
        try:
            return await asyncio.gather(
                *(teacher.complete(ASK, n) for n in range(16)), return_exceptions=True
            ), teacher.left_out
        finally:
            await teacher.close()

    with FaultServer(lambda _, body: refused if "temperature" in body else chat()) as server:
        answers, left_out = asyncio.run(run(server.url))
    assert [getattr(answer, "text", answer) for answer in answers] == ["ok"] * 16
    assert left_out == {"temperature"}
    assert sum("temperature" in body for body in server.asked) > 1


AZURE = {
    "message": "The response was filtered due to the prompt triggering our policy.",
    "code": "BadRequest",
    "innererror": {"code": "ResponsibleAIPolicyViolation"},
}
WITHHELD = {
    "by code": error(400, "no", "content_filter"),
    "by another code": error(400, "no", "content_policy_violation"),
    "by inner code": Fault(400, {"error": AZURE}),
    "by message": error(400, "This is not allowed by our Content Policy: temperature"),
    "in plain text": Fault(400, b"blocked by the content filter"),
}


@pytest.mark.parametrize("name", WITHHELD)
def test_what_the_providers_filter_turns_down_is_an_answer(name):
    with FaultServer([WITHHELD[name]]) as server:
        answer = only(server, price_in=1.0, price_out=1.0)
    assert (answer.text, answer.finish_reason, answer.model) == ("", "content_filter", "big")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (None, None, 0.0)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("price", "cost"), [(2.0, 20e-6), (None, None)])
def test_tokens_of_a_withheld_answer_are_paid(price, cost):
    body = {"error": {"message": "no", "code": "content_filter"}, "usage": {"prompt_tokens": 10}}
    with FaultServer([Fault(400, body)]) as server:
        answer = only(server, price_in=price, price_out=price)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (10, 0, cost)


def test_a_quoted_prompt_about_content_filters_is_no_content_filter():
    with FaultServer([error(400, "prompt too long: " + "word " * 99 + "content filter")]) as server:
        assert isinstance(only(server), TeacherError)


TOO_LONG = {
    "OpenAI": error(400, "no", "context_length_exceeded"),
    "vLLM": error(400, "This model's maximum context length is 64 tokens. However, you requested 99 tokens"),
    "newer vLLM": error(400, "The decoder prompt (length 99) is longer than the maximum model length of 64."),
    "llama.cpp": Fault(
        400,
        {
            "error": {
                "code": 400,
                "message": "request (99 tokens) exceeds the available context size (64 tokens)",
                "type": "exceed_context_size_error",
                "n_ctx": 64,
            }
        },
    ),
    "Ollama": error(400, "the input length exceeds the context length"),
    "Anthropic": error(400, "prompt is too long: 99 tokens > 64 maximum"),
    "Mistral, under 422": error(422, "Prompt contains 99 tokens, too large: 64 maximum context length"),
    "a proxy, under 413": error(413, "Input exceeds the context window of this model"),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_an_input_that_does_not_fit_the_context_is_an_answer(name):
    with FaultServer([TOO_LONG[name]]) as server:
        answer = only(server, price_in=1.0, price_out=1.0)
    assert (answer.text, answer.finish_reason, answer.cost_usd) == ("", "context_length", 0.0)
    assert len(server.asked) == 1


def test_room_that_alone_is_over_the_context_window_names_the_flag():
    said = "This model's maximum context length is 200 tokens. However, you requested 299 tokens"
    with FaultServer([error(400, said)]) as server:
        found = only(server)
    assert isinstance(found, UsageError)
    assert (found.where, "256 tokens" in found.message, "of 200" in found.message) == (
        "--max-answer-tokens",
        True,
        True,
    )
    larger = said.replace("200", "8192")
    with FaultServer([error(400, larger)]) as server:
        assert only(server).finish_reason == "context_length"


def test_a_quoted_prompt_about_context_lengths_is_no_such_thing():
    with FaultServer([error(400, "no such role: " + "word " * 99 + "maximum context length")]) as server:
        assert isinstance(only(server), TeacherError)


LOGPROBS = {
    "content": [
        {
            "token": "o",
            "logprob": -0.123456,
            "bytes": [111],
            "top_logprobs": [
                {"token": "o", "logprob": -0.123456, "bytes": [111]},
                {"token": "O", "logprob": -2.5, "bytes": [79]},
            ],
        },
        {"token": "k", "logprob": 0.0, "bytes": [107], "top_logprobs": []},
    ]
}


def with_logprobs(logprobs, text="ok"):
    fault = chat(text)
    fault.body["choices"][0]["logprobs"] = logprobs
    return fault


def test_top_logprobs_are_asked_for_and_kept_compactly():
    with FaultServer([with_logprobs(LOGPROBS)]) as server:
        answer = only(server, request=Request(ASK.messages, top_logprobs=2))
    assert (server.asked[0]["logprobs"], server.asked[0]["top_logprobs"]) == (True, 2)
    assert answer.logprobs == {
        "tokens": ["o", "k"],
        "logprobs": [-0.1235, 0.0],
        "top": [[["o", -0.1235], ["O", -2.5]], []],
    }


def test_logprobs_are_not_asked_for_unasked():
    with FaultServer() as server:
        only(server)
    assert not {"logprobs", "top_logprobs"} & server.asked[0].keys()


@pytest.mark.parametrize("odd", [None, {"content": None}, {"content": [{"tok": 1}]}, {"tokens": ["a"]}, [1]])
def test_logprobs_of_another_shape_lose_no_answer(odd):
    with FaultServer([with_logprobs(odd)]) as server:
        answer = only(server, request=Request(ASK.messages, top_logprobs=2))
    assert (answer.text, answer.logprobs) == ("ok", None)


def test_tokens_do_not_spell_out_a_key_that_was_taken_out():
    with FaultServer([with_logprobs(LOGPROBS, f"key {KEY}")]) as server:
        answer = only(server, request=Request(ASK.messages, top_logprobs=2))
    assert (answer.text, answer.logprobs) == ("key [key]", None)


@pytest.mark.parametrize(
    "told", ["You are not allowed to request logprobs from this model", "Unknown parameter: 'top_logprobs'"]
)
def test_an_endpoint_without_logprobs_answers_without(told):
    learned = []
    request = Request(ASK.messages, top_logprobs=2)
    with FaultServer([error(400, told)]) as server:
        outcomes, _ = ask(server, request=request, times=2, on_left_out=learned.append)
    assert [outcome.text for outcome in outcomes] == ["ok", "ok"]
    assert ["logprobs" in body or "top_logprobs" in body for body in server.asked] == [True, False, False]
    assert learned == ["logprobs"]


def test_what_was_learned_before_is_left_out_from_the_start():
    learned = []
    with FaultServer() as server:
        _, teacher = ask(server, left_out=["temperature", "max_tokens"], on_left_out=learned.append)
    assert not {"temperature", "max_tokens"} & server.asked[0].keys()
    assert server.asked[0]["max_completion_tokens"] == ASK.max_tokens
    assert (teacher.left_out, learned) == ({"temperature", "max_tokens"}, [])


def test_a_zipped_answer_is_read():
    zipped = gzip.compress(json.dumps(chat("zipped").body).encode())
    with FaultServer([Fault(200, zipped, {"Content-Encoding": "gzip"})]) as server:
        assert only(server).text == "zipped"


def test_a_redirect_that_keeps_the_request_is_followed():
    with FaultServer([chat("there")]) as there:
        moved = Fault(307, {}, {"Location": f"{there.url}/elsewhere"})
        with FaultServer([moved]) as server:
            assert only(server).text == "there"
    assert there.asked == server.asked
    assert there.paths == ["/v1/elsewhere"]
    assert "authorization" not in there.headers[0]  # another origin


def test_a_redirect_in_a_circle_ends():
    with FaultServer(lambda *_: Fault(307, {}, {"Location": "/v1/chat/completions"})) as server:
        outcome = only(server)
    assert isinstance(outcome, TeacherError)
    assert "redirects" in outcome.message


def test_organization_and_project_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-2 ")
    with FaultServer() as server:
        only(server)
    sent = server.headers[0]
    assert (sent["openai-organization"], sent["openai-project"]) == ("org-1", "proj-2")


def test_a_password_in_the_url_is_sent_as_one():
    with FaultServer() as server:
        answer = only(server, base_url=server.url.replace("://", "://me:p%40ss@"))
    assert answer.text == "ok"
    assert server.headers[0]["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


PROXIES = {
    "HTTP_PROXY": ({"http_proxy": "PROXY"}, True),
    "with a password": ({"http_proxy": "me:pw@PROXY"}, True),
    "ALL_PROXY": ({"all_proxy": "PROXY"}, True),
    "for https only": ({"https_proxy": "PROXY"}, False),
    "NO_PROXY": ({"http_proxy": "PROXY", "no_proxy": "teacher.invalid"}, False),
}


@pytest.mark.parametrize("name", PROXIES)
def test_other_machines_are_reached_by_the_proxy_of_the_environment(name, monkeypatch):
    settings, proxied = PROXIES[name]
    no_proxies(monkeypatch)
    with FaultServer([chat("by proxy")]) as server:
        for variable, value in settings.items():
            place = server.url.removesuffix("/v1").replace("127.0.0.1", "localhost")
            monkeypatch.setenv(variable, value.replace("PROXY", place.removeprefix("http://")))
        outcome = only(server, base_url="http://teacher.invalid/v1")
    if proxied:
        assert outcome.text == "by proxy"
        assert server.paths == ["http://teacher.invalid/v1/chat/completions"]
        assert ("proxy-authorization" in server.headers[0]) == (name == "with a password")
    else:
        assert outcome.unreachable
        assert server.asked == []


def test_a_proxy_on_the_way_to_https_never_sees_the_key(monkeypatch):
    no_proxies(monkeypatch)
    with FaultServer() as server:
        monkeypatch.setenv("https_proxy", server.url.removesuffix("/v1"))
        outcome = only(server, base_url="https://teacher.invalid/v1")
    assert "proxy" in outcome.reason
    assert "403" in outcome.reason
    assert outcome.unreachable
    assert len(server.headers) == 1
    assert KEY not in str(server.headers)


def test_this_machine_is_reached_without_the_proxy(monkeypatch):
    no_proxies(monkeypatch)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FaultServer() as server:
        assert only(server).text == "ok"


def test_a_socks_proxy_is_refused_in_words(monkeypatch):
    no_proxies(monkeypatch)
    monkeypatch.setenv("all_proxy", "socks5://localhost:1")
    with pytest.raises(UsageError, match="socks5") as caught:
        OpenAITeacher("big", base_url="https://teacher.invalid/v1", api_key=KEY)
    assert "NO_PROXY" in caught.value.hint


def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_prices():
    assert cost_usd(1_000_000, 2_000_000, 1.5, 2.0) == 5.5
    assert cost_usd(1, 1, None, 2.0) is None
    assert cost_usd(None, 1, 1.0, 2.0) is None
    assert cost_usd(None, None, 0.0, 0.0) == 0.0


def test_a_url_is_shown_without_what_may_be_secret():
    assert public_url("https://me:pw@host:1/v1/?api-key=x#y") == "https://host:1/v1"
    with pytest.raises(UsageError):
        public_url("localhost:8000/v1")
