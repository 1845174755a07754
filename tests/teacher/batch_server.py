"""An OpenAI-compatible endpoint with files, batches and chat, which bills what it answers. Holds no test."""

import asyncio
import json
import threading
import time
from collections import Counter

from aiohttp import web

NEVER = 10**9


def said(body):
    return body["messages"][-1]["content"]


def error_body(message, code=None, param=None):
    return {"error": {"message": message, "code": code, "param": param, "type": None}}


def completion(body, usage=(1000, 100), text=None):
    content = f"to {said(body)}" if text is None else text
    choice = {"index": 0, "message": {"role": "assistant", "content": content}}
    tokens = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    return {"model": "big-2026", "choices": [choice | {"finish_reason": "stop"}], "usage": tokens}


class BatchServer:
    """`line(body, batch number from 0)` is (status, body), or None for a line no one answers any more.

    An upload takes `uploads_s`, a batch `takes_s` (`NEVER`: until it is less, or `finish_all`), then it is
    `status(batch number)`. `billed` counts answers by batch, `live` those of chat, by last message.
    `lose(path, number)` true drops the connection after the request took effect; `refuse(path)` is a status
    to answer instead of doing anything. `most` requests may be enqueued; with `trouble` every batch fails.
    """

    def __init__(
        self, *, takes_s=0.0, uploads_s=0.0, line=None, status=None, lose=None, refuse=None, most=10**9
    ):
        self.takes_s, self.uploads_s, self.most = takes_s, uploads_s, most
        self.line = line or (lambda body, number: (200, completion(body)))
        self.status = status or (lambda number: "completed")
        self.lose, self.refuse = lose or (lambda path, number: False), refuse or (lambda path: None)
        self.files, self.batches, self.trouble = {}, {}, None
        self.billed, self.live, self.asked, self.keys = Counter(), Counter(), Counter(), set()
        self.ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self):
        self._thread.start()
        assert self.ready.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def finish_all(self):
        """Batches are over as soon as they are looked at, from now on."""
        self.takes_s = 0.0
        for batch in [*self.batches.values()]:
            batch["due"] = 0.0

    async def _serve(self):
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()

        @web.middleware
        async def misbehave(request, handler):
            return await self._misbehave(request, handler)

        app = web.Application(client_max_size=2**28, middlewares=[misbehave])
        app.add_routes(
            [
                web.post("/v1/files", self._upload),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create),
                web.get("/v1/batches", self._list),
                web.get("/v1/batches/{id}", self._retrieve),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _misbehave(self, request, handler):
        route = f"{request.method} {request.match_info.route.resource.canonical}"
        number = self.asked[route]
        self.asked[route] += 1
        self.keys.add(request.headers.get("Authorization"))
        if status := self.refuse(route):
            return web.json_response(error_body(f"no, says {self.keys}"), status=status)
        response = await handler(request)
        if self.lose(route, number):
            request.transport.abort()
        return response

    async def _upload(self, request):
        parts = await request.multipart()  # not post(): cut off, that leaves a temporary file open
        form = {part.name: bytes(await part.read()) async for part in parts}
        assert form["purpose"] == b"batch"
        began = time.time()
        while time.time() - began < self.uploads_s:
            await asyncio.sleep(0.01)
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"]
        return web.json_response({"id": name, "object": "file", "status": "processed"})

    async def _content(self, request):
        content = self.files.get(request.match_info["id"])
        return web.Response(body=content) if content is not None else self._absent()

    async def _create(self, request):
        asked = await request.json()
        assert asked["endpoint"] == "/v1/chat/completions"
        assert asked["completion_window"] == "24h"
        number = len(self.batches)
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        batch = {
            "id": f"batch_{number}",
            "object": "batch",
            "input_file_id": asked["input_file_id"],
            "metadata": asked["metadata"],
            "created_at": int(time.time()),
            "status": "validating",
            "lines": lines,
            "due": time.time() + self.takes_s,
        }
        waiting = sum(len(one["lines"]) for one in self.batches.values() if one["status"] == "validating")
        trouble = self.trouble
        if waiting + len(lines) > self.most:
            trouble = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached for big"}
        if trouble:
            batch |= {"status": "failed", "errors": {"object": "list", "data": [trouble]}, "lines": []}
        self.batches[batch["id"]] = batch
        return web.json_response(self._shown(batch))

    async def _list(self, request):
        newest = [*self.batches.values()][::-1]
        names = [batch["id"] for batch in newest]
        start = names.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = newest[start : start + 2]
        more = start + 2 < len(newest)
        return web.json_response({"data": [self._shown(batch) for batch in page], "has_more": more})

    async def _retrieve(self, request):
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return self._absent()
        if batch["status"] == "validating" and time.time() >= batch["due"]:
            self._finish(batch)
        return web.json_response(self._shown(batch))

    def _finish(self, batch):
        """Answer the last line first, and put what failed into a file of its own."""
        number = int(batch["id"].removeprefix("batch_"))
        good, bad = [], []
        for line in reversed(batch["lines"]):
            answer = self.line(line["body"], number)
            record = {"id": "r", "custom_id": line["custom_id"], "response": None, "error": None}
            if answer is None:
                record["error"] = {"code": "batch_expired", "message": "not executed in time"}
            else:
                record["response"] = {"status_code": answer[0], "request_id": "x", "body": answer[1]}
            self.billed[said(line["body"])] += answer is not None and answer[0] == 200
            (good if answer and answer[0] == 200 else bad).append(json.dumps(record))
        for field, records in (("output_file_id", good), ("error_file_id", bad)):
            if records:
                batch[field] = f"file-{len(self.files)}"
                self.files[batch[field]] = "\n".join(records).encode()
        batch |= {"status": self.status(number), "completed_at": batch["created_at"] + 40}
        batch["request_counts"] = {"completed": len(good), "failed": len(bad), "total": len(batch["lines"])}

    @staticmethod
    def _shown(batch):
        return {name: value for name, value in batch.items() if name not in ("lines", "due")}

    async def _chat(self, request):
        body = await request.json()
        status, answer = self.line(body, -1)
        self.live[said(body)] += status == 200
        return web.json_response(answer, status=status)

    @staticmethod
    def _absent():
        return web.json_response(error_body("no such thing"), status=404)
