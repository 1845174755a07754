"""A folder for students that are trained to be looked at and not to stay.

Refuses to say of an interrupted one that anything is kept.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.errors import Interrupted


@contextmanager
def folder_for(what: str) -> Iterator[Path]:
    """A folder that goes away. Interrupted inside, it says that `what` has to be done anew."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except Interrupted:
            raise Interrupted(f"interrupted while {what}: it has to be done anew") from None
