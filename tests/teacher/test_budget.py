"""The money stop, measured at the endpoint's own bill: hung, dropped and killed calls are on it too."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import threading
import time

import pytest
from fault_server import FaultServer, chat, error

from distill.config import TeacherConfig
from distill.errors import BudgetReached, Interrupted, UsageError
from distill.store.run import Run
from distill.teacher.budget import Budget, Budgeted
from distill.teacher.flow import ordered
from distill.teacher.ledger import spent
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.opening import open_teacher
from distill.teacher.prices import Prices
from distill.teacher.standing import Standing, most_prompt_tokens, reconcile, standing
from distill.types import Message, Request

pytestmark = pytest.mark.slow  # together they take seconds

PRICES = Prices(1.0, 4.0)
MILLION = 1e6
LESS_THAN_A_TOKEN = 1e-9


def ask(index, max_tokens=200):
    return Request((Message("user", f"question number {index}"),), max_tokens=max_tokens)


class Biller:
    """Bills what it works on, whether its answer arrives or not: up to all that prompt and max_tokens allow.

    With faults, the first `slots` calls are answered well, once all of them are in flight.
    """

    slots = 64

    def __init__(self, seed, faults=True, delay_s=0.01):
        self.rng, self.faults, self.delay_s = random.Random(seed), faults, delay_s
        self.usd = 0.0
        self.kinds = []
        self.all_in = threading.Barrier(self.slots)

    def __call__(self, number, body):
        kind = self.rng.choices(
            ["ok", "drop", "hang", "cut", "500", "429"], [30, 1, 1, 1, 3, 1] if self.faults else [1] + [0] * 5
        )[0]
        kind = "ok" if number < self.slots else kind
        self.kinds.append(kind)
        if kind in ("500", "429"):
            return error(int(kind), headers={"Retry-After": "0.01"})
        prompt = self.rng.randint(1, len(body["messages"][0]["content"].encode()) + 16)
        answer = self.rng.randint(1, body["max_tokens"])
        self.usd += (prompt * PRICES.input + answer * PRICES.output) / MILLION
        wait_s = 3.0 if kind == "hang" else self.rng.uniform(0, self.delay_s)
        if self.faults and number < self.slots:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.all_in.wait(1.2)
        cut = 10 if kind == "cut" else None
        return chat(usage=(prompt, answer), wait_s=wait_s, drop=kind == "drop", cut=cut)


def opened(run, url, budget_usd, *, timeout_s=60.0, at_once=512):
    """512 at most is 64 from the start. Without a budget there is no price either."""
    price_in, price_out = (None, None) if budget_usd is None else (PRICES.input, PRICES.output)
    config = TeacherConfig(
        teacher="big",
        base_url=url,
        timeout_s=timeout_s,
        max_concurrency=at_once,
        price_in=price_in,
        price_out=price_out,
    )
    return open_teacher(config, run, "generate", budget_usd=budget_usd)


async def buy(teacher, calls):
    try:
        return [answer.text async for answer in ordered(map(ask, range(calls)), teacher.complete, 128)]
    finally:
        await teacher.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_64_in_flight_with_faults_never_overrun_the_bill_of_the_endpoint(tmp_path, seed):
    bill = Biller(seed)
    run = Run(tmp_path)
    total = 0.15
    with FaultServer(bill) as server:
        teacher = opened(run, server.url, total, timeout_s=1.5)
        with pytest.raises(BudgetReached) as caught:
            asyncio.run(asyncio.wait_for(buy(teacher, 5000), 60))
    assert server.most_in_flight >= 60
    assert {"drop", "hang", "cut", "500"} <= set(bill.kinds)
    assert bill.usd <= total
    assert bill.usd <= teacher.budget.spent_usd + LESS_THAN_A_TOKEN
    assert teacher.budget.spent_usd <= total
    assert teacher.budget.in_flight_usd == 0
    # What is left would not bear one more call at its worst.
    assert total - teacher.budget.spent_usd < teacher.budget.worst_usd(ask(5000))
    _, recorded_usd = spent(run.ledger("generate"))
    assert recorded_usd + teacher.budget.lost_usd == pytest.approx(teacher.budget.spent_usd)
    assert "budget is reached" in caught.value.message
    assert "perhaps" in caught.value.message
    assert caught.value.exit_code == 5


def test_a_larger_budget_goes_on_to_the_exact_number_and_buys_nothing_twice(tmp_path):
    bill = Biller(7, faults=False)
    run = Run(tmp_path)
    with FaultServer(bill) as server:
        for budget_usd in (0.03, 0.05):
            with pytest.raises(BudgetReached):
                asyncio.run(buy(opened(run, server.url, budget_usd), 300))
            assert budget_usd - 0.002 < bill.usd <= budget_usd
        answers = asyncio.run(buy(opened(run, server.url, 1.0), 300))
    assert len(answers) == 300
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 300
    assert standing(run.ledger("generate"), run.journal("generate"), PRICES).lost_usd == 0


def killed(url, root):
    asyncio.run(buy(opened(Run(root), url, 0.5, at_once=16), 5000))


def test_what_was_in_flight_at_kill_9_counts_as_spent(tmp_path):
    bill, rng, run = Biller(5, faults=False, delay_s=0.05), random.Random(1), Run(tmp_path)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["test_budget"])
    with FaultServer(bill) as server:
        for _ in range(6):
            asked = len(server.asked)
            process = processes.Process(target=killed, args=(server.url, tmp_path))
            process.start()
            while len(server.asked) < asked + 30 and process.is_alive():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
            process.join()
            time.sleep(0.1)  # what the server still works on goes on its bill
            now = standing(run.ledger("generate"), run.journal("generate"), PRICES)
            assert bill.usd <= now.total_usd + LESS_THAN_A_TOKEN
        assert now.lost_usd > 0
        with pytest.raises(BudgetReached):
            asyncio.run(buy(opened(run, server.url, 0.5), 5000))
    assert 0.4 < bill.usd <= 0.5


def test_calls_that_wait_for_room_are_let_go_when_stopped(tmp_path):
    with FaultServer(lambda number, body: chat(usage=(5, 5), wait_s=60)) as server:

        async def stop_early():
            teacher = opened(Run(tmp_path), server.url, 0.0025)
            calls = [asyncio.create_task(teacher.complete(ask(index))) for index in range(20)]
            while teacher.budget.in_flight_usd == 0 or not server.asked:
                await asyncio.sleep(0.005)
            teacher.stop()
            for _ in range(100):  # at once: not for the clock, nor for what is sent, which goes on
                await asyncio.sleep(0)
            assert sum(call.done() for call in calls) >= 17
            server.let_go.set()
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
            await teacher.close()
            return outcomes

        outcomes = asyncio.run(stop_early())
    sent = len(server.asked)
    assert 1 <= sent <= 3
    assert sum(isinstance(outcome, Interrupted) for outcome in outcomes) == 20 - sent
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == sent


def test_a_call_that_does_not_fit_waits_for_those_in_flight_and_then_goes(tmp_path):
    with FaultServer(lambda number, body: chat(usage=(5, 5), wait_s=0.05)) as server:
        # Room for one call at its worst, and in truth for many: they go one after the other.
        teacher = opened(Run(tmp_path), server.url, 0.0019)
        assert 0.00095 < teacher.budget.worst_usd(ask(0)) <= 0.0019
        assert len(asyncio.run(buy(teacher, 12))) == 12
    assert server.most_in_flight == 1
    assert teacher.budget.spent_usd == pytest.approx(12 * 25 / MILLION)


def test_one_that_stops_stops_all_and_each_says_so(tmp_path):
    with FaultServer(lambda number, body: chat(usage=(5, 200))) as server:

        async def all_at_once():
            teacher = opened(Run(tmp_path), server.url, 0.0045)
            calls = [teacher.complete(ask(index)) for index in range(60)]
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
            await teacher.close()
            return outcomes

        outcomes = asyncio.run(all_at_once())
    assert len(server.asked) == 5
    assert [type(outcome) for outcome in outcomes].count(BudgetReached) == 55
    told = next(outcome for outcome in outcomes if isinstance(outcome, BudgetReached))
    assert told.message.startswith("the budget is reached: $0.0040 of $0.0045 spent, nothing in flight")


def test_an_answer_dearer_than_its_worst_is_counted_and_later_calls_reserve_as_much(tmp_path):
    with FaultServer(lambda number, body: chat(usage=(5, 2000))) as server:
        teacher = opened(Run(tmp_path), server.url, 0.1, at_once=1)
        with pytest.raises(BudgetReached):
            asyncio.run(buy(teacher, 100))
    assert len(server.asked) == 12  # the thirteenth would go over, by what the first showed
    assert teacher.budget.spent_usd == pytest.approx(12 * 8005 / MILLION)


def test_an_answer_without_usage_counts_at_its_worst_once(tmp_path):
    run = Run(tmp_path)
    with FaultServer([chat(usage=None)]) as server:
        teacher = opened(run, server.url, 0.1)
        asyncio.run(buy(teacher, 1))
    worst = teacher.budget.worst_usd(ask(0))
    assert teacher.budget.spent_usd == pytest.approx(worst)
    assert standing(run.ledger("generate"), run.journal("generate"), PRICES) == Standing(worst, 0.0, 0.0)


def test_calls_bought_before_a_price_was_known_are_priced_by_their_tokens(tmp_path):
    run = Run(tmp_path)
    with FaultServer([chat(usage=(100, 50))]) as server:
        asyncio.run(buy(opened(run, server.url, None), 1))
    assert spent(run.ledger("generate")) == (1, None)
    before = standing(run.ledger("generate"), run.journal("generate"), PRICES)
    assert before.recorded_usd == pytest.approx(300 / MILLION)


def test_a_session_without_a_budget_keeps_what_an_earlier_one_may_owe(tmp_path):
    journal = tmp_path / "budget.json"
    reconcile(tmp_path / "calls.jsonl", journal, PRICES)
    assert not journal.exists()
    journal.write_text('{"recorded_usd": 0.25, "lost_usd": 1.0, "in_flight_usd": 0.5}')
    reconcile(tmp_path / "calls.jsonl", journal, PRICES)
    reconcile(tmp_path / "calls.jsonl", journal, PRICES)
    assert json.loads(journal.read_text()) == {"recorded_usd": 0.0, "lost_usd": 1.75, "in_flight_usd": 0.0}


def test_a_damaged_journal_is_told(tmp_path):
    journal = tmp_path / "budget.json"
    journal.write_text('{"recorded_usd": "much"}')
    with pytest.raises(UsageError) as caught:
        standing(tmp_path / "calls.jsonl", journal, PRICES)
    assert caught.value.where == str(journal)


def test_a_prompt_longer_than_its_price_holds_for_is_refused(tmp_path):
    budget = Budget(9.0, Prices(1.0, 1.0, up_to=1000), tmp_path / "budget.json", Standing())
    assert budget.worst_usd(ask(0)) > 0
    with pytest.raises(UsageError) as caught:
        budget.worst_usd(Request((Message("user", "x" * 800),)))
    assert caught.value.where == "--budget"
    budget.close()


def test_no_prompt_has_more_tokens_than_the_bound():
    request = Request((Message("user", "né\ud800"), Message("assistant", "日本")), response_format={"a": "b"})
    assert most_prompt_tokens(request) == (6 + 6) + len('{"a":"b"}') + 2 * 16 + 256


def test_a_cancelled_call_counts_as_sent(tmp_path):
    with FaultServer(lambda number, body: chat(wait_s=5)) as server:

        async def give_up():
            client = OpenAITeacher("big", base_url=server.url, api_key="none", price_in=1.0, price_out=1.0)
            budget = Budget(1.0, PRICES, tmp_path / "budget.json", Standing())
            teacher = Budgeted(client, budget)
            call = asyncio.create_task(teacher.complete(ask(0)))
            while not server.asked:
                await asyncio.sleep(0.005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await teacher.close()
            return budget

        budget = asyncio.run(give_up())
    assert budget.lost_usd == budget.worst_usd(ask(0))
    assert "perhaps" in budget.sentence()


def test_the_journal_is_one_line_however_much_is_in_it(tmp_path):
    journal = tmp_path / "budget.json"
    budget = Budget(1e9, PRICES, journal, Standing(1 / 3 * 1e-7, 2 / 3 * 1e8, 0.0))
    size = os.path.getsize(journal)
    held = asyncio.run(budget.reserve(1 / 7))
    assert json.loads(journal.read_text())["in_flight_usd"] == 1 / 7
    budget.settle(held, 1 / 9)
    assert json.loads(journal.read_text())["in_flight_usd"] == 0
    assert os.path.getsize(journal) == size == 256
    budget.close()
