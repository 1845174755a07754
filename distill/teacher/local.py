"""The embedded teacher: llama.cpp's own server in this process, spoken to over the OpenAI protocol.

Refuses every address but the loopback, and to write to the terminal.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.types import Completion, Request
from distill.weights import Weights

if TYPE_CHECKING:
    from distill.teacher.openai_client import OpenAITeacher

# Measured on 2 cores: 4, 8 and 16 slots give the same rate within noise; each takes 50 MB.
SLOTS = 8
# It does not hang, it is slow: giving up a call would throw away what was computed, and ask for it again.
PATIENCE_S = 900.0
CONTEXT_TOKENS = 2048
SILENT = -1
LOOK_S = 0.2


class LocalTeacher:
    """Answers with the GGUF in `weights`, up to `slots` requests at once. Costs nothing: 0.0 USD a call.

    The server starts with the first call: a run whose answers are all known loads no model, and one that is
    stopped before it has answered anything may never end. Raises UsageError where llama.cpp is not installed
    or, at the first call, cannot load the file.
    """

    def __init__(self, weights: Weights, *, slots: int = SLOTS, timeout_s: float = PATIENCE_S) -> None:
        self._weights, self._slots, self._timeout_s = weights, slots, timeout_s
        self._identity = identity(weights)
        self._server: Any = None
        self._client: OpenAITeacher | None = None
        llama(weights)

    @property
    def model(self) -> str:
        """What the weights are called."""
        return self._weights.label

    @property
    def identity(self) -> str:
        """What the weights are called and their size."""
        return self._identity

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """One attempt at the embedded server."""
        if self._client is None:
            self._client = self._connect()
        return await self._client.complete(request, sample)

    async def close(self) -> None:
        """Close the connections and stop the server."""
        if self._client is not None:
            await self._client.close()
        self._server = None

    def _connect(self) -> "OpenAITeacher":
        from distill.teacher.openai_client import OpenAITeacher

        self._server = start_server(self._weights, slots=self._slots)
        return OpenAITeacher(
            self._weights.label,
            base_url=f"{self._server.listening_address}/v1",
            api_key="none",
            timeout_s=self._timeout_s,
            price_in=0.0,
            price_out=0.0,
            # llama.cpp's server waits for open connections when it is stopped, for ever.
            keep_alive=False,
        )


def identity(weights: Weights) -> str:
    """What a GGUF is called and its size: port and folder decide no answer. Raises UsageError for no GGUF."""
    if weights.gguf_path is None:
        raise UsageError(f"{weights.label} is no GGUF file", where="--local-model")
    return f"local {weights.label} {weights.gguf_path.stat().st_size}"


def llama(weights: Weights) -> Any:
    """The module of llama.cpp. Raises UsageError where it is not installed, or `weights` is no GGUF file."""
    try:
        import xllamacpp
    except ImportError:
        raise UsageError(
            "the embedded teacher needs llama.cpp",
            where="--teacher local",
            hint="pip install 'distill[local]', or name a model at an endpoint: --teacher MODEL",
        ) from None
    if weights.gguf_path is None:
        raise UsageError(f"{weights.label} is no GGUF file", where="--local-model")
    return xllamacpp


def start_server(weights: Weights, *, slots: int) -> Any:
    """A llama.cpp server on a free loopback port, silent; freed when no one holds it any more."""
    xllamacpp = llama(weights)
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.gguf_path)
    params.model_alias = {weights.label}  # else every answer names the file's path
    params.n_ctx = slots * CONTEXT_TOKENS
    params.n_parallel = slots
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = SILENT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = free_cores()
    try:
        return xllamacpp.Server(params)
    except Exception as error:  # whatever the binding raises
        raise UsageError(
            f"llama.cpp cannot load {weights.label}: {error}",
            where="--local-model",
            hint="is it a whole GGUF file?",
        ) from None


def free_cores() -> int:
    """Of the cores this process may use, those nobody uses just now; at least one.

    llama.cpp's threads meet at a spinning barrier many times a token: one thread more than there are free
    cores makes it several times slower, one less costs its own share only.
    """
    try:
        mine = os.sched_getaffinity(0)
        before = _core_times(mine)
        time.sleep(LOOK_S)
        after = _core_times(mine)
    except (AttributeError, OSError):  # not Linux
        return os.cpu_count() or 1
    busy, whole = (now - then for now, then in zip(after, before, strict=True))
    return max(1, round(len(mine) * (1 - busy / max(whole, 1))))


def _core_times(cores: set[int]) -> tuple[int, int]:
    """Clock ticks since boot that `cores` were busy, and all their ticks (proc(5), /proc/stat)."""
    busy = whole = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.removeprefix("cpu").isdigit() and int(name[3:]) in cores:
            spent = [int(tick) for tick in ticks[:8]]  # the two after are counted in the first already
            whole += sum(spent)
            busy += sum(spent) - spent[3] - spent[4]  # idle, waiting for the disk
    return busy, whole
