import asyncio
import contextlib
import gc
from collections import Counter
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.teacher.flow import ordered


def others():
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@settings(max_examples=60, deadline=None)
@given(
    waits=st.lists(st.integers(0, 3), max_size=12),
    ahead=st.integers(1, 5),
    asynchronous=st.booleans(),
    leave=st.integers(0, 13),
)
def test_order_is_kept_and_nothing_runs_further_ahead_than_allowed(waits, ahead, asynchronous, leave):
    async def run():
        pulled, running, most, out = 0, 0, 0, []

        def items():
            nonlocal pulled
            for index, wait in enumerate(waits):
                pulled += 1
                assert pulled <= len(out) + ahead
                yield index, wait

        async def async_items():
            for item in items():
                await asyncio.sleep(0)
                yield item

        async def work(item):
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(item[1]):
                await asyncio.sleep(0)
            running -= 1
            return item[0]

        source = async_items() if asynchronous else items()
        async with contextlib.aclosing(ordered(source, work, ahead)) as results:
            async for result in results:
                if len(out) == leave:
                    break
                out.append(result)
        assert out == list(range(min(leave, len(waits))))
        assert most <= ahead
        assert not others()

    asyncio.run(run())


def test_stages_compose_and_overlap():
    running, most = Counter(), Counter()

    def stage(name):
        async def slow(item):
            running.update((name, "both"))
            for each in (name, "both"):
                most[each] = max(most[each], running[each])
            for _ in range(50):
                await asyncio.sleep(0)
            running.subtract((name, "both"))
            return item + 1

        return slow

    async def run():
        out = [x async for x in ordered(ordered(range(32), stage("first"), 16), stage("second"), 16)]
        assert out == [item + 2 for item in range(32)]
        assert most["first"] == most["second"] == 16
        assert most["both"] > 16
        assert not others()

    asyncio.run(run())


def test_a_ready_result_is_not_held_back_by_a_slow_source():
    async def run():
        async def source():
            yield 1
            await asyncio.Event().wait()

        async def work(item):
            return item

        async with contextlib.aclosing(ordered(source(), work, 4)) as results:
            assert await asyncio.wait_for(anext(results), 30) == 1
        assert not others()

    asyncio.run(run())


@pytest.mark.parametrize("in_source", [True, False])
def test_an_error_comes_in_its_turn_and_leaves_no_task(in_source):
    async def run():
        async def source():
            for index in range(9):
                if in_source and index == 3:
                    raise RuntimeError("three")
                yield index

        async def work(item):
            await asyncio.sleep(0.002 * (5 - item) if item < 5 else 9)
            if item == 3:
                raise RuntimeError("three")
            return item

        out = []

        async def drain():
            async for item in ordered(ordered(source(), work, 4), work, 4):
                out.append(item)

        with pytest.raises(RuntimeError, match="three"):
            await drain()
        assert out == [0, 1, 2]
        assert not others()

    asyncio.run(run())


def test_closing_early_closes_the_stages_before_it():
    async def run():
        closed = cancelled = 0

        async def source():
            nonlocal closed
            try:
                for index in range(99):
                    yield index
            finally:
                closed += 1

        async def work(item):
            nonlocal cancelled
            try:
                await asyncio.sleep(0.001 if item == 0 else 9)
            except asyncio.CancelledError:
                cancelled += 1
                raise
            return item

        async with contextlib.aclosing(ordered(ordered(source(), work, 3), work, 3)) as results:
            assert await anext(results) == 0
        assert closed == 1
        assert cancelled >= 2
        assert not others()

    asyncio.run(run())


def test_far_ahead_costs_no_more_an_item_than_a_little():
    async def cost_s(ahead):
        started = process_time()
        assert [x async for x in ordered(range(6000), later, ahead)] == list(range(6000))
        return process_time() - started

    async def later(item):
        await asyncio.sleep(0)
        return item

    async def run():
        assert await cost_s(3000) < 5 * await cost_s(8)

    asyncio.run(run())


def test_no_room_is_an_error():
    async def run():
        with pytest.raises(ValueError, match="ahead"):
            await anext(ordered([1], asyncio.sleep, 0))

    asyncio.run(run())


def test_who_is_cancelled_twice_leaves_no_error_for_asyncio_to_print():
    """As where several stages fail at once: each cancels the one before it, which is cleaning up already."""
    told = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: told.append(context["message"])
        )
        failing = asyncio.Event()

        async def work(number):
            if number:
                try:
                    await failing.wait()
                finally:
                    raise OSError("the disk is full")
            return number

        async def consume():
            async with contextlib.aclosing(ordered(range(4), work, ahead=4)) as results:
                async for _ in results:
                    failing.set()
                    await asyncio.sleep(3600)

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del task
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    gc.collect()
    assert told == []
