import asyncio
import contextlib
import json
import multiprocessing
import random
from collections import Counter

import batch_buyer
import pytest
from batch_buyer import asking, buy, open_batch
from batch_server import NEVER, BatchServer, completion, error_body

from distill.config import TeacherConfig
from distill.errors import BudgetReached, CredentialsError, Interrupted, TeacherError, UsageError
from distill.store.run import Run
from distill.teacher.batch import BatchTeacher
from distill.teacher.batch_api import BatchApi
from distill.teacher.budget import Budget
from distill.teacher.ledger import Ledger
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.opening import open_teacher
from distill.teacher.pool import Pool
from distill.teacher.prices import Prices
from distill.teacher.standing import Standing, standing

pytestmark = pytest.mark.slow  # together they take seconds

SENTINEL = "sk-sentinel-0123456789abcdef"
# 1,000 tokens in at 1 USD a million, 100 out at 10 USD.
LIVE_USD = 0.002


def records(folder, name="calls.jsonl"):
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def texts(calls):
    return [f"to q{number}" for number in range(calls)]


def run(server, folder, calls, **how):
    async def main():
        return await buy(open_batch(server.url, folder, **how), calls, calls)

    return asyncio.run(main())


def live_pool(server, *, key="sk-none", **how):
    return Pool(OpenAITeacher("big", base_url=server.url, api_key=key, price_in=1.0, price_out=10.0, **how))


async def left_running(teacher, server, calls):
    """Ask, and stop once the batch is polled."""
    buying = asyncio.create_task(buy(teacher, calls, calls))
    while not server.asked["GET /v1/batches/{id}"]:
        await asyncio.sleep(0.01)
    teacher.stop()
    with contextlib.suppress(Interrupted):
        await asyncio.wait_for(buying, 60)


def test_two_hundred_requests_in_one_batch_at_half_the_price(tmp_path):
    with BatchServer(takes_s=0.1) as server:
        assert run(server, tmp_path, 200) == texts(200)
    calls = records(tmp_path)
    assert len({call["key"] for call in calls}) == len(calls) == 200
    assert {call["cost_usd"] for call in calls} == {LIVE_USD / 2}
    assert {call["latency_s"] for call in calls} == {40.0}
    assert set(server.billed.values()) == {1}
    assert len(server.batches) == 1
    assert [line["custom_id"] for line in server.batches["batch_0"]["lines"]] == [
        one["key"] for one in records(tmp_path, "batches.jsonl")[:200]
    ]


def test_the_next_process_buys_nothing_twice(tmp_path):
    with BatchServer() as server:
        run(server, tmp_path, 30)
        assert run(server, tmp_path, 40) == texts(40)
    assert sum(server.billed.values()) == 40
    assert len(records(tmp_path)) == 40


def test_a_batch_that_ends_while_nobody_looks_is_collected_by_the_next_process(tmp_path):
    said = []

    async def leave(server):
        teacher = open_batch(server.url, tmp_path, poll_s=60, say=said.append)
        buying = asyncio.create_task(buy(teacher, 40, 40))
        while not server.asked["GET /v1/batches/{id}"]:
            await asyncio.sleep(0.01)
        teacher.stop()
        for _ in range(100):  # at once: not for the clock, the batch, or the next poll
            await asyncio.sleep(0)
        assert buying.done()
        with pytest.raises(Interrupted, match="stopped before"):
            await buying

    with BatchServer(takes_s=NEVER) as server:
        asyncio.run(leave(server))
        assert any("batch batch_0 (40 requests) goes on" in line for line in said)
        assert records(tmp_path) == []
        server.finish_all()
        # Only half of them are asked for any more; the rest is paid for all the same, and recorded.
        assert run(server, tmp_path, 20, say=said.append) == texts(20)
        assert len(server.batches) == 1
    assert len(records(tmp_path)) == 40
    assert any("of an earlier session" in line for line in said)
    assert "batch batch_0: completed, 40 of 40 answered" in said


def test_harvest_records_what_nobody_asks_for(tmp_path):
    async def harvested(server):
        ledger = Ledger(tmp_path / "calls.jsonl")
        teacher = BatchTeacher(
            BatchApi("big", base_url=server.url, api_key="x"), ledger, tmp_path / "batches.jsonl"
        )
        before, left = len(teacher.owed), await teacher.harvest()
        await teacher.close()
        ledger.close()
        return before, left, ledger.calls

    with BatchServer(takes_s=NEVER) as server:
        asyncio.run(left_running(open_batch(server.url, tmp_path), server, 20))
        assert asyncio.run(harvested(server)) == (20, 20, 0)
        server.finish_all()
        assert asyncio.run(harvested(server)) == (20, 0, 20)
        assert asyncio.run(harvested(server)) == (0, 0, 20)


