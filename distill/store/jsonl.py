"""JSON lines on disk: append, repair, replace, read. The only module that opens one.

Append where a record cost money: one `write` a line, so a kill leaves at most one torn line, which the
next open repairs. Replace where a file is derived: written beside, synced, renamed. Damage in the middle
of a file is an error with its line number, never skipped.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from distill.errors import DataError, StorageError, UsageError

T = TypeVar("T")
MAX_LINE_BYTES = 16 * 2**20


def read(path: Path, record: type[T], *, hint: str = "") -> Iterator[tuple[int, T]]:
    """(line number from 1, record) for each non-blank line of `path`, validated as `record`.

    Raises UsageError where the file is absent, DataError with file:line where a line is not UTF-8, not
    JSON, not such a record, or longer than MAX_LINE_BYTES (nothing longer is ever held in memory).
    """
    decoder = msgspec.json.Decoder(record)
    for number, line in lines(path):
        try:
            yield number, decoder.decode(line)
        except msgspec.ValidationError as error:
            raise DataError(
                f"not a record of this kind: {error}", where=f"{path}:{number}", hint=hint
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"not a line of JSON: {error}",
                where=f"{path}:{number}",
                hint=hint or "one JSON object a line, UTF-8",
            ) from None


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, stripped bytes) for each non-blank line; raises as `raw_lines`."""
    for number, raw in raw_lines(path):
        if line := raw.strip():
            yield number, line


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, bytes with their line end, without a byte order mark) for each line.

    Raises UsageError where the file cannot be read, DataError on a line over MAX_LINE_BYTES, of which no
    more than that is ever read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UsageError("no such file", where=str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    with file:
        number = 0
        while chunk := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(chunk) > MAX_LINE_BYTES:
                raise DataError(
                    f"a line is over {MAX_LINE_BYTES // 2**20} MiB",
                    where=f"{path}:{number}",
                    hint="one JSON object a line",
                )
            yield number, chunk.removeprefix(b"\xef\xbb\xbf") if number == 1 else chunk


def repair(path: Path) -> int:
    """Cut a torn last line off `path` (one without a newline) and return how many bytes went."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
        return size - end


class Appender:
    """An append-only JSONL file, repaired on open. `append` returns once the kernel has the line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._encoder = msgspec.json.Encoder()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.repaired_bytes = repair(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise full_disk(path, error) from None

    def append(self, record: Any) -> None:
        """Write one record as one line, whole or not at all. Raises StorageError where the disk is full."""
        line = self._encoder.encode(record) + b"\n"
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._file, before)
            raise full_disk(self.path, error) from None

    def close(self) -> None:
        """Sync to the disk and close."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replace(path: Path, records: Iterable[Any]) -> None:
    """Write `records` as the whole of `path`, atomically."""
    encoder = msgspec.json.Encoder()
    replace_bytes(path, (encoder.encode(record) + b"\n" for record in records))


def replace_json(path: Path, value: Any) -> None:
    """Write `value` as the one, indented JSON document of `path`, atomically."""
    replace_bytes(path, [msgspec.json.format(msgspec.json.encode(value), indent=2), b"\n"])


def replace_bytes(path: Path, chunks: Iterable[bytes]) -> None:
    """Write `chunks` as the whole of `path`: into a neighbour, synced, then renamed over it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise full_disk(path, error) from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def full_disk(path: Path, error: OSError) -> StorageError:
    """The error a user reads when a write fails."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space and run the same command again: it resumes"
        return StorageError("the disk is full", where=str(path), hint=hint)
    hint = "check the path and its permissions, then run the same command again"
    return StorageError(f"cannot be written: {error.strerror}", where=str(path), hint=hint)
