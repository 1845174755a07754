"""Every error a user can meet, one exit code each. Holds no logic and refuses to print.

DistillError            1  something went wrong that is not the user's doing (endpoint, disk, bug)
├── TeacherError        1  the endpoint cannot be reached, or answers what no retry mends
│   └── TeacherGone     1  nothing answers at the endpoint, and nothing did before
├── StorageError        1  the disk is full, or a file cannot be written
├── UsageError          2  a flag, a file or a task is wrong
│   ├── DataError       2  a line of a file is wrong (`where` is file:line)
│   └── UnknownModel    2  the endpoint has no such model, or none any more
├── GateFailed          3  the student did not pass the quality gate
├── CredentialsError    4  no key, or a key the endpoint refuses
├── BudgetReached       5  the money or quota is spent; resumable
├── RunLocked           6  another process holds the run
├── DeviceError         7  out of memory, or the device asked for is absent
└── Interrupted       130  Ctrl-C; resumable
"""

from typing import ClassVar


class DistillError(Exception):
    """What happened, `where` (a file:line or a --flag) and a `hint` on what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint


class TeacherError(DistillError):
    """The teacher's endpoint cannot be reached, or answers what no retry mends."""


class TeacherGone(TeacherError):
    """Nothing answers at the teacher's endpoint, and nothing did before in this session."""


class StorageError(DistillError):
    """A file cannot be written: disk full, no permission."""


class UsageError(DistillError):
    """A flag, a file or a task is wrong."""

    exit_code = 2


class DataError(UsageError):
    """A line of a data file is wrong."""


class UnknownModel(UsageError):
    """The endpoint has no such model, or none any more; or the base URL is another one's."""


class GateFailed(DistillError):
    """The student did not pass the quality gate."""

    exit_code = 3


class CredentialsError(DistillError):
    """No API key, or one the endpoint refuses."""

    exit_code = 4


class BudgetReached(DistillError):
    """The money or the provider's quota is spent. Resumable."""

    exit_code = 5


class RunLocked(DistillError):
    """Another process is working on the run."""

    exit_code = 6


class DeviceError(DistillError):
    """Out of memory, or the device asked for is not there."""

    exit_code = 7


class Interrupted(DistillError):
    """Stopped by Ctrl-C; everything paid for is kept. Resumable."""

    exit_code = 130