@pytest.mark.parametrize("how", ["expired", "busy", "broken", "torn"])
def test_what_a_batch_leaves_goes_into_another(tmp_path, how):
    bad = {
        "expired": None,
        "busy": (429, error_body("slow down")),
        "broken": (500, error_body("oops")),
        "torn": (200, {"choices": 7}),
    }[how]

    def line(body, number):
        index = int(body["messages"][-1]["content"][1:])
        return bad if number == 0 and index % 3 == 0 else (200, completion(body))

    status = (lambda number: "expired" if number == 0 else "completed") if how == "expired" else None
    with BatchServer(line=line, status=status) as server:
        assert run(server, tmp_path, 30) == texts(30)
    assert [len(batch["lines"]) for batch in server.batches.values()] == [30, 10]
    assert len(records(tmp_path)) == 30


def test_few_requests_and_few_left_over_go_live_at_the_full_price(tmp_path):
    def line(body, number):
        late = number == 0 and body["messages"][-1]["content"] in ("q7", "q8")
        return None if late else (200, completion(body))

    with BatchServer(line=line) as server:
        assert run(server, tmp_path / "few", 9, live=live_pool(server)) == texts(9)
        assert (len(server.batches), sum(server.live.values())) == (0, 9)
        assert run(server, tmp_path / "many", 50, live=live_pool(server)) == texts(50)
    # The first goes ahead live, then 49 in a batch, of which two came back unanswered.
    assert (sum(server.live.values()), sum(server.billed.values())) == (9 + 1 + 2, 47)
    cost = Counter(call["cost_usd"] for call in records(tmp_path / "many"))
    assert cost == {LIVE_USD: 3, LIVE_USD / 2: 47}


def test_the_call_that_goes_ahead_learns_what_the_endpoint_does_not_take(tmp_path):
    def line(body, number):
        if "max_tokens" in body:
            return 400, error_body("Unsupported parameter", "unsupported_parameter", "max_tokens")
        return 200, completion(body)

    with BatchServer(line=line) as server:
        client = OpenAITeacher("big", base_url=server.url, api_key="none")
        pool = Pool(client)
        assert run(server, tmp_path / "a", 30, live=pool, left_out=client.left_out) == texts(30)
        assert len(server.batches) == 1
        # Without a live teacher it takes a batch to learn it.
        assert run(server, tmp_path / "b", 30) == texts(30)
        assert len(server.batches) == 3


def test_a_key_refused_live_stops_before_anything_is_uploaded(tmp_path):
    refuse = {"POST /v1/chat/completions": 401}.get
    with BatchServer(refuse=refuse) as server, pytest.raises(CredentialsError):
        run(server, tmp_path, 30, live=live_pool(server))
    assert not server.files


def test_a_request_refused_is_an_error_and_the_others_are_kept(tmp_path):
    def line(body, number):
        bad = body["messages"][-1]["content"] == "q11"
        return (400, error_body("q11 is malformed")) if bad else (200, completion(body))

    with BatchServer(line=line) as server, pytest.raises(TeacherError, match="malformed"):
        run(server, tmp_path, 30)
    assert len(records(tmp_path)) == 29


def test_a_request_the_filter_withholds_is_answered_by_that(tmp_path):
    refusal = 400, error_body("flagged", "content_filter")
    with BatchServer(line=lambda body, number: refusal) as server:
        assert run(server, tmp_path, 12) == [""] * 12
    assert {call["response"]["finish_reason"] for call in records(tmp_path)} == {"content_filter"}


def test_more_than_may_be_enqueued_is_sent_in_smaller_batches(tmp_path):
    with BatchServer(most=20, takes_s=0.1) as server:
        assert run(server, tmp_path, 60) == texts(60)
    sizes = [len(batch["lines"]) for batch in server.batches.values()]
    assert sizes == [0, 0, 15, 15, 15, 15]  # 60 and 30 are refused
    assert set(server.billed.values()) == {1}


def test_nothing_may_be_enqueued(tmp_path):
    with BatchServer(most=0) as server:
        assert run(server, tmp_path / "a", 60, live=live_pool(server)) == texts(60)
        assert sum(server.live.values()) == 60
        with pytest.raises(BudgetReached, match="enqueued"):
            run(server, tmp_path / "b", 12)


