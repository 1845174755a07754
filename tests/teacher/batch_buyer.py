"""Buys answers through the Batch API: a process of its own, so that a test can kill it."""

import asyncio
from pathlib import Path

from distill.teacher.batch import BatchTeacher
from distill.teacher.batch_api import BatchApi
from distill.teacher.flow import ordered
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.types import Message, Request

CALLS = 60


def open_batch(url, folder, *, key="sk-none", ledger=None, settle_s=0.15, max_wait_s=60.0, **how):
    """A ledgered batch teacher in `folder`; quick, for tests."""
    api = BatchApi("big", base_url=url, api_key=key, settle_s=settle_s, max_wait_s=max_wait_s)
    ledger = ledger or Ledger(folder / "calls.jsonl")
    how = {"prices": (1.0, 10.0), "quiet_s": 0.02, "poll_s": 0.02} | how
    return Ledgered(BatchTeacher(api, ledger, folder / "batches.jsonl", **how), ledger)


def asking(text, **how):
    """A request of one message."""
    return Request((Message("user", text),), **how)


async def buy(teacher, calls=CALLS, ahead=CALLS):
    """The answers to so many questions, in order."""
    try:
        requests = [asking(f"q{index}") for index in range(calls)]
        return [answer.text async for answer in ordered(requests, teacher.complete, ahead)]
    finally:
        await teacher.close()


async def _main(url, folder):
    return await buy(open_batch(url, folder, most=20))


def main(url, folder):
    """Buy, then leave the answers in a file."""
    texts = asyncio.run(_main(url, Path(folder)))
    (Path(folder) / "answers").write_text("\n".join(texts))
