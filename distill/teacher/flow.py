"""Many works at once, results in order: the one way steps call a teacher concurrently.

Refuses to run ahead: no more than `ahead` items are ever taken from the source beyond what was handed on.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def ordered(
    items: AsyncIterable[T] | Iterable[T], work: Callable[[T], Awaitable[R]], ahead: int
) -> AsyncGenerator[R, None]:
    """`work(item)` for each item, up to `ahead` at once, results in the order of the items.

    An error of a work or of `items` is raised at its place in that order. However it ends (exhausted,
    error, closed early), what is still under way is cancelled and awaited, and `items` is closed. Wrap in
    `contextlib.aclosing` to leave early.
    """
    if ahead < 1:
        raise ValueError(f"ahead is {ahead}; it must be at least 1")
    source = aiter(items) if isinstance(items, AsyncIterable) else _asynchronous(items)
    room = asyncio.Semaphore(ahead)
    works: asyncio.Queue[asyncio.Future[R] | None] = asyncio.Queue()
    puller = asyncio.create_task(_pull(source, work, room, works))
    head: asyncio.Future[R] | None = None
    try:
        while (head := await works.get()) is not None:
            yield await head
            room.release()
        await puller  # raises what `items` raised
    finally:
        # All at once: whoever is cancelled twice gets no further than the first `await`.
        left: list[asyncio.Future[Any]] = [puller, *([head] if head else [])]
        while not works.empty():
            left += [later] if (later := works.get_nowait()) else []
        await _cancel(left)
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _pull(
    source: AsyncIterator[T],
    work: Callable[[T], Awaitable[R]],
    room: asyncio.Semaphore,
    works: "asyncio.Queue[asyncio.Future[R] | None]",
) -> None:
    """Start the work of each item as soon as there is room; None in the queue is the end, good or bad."""
    try:
        await room.acquire()
        async for item in source:
            works.put_nowait(asyncio.ensure_future(work(item)))
            await room.acquire()
    finally:
        works.put_nowait(None)


async def _cancel(tasks: "list[asyncio.Future[Any]]") -> None:
    for task in tasks:
        task.cancel()
        task.add_done_callback(_heard)
    await asyncio.gather(*tasks, return_exceptions=True)


def _heard(task: "asyncio.Future[Any]") -> None:
    """Take note of an error, so that asyncio does not print it: another one was raised already."""
    if not task.cancelled():
        task.exception()


async def _asynchronous(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