def test_a_batch_cancelled_at_the_endpoint_stops_and_keeps_what_it_had(tmp_path):
    def line(body, number):
        return None if number == 0 and body["messages"][-1]["content"] > "q2" else (200, completion(body))

    with BatchServer(line=line, status=lambda number: "completed" if number else "cancelled") as server:
        with pytest.raises(Interrupted, match="batch_0 was cancelled"):
            run(server, tmp_path, 30)
        bought = len(records(tmp_path))
        assert 0 < bought < 30
        assert run(server, tmp_path, 30) == texts(30)
    assert sum(server.billed.values()) == 30


@pytest.mark.parametrize(
    ("code", "kind", "what"),
    [
        ("model_not_found", TeacherError, "refuses the batch: no, says"),
        ("billing_hard_limit_reached", BudgetReached, "quota"),
    ],
)
def test_a_batch_that_fails_says_why_and_is_sent_again_next_time(tmp_path, code, kind, what):
    with BatchServer() as server:
        server.trouble = {"code": code, "message": f"no, says {SENTINEL}"}
        with pytest.raises(kind, match=what) as caught:
            run(server, tmp_path, 12, key=SENTINEL)
        assert SENTINEL not in caught.value.message
        server.trouble = None
        assert run(server, tmp_path, 12) == texts(12)


def test_a_batch_half_recorded_when_the_process_died_is_recorded_whole_and_once(tmp_path):
    def cut(name, lines):
        kept = (tmp_path / name).read_bytes().splitlines(keepends=True)[:lines]
        (tmp_path / name).write_bytes(b"".join(kept))

    with BatchServer() as server:
        answers, budget = budgeted(server, tmp_path, 0.5, 30)
        cut("calls.jsonl", 10)
        cut("batches.jsonl", -1)
        held_usd = next(one["held_usd"] for one in records(tmp_path, "batches.jsonl") if "held_usd" in one)
        (tmp_path / "budget.json").write_text(json.dumps({"in_flight_usd": held_usd}))
        answers, budget = budgeted(server, tmp_path, 0.5, 30)
    assert answers == texts(30)
    assert len(records(tmp_path)) == 30
    assert sum(server.billed.values()) == 30
    assert budget.spent_usd == pytest.approx(30 * LIVE_USD / 2)


def test_an_endpoint_without_batches_names_the_flag(tmp_path):
    with BatchServer(refuse={"POST /v1/files": 404}.get) as server, pytest.raises(UsageError) as caught:
        run(server, tmp_path, 12)
    assert caught.value.where == "--batch"
    assert "has no Batch API" in caught.value.message


def test_a_batch_the_endpoint_does_not_know_is_not_bought_again_in_silence(tmp_path):
    with BatchServer(takes_s=NEVER) as server:
        asyncio.run(left_running(open_batch(server.url, tmp_path), server, 20))
        server.batches.clear()
        with pytest.raises(UsageError, match="does not know batch batch_0") as caught:
            run(server, tmp_path, 20)
        assert not server.batches
    assert "batches.jsonl" in caught.value.hint


def test_who_asks_again_while_the_file_is_uploaded_buys_it_once(tmp_path):
    async def main(server):
        inner = open_batch(server.url, tmp_path, live_below=0)._teacher
        first = asyncio.create_task(inner.complete(asking("q")))
        while not inner._carrying:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        answer = await inner.complete(asking("q"))
        await inner.close()
        return answer.text

    with BatchServer() as server:
        assert asyncio.run(main(server)) == "to q"
        assert len(server.batches) == 1


def test_an_absent_endpoint_is_said_soon(tmp_path):
    with pytest.raises(TeacherError, match="cannot connect") as caught:
        asyncio.run(buy(open_batch("http://127.0.0.1:9/v1", tmp_path), 12, 12))
    assert "--base-url" in caught.value.hint


@pytest.mark.parametrize(
    "route",
    ["POST /v1/files", "POST /v1/batches", "GET /v1/batches/{id}", "GET /v1/files/{id}/content"],
)
def test_a_dropped_connection_costs_nothing(tmp_path, route):
    with BatchServer(lose=lambda at, number: at == route and number < 2) as server:
        assert run(server, tmp_path, 30) == texts(30)
    # A creation is not tried again but looked for.
    assert server.asked[route] == (1 if route == "POST /v1/batches" else 3)
    assert len(server.batches) == 1
    assert set(server.billed.values()) == {1}


def test_a_creation_that_failed_is_tried_again(tmp_path):
    refusals = iter([503, 429])
    refuse = lambda route: next(refusals, None) if route == "POST /v1/batches" else None  # noqa: E731
    with BatchServer(refuse=refuse) as server:
        assert run(server, tmp_path, 30) == texts(30)
    assert server.asked["POST /v1/batches"] == 3
    assert len(server.batches) == 1


