"""What keeps a run from dying: memory measured after loading, passes halved, signals heard.

Refuses to lose a run to Ctrl-C: a signal is noted, and the step is finished.
"""

import gc
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from distill.errors import DeviceError, Interrupted
from distill.student.batches import by_tokens
from distill.student.device import Device
from distill.student.encode import Row
from distill.student.loop import Learner, Measured, step_loss, valid_loop

PASS_TOKENS = 16384  # padded tokens a pass holds at most: more is no faster
SHARE = 0.5  # of the free memory for what a pass keeps; the other half is for the backward pass's own
CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def free_bytes(device: Device) -> int:
    """Memory that a process may still take: the GPU's, else the machine's or its container's."""
    if device.name == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    import psutil  # type: ignore[import-untyped]

    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (path.read_text(encoding="ascii").strip() for path in CGROUP)
    except OSError:
        return free
    return min(free, int(limit) - int(used)) if limit.isdigit() else free


def release() -> None:
    """Let go of models that nobody has any more: they lie in cycles, where Python leaves them for a while."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def used_bytes(device: Device) -> int:
    """Memory this process holds: on a GPU the most that tensors took, else what is resident."""
    if device.name == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import psutil

    return int(psutil.Process().memory_info().rss)


def kept_bytes(learner: Learner, row: Row) -> int:
    """What one pass over `row` keeps for its backward pass, weights aside: counted as autograd packs it."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in learner.net.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), learner.device.autocast():
        held = learner.loss(learner.net, [row], learner.pad)  # alive while counted, so no storage is reused
    del held
    return sum(kept.values())


def passes_for(
    learner: Learner, rows: Sequence[Row], micro_batch: int | None, say: Callable[[str], None]
) -> "Passes":
    """How much a pass may hold: `micro_batch` rows, else what the longest row, measured, leaves room for."""
    longest = max(rows, key=lambda row: len(row.ids))
    with fits(longest):
        kept = kept_bytes(learner, longest)
    room = int(SHARE * free_bytes(learner.device)) // max(1, kept // len(longest.ids))
    say(f"a row of {len(longest.ids)} tokens keeps {size(kept)} for its backward pass")
    return Passes(min(PASS_TOKENS, max(len(longest.ids), room)), micro_batch, say)


class Passes:
    """Cuts batches into what a pass may hold, and halves that when it turns out too much."""

    def __init__(
        self,
        tokens: int = PASS_TOKENS,
        rows: int | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.tokens, self.rows, self._say = tokens, rows, say

    def cut(self, batch: Sequence[Row]) -> list[Sequence[Row]]:
        """`batch` in order, in pieces of at most `rows` rows and `tokens` padded tokens."""
        size = self.rows or len(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        return [piece for part in parts for piece in by_tokens(part, self.tokens)]

    def step_loss(self, learner: Learner, batch: Sequence[Row]) -> float:
        """`loop.step_loss`, tried again with half the rows a pass while memory runs out."""
        while True:
            try:
                return step_loss(learner, batch, self.cut)
            except (RuntimeError, MemoryError) as error:
                self._halve(error, batch)
            for parameter in learner.parameters:
                parameter.grad = None  # what the passes that did fit have added

    def measure(self, learner: Learner, rows: Sequence[Row], batch_size: int) -> Measured:
        """`loop.valid_loop`, likewise."""
        while True:
            try:
                return valid_loop(learner, rows, batch_size, self.cut)
            except (RuntimeError, MemoryError) as error:
                self._halve(error, rows[:batch_size])

    def _halve(self, error: Exception, batch: Sequence[Row]) -> None:
        if not is_out_of_memory(error):
            raise error
        most = max(map(len, self.cut(batch)))
        if most == 1:
            longest = max(batch, key=lambda row: len(row.ids))
            raise too_long(longest) from None
        self.rows = most // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._say(
            f"out of memory with {most} rows in a pass: going on with {self.rows}, still one step a batch"
        )


@contextmanager
def fits(row: Row) -> Iterator[None]:
    """Turn running out of memory into DeviceError naming `row`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_long(row) from None


def too_long(row: Row) -> DeviceError:
    """The error where not even one row fits."""
    return DeviceError(
        f"out of memory with a single row of {len(row.ids)} tokens",
        where=f"row {row.id}",
        hint="choose a smaller --student, or drop the longest rows",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out; torch's CPU allocator says it by a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(re.search("out of memory|not enough memory", str(error)))


@contextmanager
def stoppable(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came, to be asked after each step; the second leaves at once.

    Off the main thread, where Python takes no signal, the answer is always no.
    """
    asked = threading.Event()

    def hear(_number: int, _frame: object) -> None:
        if asked.is_set():
            os._exit(Interrupted.exit_code)
        asked.set()
        say("stopping after this step, with a checkpoint (Ctrl-C again leaves at once)")

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
