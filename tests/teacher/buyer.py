"""Buys answers through ledger and pool: a process of its own, so that a test can kill it."""

import asyncio
from pathlib import Path

from distill.teacher.flow import ordered
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.pool import Pool
from distill.types import Message, Request

CALLS = 400
AT_ONCE = 6


async def buy(url, path):
    client = OpenAITeacher("big", base_url=url, api_key="none", price_in=1.0, price_out=1.0)
    teacher = Ledgered(Pool(client, max_concurrency=AT_ONCE), Ledger(path))
    try:
        requests = [Request((Message("user", f"q{index}"),)) for index in range(CALLS)]
        return [answer.text async for answer in ordered(requests, teacher.complete, 2 * AT_ONCE)]
    finally:
        await teacher.close()


def main(url, path, answers):
    """Buy, then leave the answers in a file."""
    texts = asyncio.run(buy(url, Path(path)))
    Path(answers).write_text("\n".join(texts))