def budgeted(server, folder, total_usd, calls):
    """Buy under a budget as a new session does; what the budget then says of itself."""
    prices = Prices(1.0, 10.0, source="test")
    ledger, journal = folder / "calls.jsonl", folder / "budget.json"
    folder.mkdir(exist_ok=True)
    budget = Budget(total_usd, prices, journal, standing(ledger, journal, prices))

    async def main():
        return await buy(open_batch(server.url, folder, budget=budget), calls, calls)

    try:
        return asyncio.run(main()), budget
    except BudgetReached:
        return None, budget
    finally:
        budget.close()


@pytest.mark.parametrize("uploads_s", [0.0, 0.2])  # the second: longer than a batch waits for more requests
def test_a_budget_is_never_overrun_by_batches_and_used_up(tmp_path, uploads_s):
    with BatchServer(uploads_s=uploads_s) as server:
        answers, budget = budgeted(server, tmp_path, 0.02, 40)
        assert answers is None
        sizes = [len(batch["lines"]) for batch in server.batches.values()]
        paid = sum(call["cost_usd"] for call in records(tmp_path))
        assert paid == pytest.approx(sum(sizes) * LIVE_USD / 2)
        assert 0.018 < paid <= 0.02
        assert sizes[0] > sizes[1] > 0
        assert (budget.spent_usd, budget.in_flight_usd) == (pytest.approx(paid), 0)
        answers, budget = budgeted(server, tmp_path, 0.1, 40)
        assert answers == texts(40)
    assert budget.spent_usd == pytest.approx(40 * LIVE_USD / 2)
    assert set(server.billed.values()) == {1}


def test_a_batch_left_running_stays_reserved_and_is_paid_once(tmp_path):
    polled, sent = "GET /v1/batches/{id}", []

    with BatchServer(takes_s=NEVER) as server:

        async def leave():
            journal, prices = tmp_path / "budget.json", Prices(1.0, 10.0, source="test")
            budget = Budget(0.06, prices, journal, Standing())
            teacher = open_batch(server.url, tmp_path, budget=budget)
            await left_running(teacher, server, 40)
            budget.close()
            return budget.in_flight_usd

        promised = asyncio.run(leave())
        assert 0.04 < promised < 0.06
        last = server.asked[polled] + 5

        def finish(route, number):
            if (route, number) == (polled, last):
                sent.append(sum(len(batch["lines"]) for batch in server.batches.values()))
                server.finish_all()

        server.lose = finish
        # Not all the others fit until the batch is in: 20 more would come to 0.02 on top.
        answers, budget = budgeted(server, tmp_path, 0.065, 60)
        assert answers == texts(60)
    assert len(sent) == 1
    assert sent[0] < 60
    assert budget.spent_usd == pytest.approx(60 * LIVE_USD / 2)
    assert budget.lost_usd == 0
    assert [len(batch["lines"]) for batch in server.batches.values()][:1] == [40]
    assert set(server.billed.values()) == {1}


@pytest.mark.parametrize(
    "route", ["POST /v1/files", "POST /v1/batches", "GET /v1/batches/{id}", "GET /v1/files/{id}/content"]
)
def test_kill_9_between_a_request_and_what_is_written_of_it(tmp_path, route):
    killed = []

    def kill(at, number):
        if at == route and not killed:
            killed.append(at)
            first.kill()
        return False

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["batch_buyer", "openai.resources.files", "openai.resources.batches"])
    with BatchServer(lose=kill) as server:
        for _ in range(2):
            first = start(processes, server, tmp_path)
            first.join(300)
            code = first.exitcode
            first.close()
    assert killed == [route]
    assert code == 0
    assert (tmp_path / "answers").read_text().split("\n") == texts(batch_buyer.CALLS)
    assert server.billed == {f"q{number}": 1 for number in range(batch_buyer.CALLS)}
    assert len(records(tmp_path)) == batch_buyer.CALLS


def test_a_batch_made_before_the_process_died_is_found_behind_others(tmp_path):
    """Killed between creation and its record: the line of the record is taken away."""

    with BatchServer(takes_s=NEVER) as server:
        asyncio.run(left_running(open_batch(server.url, tmp_path), server, 20))
        server.finish_all()
        log = tmp_path / "batches.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        assert json.loads(lines.pop())["kind"] == "created"
        log.write_bytes(b"".join(lines))
        for number in range(5):
            run(server, tmp_path / str(number), 12)
        assert run(server, tmp_path, 20) == texts(20)
    assert server.asked["GET /v1/batches"] == 3  # pages of two
    assert [len(batch["lines"]) for batch in server.batches.values()] == [20, 12, 12, 12, 12, 12]


