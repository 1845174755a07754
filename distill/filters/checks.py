"""A user's own rules (`--check checks.py`), each a function, run in a process that can be killed.

Refuses to go on without them: a rule that raises, hangs or answers with something else stops the command,
with the line to look at. What was paid for is kept, and the same command goes on from there.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from distill.errors import UsageError
from distill.filters.rule import Rule
from distill.types import Candidate

WORKER = Path(__file__).with_name("check_worker.py")
HINT = "mend it and run the same command again: what was bought is kept and not bought twice"


def _as_dumped(path: Path) -> str:
    """`path` as faulthandler writes it, for a pattern."""
    return re.escape(str(path).encode("ascii", "backslashreplace").decode())


DUMP_ENDS = re.compile(rf'^  (?:File "{_as_dumped(WORKER)}", line \d+ in <module>|\.\.\.)$', re.MULTILINE)
START_S = 60.0
"""A file of rules may import something slow."""
LAST_WORDS_S = 10.0
"""How long a silent worker is waited for: it may get no time on a busy machine."""


def checks(path: Path, timeout_s: float, looks_at: Literal["input", "answer"]) -> list[Rule]:
    """A rule for each public function of `path` that looks at `looks_at`, named "check:" and its name.

    A function takes any of `input`, `answer` and `row` (all there is of the candidate) and returns the reason
    to drop the row, or False; True, None or "" keeps it. One that takes the input alone is asked before an
    answer is paid for. Raises UsageError, with file:line, where one cannot be used.
    """
    worker = Worker(path, timeout_s)
    names = [
        rule["name"] for rule in worker.rules if (rule["parameters"] == ["input"]) == (looks_at == "input")
    ]
    if not names:
        worker.close()
    return [_rule(worker, name, names) for name in names]


def _rule(worker: "Worker", name: str, names: Sequence[str]) -> Rule:
    def why(candidate: Candidate) -> str:
        return worker.reasons(candidate, names).get(name, "")

    return Rule(f"check:{name}", why, close=worker.close)


class Worker:
    """The process that holds the user's rules. All of a candidate's rules are asked at once."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        if not path.is_file():
            raise UsageError("no such file", where=f"--check {path}", hint="a Python file of functions")
        self._path, self._timeout_s = path.resolve(), timeout_s
        self._shown = path
        self._last: tuple[Candidate, dict[str, str]] | None = None
        self._unread = b""
        self._report = tempfile.NamedTemporaryFile(prefix="distill-check-")  # noqa: SIM115 - until close()
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(self._path), self._report.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours, and killing it kills what it started
        )
        try:
            self.rules: list[dict[str, Any]] = self._read("to load", START_S)["rules"]
        except BaseException:
            self.close()
            raise

    def reasons(self, candidate: Candidate, names: Sequence[str]) -> dict[str, str]:
        """Rule name -> why it drops `candidate`, for the first of `names` that does; {} where none does."""
        if self._last is None or self._last[0] is not candidate:
            row = msgspec.to_builtins(candidate)
            asked = msgspec.json.encode({"rules": names, "row": row}) + b"\n"
            with contextlib.suppress(BrokenPipeError):  # it died: reading says so
                self._process.stdin.write(asked)  # type: ignore[union-attr]
                self._process.stdin.flush()  # type: ignore[union-attr]
            self._last = candidate, self._read("for one row", self._timeout_s)["why"]
        return self._last[1]

    def close(self) -> None:
        """Kill the process. May be called twice."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]
            self._report.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def _read(self, what: str, timeout_s: float) -> dict[str, Any]:
        """The next line of the worker. Raises UsageError on a problem, a death or silence."""
        line = self._line(timeout_s)
        if line is None:
            raise self._hangs(what, timeout_s)
        if not line:
            raise UsageError("a rule ended its process", where=f"--check {self._shown}", hint=HINT)
        told: dict[str, Any] = msgspec.json.decode(line)
        if "problem" in told:
            raise self._problem(told.get("rule", ""), told["problem"], told["line"])
        return told

    def _line(self, timeout_s: float) -> bytes | None:
        """One line, b"" where the process ended, None where there was none in time."""
        descriptor = self._process.stdout.fileno()  # type: ignore[union-attr]
        until = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b""
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _hangs(self, what: str, timeout_s: float) -> UsageError:
        """Where the worker stands, by its last words, then kill it."""
        pattern = re.compile(rf'File "{_as_dumped(self._path)}", line (\d+) in (\S+)')
        frames: list[tuple[str, str]] = []
        until = time.monotonic() + LAST_WORDS_S
        said = ""
        while not frames and time.monotonic() < until:  # it may not have come to the rule yet: ask again
            asked = len(DUMP_ENDS.findall(said)) + 1
            self._process.send_signal(signal.SIGUSR1)
            while len(DUMP_ENDS.findall(said)) < asked and time.monotonic() < until:
                time.sleep(0.02)
                said = Path(self._report.name).read_text(errors="replace")
            frames = pattern.findall(said)
        self.close()
        # The dump has the innermost frame first: the line that hangs, and the rule that got there.
        line, rule = (frames[0][0], frames[-1][1]) if frames else (1, "")
        rule = "" if rule == "<module>" else rule
        return self._problem(rule, f"took more than {timeout_s:g} s {what}", int(line))

    def _problem(self, rule: str, what: str, line: int) -> UsageError:
        said = f"rule {rule}: {what}" if rule else what
        return UsageError(said, where=f"{self._shown}:{line}", hint=HINT)
