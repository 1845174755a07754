"""An OpenAI-compatible endpoint on a free loopback port that misbehaves to order. Holds no test."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Fault:
    """One scripted answer: status, body (bytes, or JSON to be), headers, seconds to wait, where to cut it."""

    def __init__(self, status=200, body=None, headers=(), wait_s=0.0, cut=None, drop=False):
        self.status, self.body, self.headers = status, body, dict(headers)
        self.wait_s, self.cut, self.drop = wait_s, cut, drop


def error(status, message="no", code=None, param=None, **how):
    return Fault(status, {"error": {"message": message, "code": code, "param": param}}, **how)


def chat(text="ok", finish="stop", model="big", usage=(10, 2), **how):
    tokens = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True)) if usage else None
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return Fault(200, body | ({"usage": tokens} if tokens else {}), **how)


class FaultServer:
    """Answers by `script(number from 0, request body)`; counts what it answered with 200, by last message."""

    def __init__(self, script: "Callable[[int, dict], Fault] | list[Fault] | None" = None):
        self.script = script if callable(script) else self._listed(script or [])
        self.asked = []
        self.headers = []
        self.paths = []
        self.answered = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.let_go = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self), bind_and_activate=False)
        self._http.daemon_threads = True
        self._http.request_queue_size = 256
        self._http.server_bind()
        self._http.server_activate()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @staticmethod
    def _listed(faults):
        return lambda number, _: faults[number] if number < len(faults) else chat()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.let_go.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.asked)
                server.asked.append(body)
                server.paths.append(self.path)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.in_flight += 1
                server.most_in_flight = max(server.most_in_flight, server.in_flight)
            try:
                self._answer(server.script(number, body), body["messages"][-1]["content"])
            except OSError:
                self.close_connection = True  # the client went away
            finally:
                with server.lock:
                    server.in_flight -= 1

        def do_CONNECT(self):
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.close_connection = True
            self.send_error(403)

        def _answer(self, fault, key):
            server.let_go.wait(fault.wait_s)
            if fault.drop:
                self.close_connection = True
                return
            data = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
            self.send_response(fault.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with server.lock:  # counted before the client can have read it
                server.answered[key] += fault.status == 200
            self.wfile.write(data[: fault.cut])
            if fault.cut is not None:
                self.close_connection = True

        def handle(self):
            with contextlib.suppress(OSError, ValueError):  # a killed client sends half a request
                super().handle()

        def log_message(self, *_):
            pass

    return Handler
