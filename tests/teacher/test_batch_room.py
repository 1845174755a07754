"""Calls that wait for a batch, and for room in the budget: none is bought twice, unwanted, or forgotten."""

import asyncio
import contextlib
import gc
import warnings

import pytest
from batch_buyer import asking, buy, open_batch
from batch_server import NEVER, BatchServer

from distill.errors import CredentialsError, Interrupted
from distill.teacher.budget import Budget
from distill.teacher.prices import Prices
from distill.teacher.standing import Standing, standing

PRICES = Prices(1.0, 10.0, source="test")
TOTAL_USD = 0.06  # 40 calls in a batch come to 0.046 at worst


@contextlib.contextmanager
def budget_in(folder):
    budget = Budget(TOTAL_USD, PRICES, folder / "budget.json", Standing())
    try:
        yield budget
    finally:
        budget.close()


def journalled(folder):
    """What a process that started now would take for spent."""
    return standing(folder / "calls.jsonl", folder / "budget.json", PRICES)


async def happens(found):
    while not found():
        await asyncio.sleep(0.005)


async def short_of_room(teacher, budget):
    """The budget all taken, and `teacher` waiting for room: the number it is taken under."""
    waits, purse = asyncio.Event(), teacher._purse
    room_usd = purse.room_usd

    async def told(request):
        waits.set()
        return await room_usd(request)

    purse.room_usd = told
    taken = await budget.reserve(budget.room_usd)
    return waits, taken


def test_what_is_being_uploaded_has_its_room(tmp_path):
    """A call that takes all the room there is meanwhile, and costs it, does not take that of the batch."""

    async def main(server, budget):
        buying = asyncio.create_task(buy(open_batch(server.url, tmp_path, budget=budget), 40, 40))
        await happens(lambda: server.asked["POST /v1/files"])
        assert 0.04 < budget.in_flight_usd < TOTAL_USD
        assert journalled(tmp_path).lost_usd == 0  # a kill now loses nothing: there is no batch
        rest_usd = budget.room_usd
        budget.settle(await budget.reserve(rest_usd), rest_usd)
        server.uploads_s = 0.0
        await happens(lambda: server.asked["GET /v1/batches/{id}"])
        assert journalled(tmp_path).lost_usd > 0.04
        server.finish_all()
        return await buying, rest_usd

    with BatchServer(uploads_s=NEVER, takes_s=NEVER) as server, budget_in(tmp_path) as budget:
        answers, rest_usd = asyncio.run(main(server, budget))
        assert answers == [f"to q{number}" for number in range(40)]
        assert budget.spent_usd == pytest.approx(0.04 + rest_usd)
        assert budget.in_flight_usd == 0


def test_a_refused_upload_gives_its_room_back(tmp_path):
    refuse = lambda route: 401 if route == "POST /v1/files" else None  # noqa: E731
    with BatchServer(refuse=refuse) as server, budget_in(tmp_path) as budget:
        with pytest.raises(CredentialsError):
            asyncio.run(buy(open_batch(server.url, tmp_path, budget=budget), 40, 40))
        assert (budget.spent_usd, budget.in_flight_usd) == (0, 0)
        assert journalled(tmp_path) == Standing()


@pytest.mark.parametrize("returns", [True, False])
def test_who_leaves_while_there_is_no_room_costs_nothing_and_who_comes_back_pays_once(tmp_path, returns):
    async def main(server, budget):
        teacher = open_batch(server.url, tmp_path, budget=budget)._teacher
        waits, taken = await short_of_room(teacher, budget)
        left = asyncio.create_task(teacher.complete(asking("q")))
        await waits.wait()
        left.cancel()
        await asyncio.wait([left])
        again = asyncio.create_task(teacher.complete(asking("q"))) if returns else None
        await asyncio.sleep(0)
        budget.release(taken)
        if again:
            assert (await again).text == "to q"
        await teacher._gathering
        assert returns or not teacher._carrying
        await teacher.close()

    with BatchServer() as server, budget_in(tmp_path) as budget:
        asyncio.run(main(server, budget))
        assert server.billed == ({"q": 1} if returns else {})
        assert len(server.files) == 2 * returns


def test_a_stop_while_there_is_no_room_reaches_everyone_who_waits(tmp_path):
    """Also who asked for a shorter answer to the same request."""

    async def main(server, budget):
        teacher = open_batch(server.url, tmp_path, budget=budget)._teacher
        waits, _ = await short_of_room(teacher, budget)
        short = asyncio.create_task(teacher.complete(asking("q", max_tokens=5)))
        await waits.wait()
        long = asyncio.create_task(teacher.complete(asking("q", max_tokens=50)))
        await asyncio.sleep(0)
        teacher.stop()
        ended = await asyncio.wait_for(asyncio.gather(short, long, return_exceptions=True), 30)
        await teacher.close()
        return ended

    with BatchServer() as server, budget_in(tmp_path) as budget:
        assert [type(end) for end in asyncio.run(main(server, budget))] == [Interrupted, Interrupted]


def test_a_stop_before_anything_began_leaves_no_coroutine_behind(tmp_path):
    async def main(server):
        teacher = open_batch(server.url, tmp_path)._teacher
        asked = asyncio.create_task(teacher.complete(asking("q")))
        await asyncio.sleep(0)  # parked, and the task that gathers has not run yet
        teacher.stop()
        with pytest.raises(Interrupted):
            await asked
        await teacher.close()

    with BatchServer() as server, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(main(server))
        gc.collect()
    assert [str(warning.message) for warning in said if "never awaited" in str(warning.message)] == []