def test_another_teachers_batches_are_left_alone(tmp_path):
    with BatchServer(takes_s=NEVER) as one, BatchServer() as other:
        asyncio.run(left_running(open_batch(one.url, tmp_path), one, 20))
        assert run(other, tmp_path, 20) == texts(20)


def test_a_longer_answer_does_not_come_out_of_a_batch_with_less_room(tmp_path):
    async def main(server):
        teacher = open_batch(server.url, tmp_path, live_below=0)
        short = asyncio.create_task(teacher.complete(asking("q", max_tokens=5)))
        while not server.batches:
            await asyncio.sleep(0.01)
        long = asyncio.create_task(teacher._teacher.complete(asking("q", max_tokens=50)))
        while len(server.batches) < 2:
            await asyncio.sleep(0.01)
        server.finish_all()
        await short
        text = (await long).text
        await teacher.close()
        return text

    with BatchServer(takes_s=NEVER) as server:
        assert asyncio.run(asyncio.wait_for(main(server), 60)) == "to q"
        assert [batch["lines"][0]["body"]["max_tokens"] for batch in server.batches.values()] == [5, 50]


def test_open_teacher_sends_batches_and_without_the_flag_still_collects_them(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SENTINEL)
    run_folder = Run(tmp_path / "runs" / "first")

    def opened(server, batch):
        config = TeacherConfig(teacher="big", base_url=server.url, price_in=1.0, price_out=10.0)
        teacher = open_teacher(config, run_folder, "generate", budget_usd=0.4, batch=batch)
        teacher._teacher._quiet_s = 0.02
        teacher._teacher._carrier._poll_s = 0.02
        return teacher

    async def main(server):
        await left_running(opened(server, True), server, 40)
        teacher = opened(server, False)
        buying = asyncio.create_task(buy(teacher, 60, 60))
        while server.live.total() < 1 + 20:  # these do not wait for the batch
            await asyncio.sleep(0.01)
        server.finish_all()
        return await buying, teacher.budget.spent_usd

    with BatchServer(takes_s=NEVER) as server:
        answers, spent_usd = asyncio.run(asyncio.wait_for(main(server), 60))
    assert answers == texts(60)
    assert (sum(server.billed.values()), sum(server.live.values())) == (39, 1 + 20)
    assert spent_usd == pytest.approx(
        sum(call["cost_usd"] for call in records(run_folder.root / "2-generate"))
    )


def test_live_calls_beside_an_old_batch_do_not_wait_for_each_other(tmp_path):
    async def main(server):
        inner = open_batch(
            server.url, tmp_path, live=live_pool(server), live_below=10**9, quiet_s=60
        )._teacher
        assert inner.most == 16
        answer = await inner.complete(asking("q"))
        await inner.close()
        return answer.text

    with BatchServer() as server:
        assert asyncio.run(main(server)) == "to q"


def test_the_key_is_in_no_file_and_no_error(tmp_path):
    said = []
    with BatchServer() as server:
        run(server, tmp_path, 30, key=SENTINEL, say=said.append, live=live_pool(server, key=SENTINEL))
        assert f"Bearer {SENTINEL}" in server.keys
        server.refuse = {"POST /v1/files": 400}.get  # its message quotes the key
        with pytest.raises(TeacherError, match="refuses the batch") as caught:
            run(server, tmp_path / "b", 12, key=SENTINEL, say=said.append)
    assert "[key]" in caught.value.message
    assert SENTINEL not in f"{caught.value.message} {said}"
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SENTINEL.encode() not in path.read_bytes(), path


def test_kill_9_at_any_moment_buys_nothing_twice(tmp_path):
    rng = random.Random(7)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["batch_buyer", "openai.resources.files", "openai.resources.batches"])
    with BatchServer(takes_s=0.4) as server:
        for _ in range(12):
            process = start(processes, server, tmp_path)
            process.join(rng.uniform(0.05, 0.9))
            process.kill()
            process.join()
            process.close()
        last = start(processes, server, tmp_path)
        last.join(300)
        assert last.exitcode == 0
        last.close()
    assert (tmp_path / "answers").read_text().split("\n") == texts(batch_buyer.CALLS)
    assert server.billed == {f"q{number}": 1 for number in range(batch_buyer.CALLS)}
    assert len({call["key"] for call in records(tmp_path)}) == len(records(tmp_path)) == batch_buyer.CALLS


def start(processes, server, folder):
    process = processes.Process(target=batch_buyer.main, args=(server.url, folder))
    process.start()
    return process
