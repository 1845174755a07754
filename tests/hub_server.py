"""A stand-in for the Hugging Face Hub: it keeps what is sent to it, and who sent it."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class HubServer:
    """The few endpoints an upload calls. `status` answers every call with that refusal instead."""

    def __init__(self, *, status=200, private=None):
        self.calls, self.tokens, self.files, self.created = [], set(), {}, None
        self.status, self.private = status, private
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self._answer()

            def do_POST(self):
                self._answer()

            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = urlsplit(self.path).path
                hub.calls.append((self.command, path))
                hub.tokens.add(self.headers.get("Authorization"))
                status, said = hub.answer(self.command, path, body)
                sent = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method, path, body):
        if self.status != 200:
            return self.status, {"error": f"Invalid credentials: {sorted(map(str, self.tokens))}"}
        if path == "/api/repos/create":
            self.created = json.loads(body)
            url = f"{self.url}/datasets/{self.created['organization']}/{self.created['name']}"
            if self.private is not None:  # it was there before
                return 409, {"error": "You already created this dataset repo", "url": url}
            self.private = self.created["visibility"] == "private"
            return 200, {"url": url}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            asked = json.loads(body)["files"]
            return 200, {
                "files": [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked
                ]
            }
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {
                "success": True,
                "commitUrl": f"{self.url}/datasets/me/data/commit/abc",
                "commitOid": "abc",
            }
        if method == "GET" and path.startswith("/api/datasets/"):
            return 200, {"id": path.removeprefix("/api/datasets/"), "private": self.private, "sha": "abc"}
        return 404, {"error": "there is no such thing"}
