"""Many works at once, results in order: the one way steps call a teacher concurrently.

Refuses to run ahead: no more than `ahead` items are ever taken from the source beyond what was handed on.
"""

import asyncio
from collections import deque
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
    works: deque[asyncio.Task[Any]] = deque()
    pull: asyncio.Task[list[T]] | None = None
    more = True
    try:
        while True:
            if pull is None and more and len(works) < ahead:
                pull = asyncio.create_task(_next(source))
            waiting = [task for task in (pull, works[0] if works else None) if task]
            if not waiting:
                return
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not pull or not pull.done():
                yield works.popleft().result()
                continue
            if pull.exception():
                more = False
                works.append(pull)  # raised when its turn comes
            else:
                more = bool(pull.result())
                works.extend(asyncio.create_task(_run(work, item)) for item in pull.result())
            pull = None
    finally:
        await _cancel([*([pull] if pull else []), *works])
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _run(work: Callable[[T], Awaitable[R]], item: T) -> R:
    return await work(item)


async def _next(source: AsyncIterator[T]) -> list[T]:
    """The next item alone in a list; an empty list at the end."""
    async for item in source:
        return [item]
    return []


async def _asynchronous(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
