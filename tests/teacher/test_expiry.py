"""When a model goes: as endpoints list it, and nothing where they do not."""

import asyncio
import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distill.teacher.expiry import Expiry, expiry_of, listed

DAY = datetime.date(2027, 3, 1)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"shutdown_date": "2027-03-01"}, "shutdown_date"),  # OpenAI
        ({"expiration_date": "2027-03-01"}, "expiration_date"),  # OpenRouter
        ({"deprecation": "2027-03-01T12:00:00Z"}, "deprecation"),  # Mistral
        ({"deprecation": {"fine_tune": 1, "inference": 1803859200}}, "deprecation"),  # Azure
        ({"shutdown_date": None, "deprecation_date": "2027-03-01"}, "deprecation_date"),
    ],
)
def test_dates_as_endpoints_write_them(entry, field):
    body = json.dumps(
        {"data": [{"id": "other", "shutdown_date": "2020-01-01"}, {"id": "big", **entry}]}
    ).encode()
    assert listed(body, "big") == Expiry("big", DAY, field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"[]",
        b'{"data": null}',
        b'{"data": [1, {"id": "big"}]}',
        b'{"data": [{"id": "big", "shutdown_date": null}]}',
        b'{"data": [{"id": "big", "shutdown_date": "soon", "deprecation": {"inference": 1e300}}]}',
        b'{"data": [{"id": "big", "expiration_date": true}]}',
    ],
)
def test_no_list_and_no_date_is_no_expiry(body):
    assert listed(body, "big") is None


def test_sentence_says_how_long_is_left():
    assert "(in 10 days)" in Expiry("big", DAY, "f").sentence(datetime.date(2027, 2, 19))
    assert "(1 days ago)" in Expiry("big", DAY, "f").sentence(datetime.date(2027, 3, 2))


class Models(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Authorization"]))
        body = json.dumps({"data": [{"id": "big", "shutdown_date": "2027-03-01"}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [200, 404, 500])
def test_the_endpoint_is_asked_once_and_a_refusal_is_no_error(status):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    server.status, server.seen = status, []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        found = asyncio.run(expiry_of("big", url, "key"))
    finally:
        server.shutdown()
        server.server_close()
    assert server.seen == [("/v1/models", "Bearer key")]
    assert (found is not None) == (status == 200)


def test_nobody_there_is_no_error():
    assert asyncio.run(expiry_of("big", "http://127.0.0.1:9/v1", "key")) is None
