"""The floor: a bare aiohttp + uvloop loop that asks and keeps the answers. No retry, no ledger, no cost."""

import asyncio

import aiohttp
import arm
import uvloop


async def main() -> None:
    given = arm.arguments()
    inputs = arm.read(given.inputs)
    slots = asyncio.Semaphore(given.in_flight)
    url = given.base_url + "/chat/completions"

    async def one(session: aiohttp.ClientSession, text: str) -> tuple[str, str]:
        asked = {"model": arm.MODEL, "temperature": 0.0, "messages": arm.messages(text)}
        async with slots, session.post(url, json=asked) as response:
            body = await response.json()
            return text, body["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        arm.write(given.out, await asyncio.gather(*(one(session, text) for text in inputs)))


uvloop.run(main())
