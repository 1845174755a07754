"""Config dataclasses to click options and back: one field = one flag. Holds no option of its own."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

C = TypeVar("C")


def flag(name: str) -> str:
    """The flag of a config field: `max_drop` -> `--max-drop`."""
    return "--" + name.replace("_", "-")


def options(
    *configs: type, only: Collection[str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a click command with the flags of `configs`, or `only` some; one left out arrives as None."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        # A flag that several steps have (--seed) stands once and goes to each of them.
        flags = {
            field.name: option(config, field)
            for config in configs
            for field in dataclasses.fields(config)
            if only is None or field.name in only
        }
        for add in reversed(flags.values()):
            command = add(command)
        return command

    return decorate


def option(config: type, field: dataclasses.Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The click option of one field; its default is shown, not set: 'left out' differs from 'given'."""
    kind = typing.get_type_hints(config)[field.name]
    help_text = field.metadata["help"]
    if field.default not in (None, ()):
        help_text += f"  [default: {field.default}]"
    if kind is bool:
        return click.option(
            flag(field.name), field.name, is_flag=True, default=None, help=field.metadata["help"]
        )
    if typing.get_origin(kind) is tuple:
        return click.option(flag(field.name), field.name, multiple=True, help=help_text)
    return click.option(
        flag(field.name), field.name, type=parameter(kind, field.metadata), default=None, help=help_text
    )


def parameter(kind: Any, bounds: Mapping[str, Any]) -> click.ParamType[Any]:
    """The click type of an annotation, with its bounds."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return click.Choice(typing.get_args(kind))
    if kind is Path:
        return click.Path(path_type=Path)
    if kind is int:
        return click.IntRange(bounds["at_least"], bounds["at_most"])
    return Number(bounds["at_least"], bounds["at_most"]) if kind is float else click.STRING


class Number(click.FloatRange):
    """A number within bounds; "nan" and "inf" parse as floats, and no bound stops them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails as click does on what is none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def fill(config: type[C], given: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> C:
    """The config: a flag given, else what the run used `before`, else the default."""
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = {name: value for name, value in (before or {}).items() if name in names}
    values |= {name: value for name, value in given.items() if name in names and value is not None}
    return config(**values)
