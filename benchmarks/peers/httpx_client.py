"""httpx alone: AsyncClient without a limit on connections, a semaphore, gather."""

import asyncio

import arm
import httpx


async def main() -> None:
    given = arm.arguments()
    inputs = arm.read(given.inputs)
    slots = asyncio.Semaphore(given.in_flight)
    url = given.base_url + "/chat/completions"

    async def one(client: httpx.AsyncClient, text: str) -> tuple[str, str]:
        asked = {"model": arm.MODEL, "temperature": 0.0, "messages": arm.messages(text)}
        async with slots:
            body = (await client.post(url, json=asked)).raise_for_status().json()
            return text, body["choices"][0]["message"]["content"]

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:
        arm.write(given.out, await asyncio.gather(*(one(client, text) for text in inputs)))


asyncio.run(main())
