"""What a knob is: a config field with its default, its help and its bounds. Reads nothing."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Any


def knob(default: Any, help: str, *, at_least: float | None = None, at_most: float | None = None) -> Any:
    """A config field: its default, its help text and the bounds a value must keep."""
    return field(default=default, metadata={"help": help, "at_least": at_least, "at_most": at_most})


def plain(config: Any) -> dict[str, Any]:
    """The config as JSON values, a line a field, as run.json holds it."""
    values = dataclasses.asdict(config)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
