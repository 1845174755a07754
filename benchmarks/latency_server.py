"""An OpenAI-compatible endpoint that answers after a fixed latency, fast enough to be nobody's bottleneck.

    python benchmarks/latency_server.py --latency-s 0.2      # prints its base URL, then serves

The answer is `label_of` the last user message, so that rows can be checked; `GET /count` says how many calls
came, how many were in flight at most and when the first came and the last left, since `POST /reset`. It
refuses to sleep on anything else: one process, bodies made once, no log.
"""

import argparse
import asyncio
import time

import msgspec
import uvloop
from aiohttp import web
from peers.arm import ANSWER_TOKENS, LABELS, MODEL, PROMPT_TOKENS, label_of

USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
}


def completion(label: str) -> bytes:
    """The body of a chat completion that says `label`."""
    message = {"role": "assistant", "content": label}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    head = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": MODEL}
    return msgspec.json.encode({**head, "choices": [choice], "usage": USAGE})


class Said(msgspec.Struct):
    role: str
    content: str | list[dict[str, str]]

    @property
    def text(self) -> str:
        """The content as one string; some clients send it in parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.get("text", "") for part in self.content)


class Asked(msgspec.Struct):
    messages: list[Said]


class Counts(msgspec.Struct):
    """Since the last reset; times are of `time.monotonic()`, in seconds."""

    calls: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    cpu_s: float = 0.0


class Server:
    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.counts = Counts()
        self.cpu_before = time.process_time()
        self.bodies = {label: completion(label) for label in LABELS}
        self.decoder = msgspec.json.Decoder(Asked)
        models = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}
        self.models = msgspec.json.encode(models)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        if path.endswith("/chat/completions"):
            return await self.complete(await request.read())
        if path == "/count":
            return answer(self.counted())
        if path == "/reset":
            self.counts, self.cpu_before = Counts(), time.process_time()
            return answer(b"{}")
        return answer(self.models) if path.endswith("/models") else web.Response(status=404)

    async def complete(self, body: bytes) -> web.Response:
        counts, came = self.counts, time.monotonic()
        asked = self.decoder.decode(body).messages
        if not asked:  # Curator sends one such request to read rate limits off the answer's headers
            return web.Response(status=400, text='{"error": {"message": "messages is empty"}}')
        counts.first_s = counts.first_s or came
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        await asyncio.sleep(self.latency_s)
        counts.in_flight -= 1
        counts.calls += 1
        counts.last_s = time.monotonic()
        return answer(self.bodies[label_of(asked[-1].text)])

    def counted(self) -> bytes:
        self.counts.cpu_s = time.process_time() - self.cpu_before
        return msgspec.json.encode(self.counts)


def answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def serve(latency_s: float, port: int) -> None:
    """Serve on loopback until the process is ended; prints the base URL once it listens."""
    runner = web.ServerRunner(web.Server(Server(latency_s).handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=2048)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latency-s", type=float, default=0.2)
    parser.add_argument("--port", type=int, default=0, help="default: a free one, printed")
    given = parser.parse_args()
    uvloop.run(serve(given.latency_s, given.port))


if __name__ == "__main__":
    main()
