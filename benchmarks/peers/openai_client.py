"""The openai client as it comes: AsyncOpenAI, a semaphore, gather."""

import asyncio

import arm
import openai


async def main() -> None:
    given = arm.arguments()
    inputs = arm.read(given.inputs)
    slots = asyncio.Semaphore(given.in_flight)

    async def one(client: openai.AsyncOpenAI, text: str) -> tuple[str, str]:
        async with slots:
            done = await client.chat.completions.create(
                model=arm.MODEL, temperature=0.0, messages=arm.messages(text)
            )
            return text, done.choices[0].message.content

    async with openai.AsyncOpenAI(base_url=given.base_url, api_key="none") as client:
        arm.write(given.out, await asyncio.gather(*(one(client, text) for text in inputs)))


asyncio.run(main())
