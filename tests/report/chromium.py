"""A headless Chromium driven over its debugging pipe: no driver, no port, no package."""

import fcntl
import itertools
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find():
    """The browser of this machine ($CHROMIUM first), or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab: what it said on its console, what it asked the network for, and what its script answers."""

    def __init__(self, reading, writing):
        self._reading, self._writing, self._numbers = reading, writing, itertools.count(1)
        self._session, self._left = None, b""
        self.said, self.requests, self.loaded = [], [], 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{part}.enable")

    def call(self, method, **given):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]

    def _next(self):
        while b"\0" not in self._left:
            got = os.read(self._reading, 1 << 20)
            assert got, "the browser is gone"
            self._left += got
        line, self._left = self._left.split(b"\0", 1)
        event = json.loads(line)
        kind, told = event.get("method"), event.get("params", {})
        if kind in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(told)
        elif kind == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif kind == "Page.loadEventFired":
            self.loaded += 1
        return event

    def open(self, path):
        before = self.loaded
        self.call("Page.navigate", url=path.as_uri())
        while self.loaded == before:
            self._next()

    def run(self, script):
        """What the expression gives, as JSON."""
        given = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in given, given
        return given["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def look(self, *, width, dark=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])


@contextmanager
def browser(folder):
    """A `Page` of a fresh browser whose profile is in `folder`."""
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for pair in (os.pipe(), os.pipe()) for end in pair]
    theirs_in, ours_out, ours_in, theirs_out = ends

    def at_three_and_four():
        os.dup2(theirs_in, 3)
        os.dup2(theirs_out, 4)

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        [find(), *flags, f"--user-data-dir={folder}"],
        pass_fds=(3, 4),
        preexec_fn=at_three_and_four,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Page(ours_in, ours_out)
    finally:
        process.terminate()
        process.wait(20)
        for end in ends:
            os.close(end)
