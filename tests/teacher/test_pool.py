import asyncio
import selectors
from time import monotonic

import pytest
from fault_server import Fault, FaultServer, chat, error

from distill.errors import BudgetReached, CredentialsError, Interrupted, TeacherError
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.pool import Pool
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Message, Request

pytestmark = pytest.mark.slow  # together they take seconds


def request(index=0):
    return Request((Message("user", f"q{index}"),))


class Clock(selectors.SelectSelector):
    """The time of a loop whose every wait is over at once, so that no stall of the machine counts."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "all wait, and nothing is to come"
        self.now += timeout + 1e-6
        return super().select(0)

    def run(self, work):
        loop = asyncio.SelectorEventLoop(self)
        loop.time = lambda: self.now
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("distill.teacher.pool.monotonic", lambda: clock.now)
    return clock


class Flaky:
    """A teacher that does what `script(number from 0)` says: returns text, or raises."""

    model = identity = "flaky"

    def __init__(self, script):
        self.script, self.asked, self.running, self.most = script, 0, 0, 0

    async def complete(self, request, sample=0):
        number, self.asked = self.asked, self.asked + 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.002)
            return Completion(self.script(number) or "ok")
        finally:
            self.running -= 1

    async def close(self):
        pass


def raising(fault):
    def script(number):
        raise fault

    return script


def first(count, fault):
    def script(number):
        if number < count:
            raise fault

    return script


def through(teacher, calls=1, run_by=asyncio.run, **how):
    async def run():
        pool = Pool(teacher, **how)
        try:
            return await asyncio.gather(*(pool.complete(request(i)) for i in range(calls))), pool
        finally:
            await pool.close()

    return run_by(run())


def test_no_more_at_once_than_allowed():
    teacher = Flaky(lambda _: None)
    answers, pool = through(teacher, calls=50, max_concurrency=4)
    assert len(answers) == 50
    assert teacher.most == 4
    assert pool.in_flight == 0


def test_failures_are_asked_again(clock):
    teacher = Flaky(first(2, TryAgain("HTTP 500")))
    through(teacher, run_by=clock.run)
    assert teacher.asked == 3


def test_a_call_that_keeps_failing_stops_with_what_failed_and_how_often(clock):
    teacher = Flaky(raising(TryAgain("HTTP 500: no")))
    with pytest.raises(TeacherError, match=r"HTTP 500: no \(tried \d+ times in \d s\)") as caught:
        through(teacher, run_by=clock.run, max_wait_s=0.5)
    assert 0.5 <= clock.now < 2
    assert "resumes" in caught.value.hint


def test_no_patience_is_one_try():
    with pytest.raises(TeacherError, match="tried once"):
        through(Flaky(raising(TryAgain("x"))), max_wait_s=0)


def test_what_no_retry_mends_is_raised_at_once():
    teacher = Flaky(raising(CredentialsError("no")))
    with pytest.raises(CredentialsError):
        through(teacher)
    assert teacher.asked == 1


def test_an_absent_endpoint_is_given_up_soon(clock):
    with pytest.raises(TeacherError, match="gone"):
        through(Flaky(raising(TryAgain("gone", unreachable=True))), calls=5, run_by=clock.run)
    assert clock.now < 5


def test_an_absent_endpoint_is_named():
    with FaultServer() as server:
        pass
    with pytest.raises(TeacherError, match=rf"{server.url}.*\(tried 3 times") as caught:
        through(OpenAITeacher("big", base_url=server.url, api_key="none"), calls=5)
    assert "--base-url" in caught.value.hint


def test_an_endpoint_that_once_answered_is_waited_for():
    faults = [None, *[TryAgain("gone", unreachable=True)] * 4]

    def script(number):
        if number < len(faults) and faults[number]:
            raise faults[number]

    async def run():
        pool = Pool(Flaky(script))
        pool._jitter.uniform = lambda low, high: 0.001
        await pool.complete(request())
        answer = await pool.complete(request())
        await pool.close()
        return answer.text

    assert asyncio.run(run()) == "ok"


def test_rate_limits_are_obeyed_cost_no_retry_and_cut_the_limit_once_a_burst(clock):
    async def run():
        teacher = Flaky(first(8, TryAgain("HTTP 429", 0.15, rate_limited=True)))
        pool = Pool(teacher, max_concurrency=8, max_wait_s=0)
        answers = await asyncio.gather(*(pool.complete(request(i)) for i in range(12)))
        assert clock.now >= 0.15
        assert len(answers) == 12
        assert teacher.asked == 20
        assert pool.limit == 6
        for _ in range(40):
            await asyncio.gather(*(pool.complete(request(i)) for i in range(8)))
        assert pool.limit == 8
        await pool.close()

    clock.run(run())


def test_nothing_but_rate_limits_for_too_long_stops(clock):
    limited = Flaky(raising(TryAgain("429", 0.02, rate_limited=True)))
    with pytest.raises(BudgetReached, match=r"rate limited for \d s without one answer") as caught:
        through(limited, calls=4, run_by=clock.run, max_limited_s=0.3)
    assert 0.3 <= clock.now < 2
    assert "resumes" in caught.value.hint
    assert "--max-concurrency" in caught.value.hint


@pytest.mark.parametrize("between", [None, TryAgain("HTTP 500")])
def test_rate_limits_with_anything_else_between_go_on(clock, between):
    def script(number):
        if number % 4 != 3:
            raise TryAgain("429", 0.05, rate_limited=True)
        if between and number < 12:
            raise between

    async def run():
        pool = Pool(Flaky(script), max_limited_s=0.2)
        pool._jitter.uniform = lambda low, high: 0.001
        for index in range(1 if between else 4):
            await pool.complete(request(index))
        assert clock.now > 0.5
        await pool.close()

    clock.run(run())


@pytest.mark.parametrize(("max_wait_s", "limited_s"), [(0, 600), (300, 600), (900, 1800)])
def test_rate_limits_are_borne_ten_minutes_or_twice_the_patience(max_wait_s, limited_s):
    assert Pool(Flaky(None), max_wait_s=max_wait_s)._max_limited_s == limited_s


def test_over_http_the_pause_holds_everyone_back():
    times = []

    def script(number, _):
        times.append(monotonic())
        return error(429, headers={"Retry-After": "0.3"}) if number == 0 else chat()

    async def run(url):
        pool = Pool(OpenAITeacher("big", base_url=url, api_key="none"), max_concurrency=2)
        head = asyncio.create_task(pool.complete(request()))
        while pool._resume_at < 0:
            await asyncio.sleep(0.005)
        await asyncio.gather(head, *(pool.complete(request(i)) for i in range(3)))
        await pool.close()

    with FaultServer(script) as server:
        asyncio.run(run(server.url))
    assert len(times) == 5
    assert times[1] - times[0] > 0.28


def test_stop_lets_what_is_sent_finish_and_nothing_else_start():
    async def run():
        teacher = Flaky(lambda _: None)
        pool = Pool(teacher, max_concurrency=2)
        calls = [asyncio.create_task(pool.complete(request(i))) for i in range(6)]
        await asyncio.sleep(0.001)
        assert pool.in_flight == 2
        pool.stop()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [Completion] * 2 + [Interrupted] * 4
        assert teacher.asked == 2
        with pytest.raises(Interrupted):
            await pool.complete(request())
        await pool.close()

    asyncio.run(run())


@pytest.mark.parametrize("fault", [TryAgain("503", 60), TryAgain("429", 60, rate_limited=True)])
def test_stop_ends_a_retry_sleep_at_once(clock, fault):
    async def run():
        pool = Pool(Flaky(raising(fault)))
        call = asyncio.create_task(pool.complete(request()))
        await asyncio.sleep(0.05)
        started = clock.now
        pool.stop()
        with pytest.raises(Interrupted):
            await call
        assert clock.now - started < 0.5
        await pool.close()

    clock.run(run())


def test_a_cancelled_call_in_the_queue_is_never_sent_and_loses_no_slot(clock):
    async def run():
        teacher = Flaky(lambda _: None)
        pool = Pool(teacher, max_concurrency=1)
        calls = [asyncio.create_task(pool.complete(request(i))) for i in range(4)]
        await asyncio.sleep(0.001)
        calls[1].cancel()
        calls[2].cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end).__name__ for end in ends] == [
            "Completion",
            "CancelledError",
            "CancelledError",
            "Completion",
        ]
        assert teacher.asked == 2
        await asyncio.wait_for(pool.complete(request()), 1)
        await pool.close()

    clock.run(run())


def test_what_is_sent_can_be_told_from_what_waits():
    async def run():
        pool = Pool(Flaky(lambda _: None), max_concurrency=1)
        sent, queued = (asyncio.create_task(pool.complete(request(i))) for i in range(2))
        assert not pool.is_sending(sent)
        await asyncio.sleep(0.001)
        assert pool.is_sending(sent)
        assert not pool.is_sending(queued)
        await asyncio.gather(sent, queued)
        assert not pool.is_sending(sent)
        await pool.close()

    asyncio.run(run())


def test_a_slot_given_to_a_call_just_cancelled_is_handed_on(clock):
    async def run():
        pool = Pool(Flaky(lambda _: None), max_concurrency=1)
        calls = [asyncio.create_task(pool.complete(request(i))) for i in range(3)]
        await asyncio.sleep(0.001)
        pool._leave()  # what the first call's end does: the second is given the slot, and cancelled at once
        pool._held += 1
        calls[1].cancel()
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert [type(end).__name__ for end in ends] == ["Completion", "CancelledError", "Completion"]
        await pool.close()

    clock.run(run())


def test_calls_in_flight_double_from_a_small_start(clock):
    async def run():
        teacher = Flaky(lambda _: None)
        pool = Pool(teacher, max_concurrency=100, start=8)
        calls = [asyncio.create_task(pool.complete(request(i))) for i in range(400)]
        seen = []
        while not all(call.done() for call in calls):
            await asyncio.sleep(0.0005)
            seen.append(pool.in_flight)
        assert seen[0] == 8
        assert max(seen) == teacher.most == 100
        # Doubling, 400 calls take 8 + 16 + 32 + 64 + 3 * 100; by one a round they would take twenty rounds.
        assert pool.limit == 100
        await pool.close()

    clock.run(run())


@pytest.mark.parametrize(("most", "limit"), [(4, 4), (64, 32), (512, 64), (1024, 128)])
def test_the_start_is_small_beside_what_is_allowed(most, limit):
    assert Pool(Flaky(None), max_concurrency=most).limit == limit


def test_a_call_that_takes_too_long_says_slow_down_once_a_burst():
    async def run():
        overdue = TryAgain("no answer within 9 s", lost=True, overdue=True)
        pool = Pool(Flaky(first(8, overdue)), max_concurrency=8)
        pool._jitter.uniform = lambda low, high: 0.001
        await asyncio.gather(*(pool.complete(request(i)) for i in range(8)))
        assert pool.limit == 6
        await pool.close()

    asyncio.run(run())


def test_a_dropped_connection_says_nothing_of_speed():
    async def run():
        pool = Pool(Flaky(first(8, TryAgain("dropped", lost=True))), max_concurrency=8)
        pool._jitter.uniform = lambda low, high: 0.001
        await asyncio.gather(*(pool.complete(request(i)) for i in range(8)))
        assert pool.limit == 8
        await pool.close()

    asyncio.run(run())


class Bounded:
    """A teacher that refuses what is over `bound` calls at once, and counts what it refused."""

    model = identity = "bounded"

    def __init__(self, bound):
        self.bound, self.running, self.refused = bound, 0, 0

    async def complete(self, request, sample=0):
        if self.running >= self.bound:
            self.refused += 1
            raise TryAgain("HTTP 429", 0.005, rate_limited=True)
        self.running += 1
        try:
            await asyncio.sleep(0.002)
            return Completion(request.messages[-1].content)
        finally:
            self.running -= 1

    async def close(self):
        pass


def test_a_rate_limit_that_moves_is_followed_without_a_failure_or_a_retry(clock):
    """`max_wait_s=0` allows no retry at all."""

    async def run():
        teacher = Bounded(24)
        pool = Pool(teacher, max_concurrency=64, max_wait_s=0)
        for bound, calls in ((24, 1500), (6, 800), (48, 3000)):
            teacher.bound, before = bound, teacher.refused
            limits = []

            async def one(index, limits=limits):
                answer = await pool.complete(request(index))
                limits.append(pool.limit)
                return answer.text

            texts = await asyncio.gather(*(one(index) for index in range(calls)))
            assert texts == [f"q{index}" for index in range(calls)]
            late = limits[len(limits) // 2 :]
            assert 0.6 * bound <= sum(late) / len(late) <= 1.2 * bound
            assert teacher.refused - before < 0.15 * calls
        await pool.close()

    clock.run(run())


def test_over_http_a_rate_limit_that_moves_is_followed():
    bounds = [*[12] * 150, *[3] * 60, *[20] * 150]

    def script(number, _):
        if server.in_flight > bounds[min(server.answered.total(), len(bounds) - 1)]:
            return error(429, headers={"retry-after-ms": "20"})
        return chat("same", wait_s=0.01)

    async def run():
        pool = Pool(OpenAITeacher("big", base_url=server.url, api_key="none"), max_wait_s=0)
        answers = await asyncio.gather(*(pool.complete(request(i)) for i in range(len(bounds))))
        await pool.close()
        return answers

    with FaultServer(script) as server:
        assert [answer.text for answer in asyncio.run(run())] == ["same"] * len(bounds)
        assert len(server.asked) > len(bounds)
        assert set(server.answered.values()) == {1}


FAULTS = {
    3: error(500),
    8: error(503),
    9: error(529, "overloaded"),
    10: error(502),
    21: chat(drop=True),
    25: chat("long" * 99, cut=40),
    31: Fault(200, b'{"choices": [{"mess'),
    36: error(429),
}


def test_every_answer_comes_through_a_bad_day():
    hung = []

    def script(number, body):
        asked = body["messages"][-1]["content"]
        if number in FAULTS or asked != "q14" or hung:
            return FAULTS.get(number) or chat(asked)
        hung.append(number)
        return chat(wait_s=30)

    async def run(url):
        patient, hasty = (OpenAITeacher("big", base_url=url, api_key="none", timeout_s=s) for s in (60, 2))
        patiently = patient.complete

        def complete(asked, sample=0):
            hangs = asked == request(14) and not hung
            return (hasty.complete if hangs else patiently)(asked, sample)

        patient.complete = complete
        pool = Pool(patient, max_concurrency=8)
        pool._jitter.uniform = lambda low, high: 0.01
        answers = await asyncio.gather(*(pool.complete(request(i)) for i in range(60)))
        await pool.close()
        await hasty.close()
        return [answer.text for answer in answers]

    with FaultServer(script) as server:
        assert asyncio.run(run(server.url)) == [f"q{index}" for index in range(60)]
        assert len(server.asked) == 60 + len(FAULTS) + len(hung)
        assert hung
