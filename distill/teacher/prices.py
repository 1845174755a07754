"""What a token costs: by flag, by the user's price file, or by the dated table that ships with distill.

Refuses to guess: a price belongs to a host and a model's exact name (or a dated variant of it), and what is
in neither table is unknown.
"""

import datetime
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from distill.config import TeacherConfig
from distill.errors import UsageError

TABLE = Path(__file__).with_name("prices.toml")
SNAPSHOT = re.compile(r"-(\d{4}-\d\d-\d\d|\d{8})$")
FORM = 'such as:  [models]  "my-model" = { input = 0.15, output = 0.60 }'


class Prices(msgspec.Struct, frozen=True):
    """USD per million tokens, None unknown; `source` says who says so.

    `batch_share` is what part of it the endpoint's Batch API asks (None: not known); longer prompts than
    `up_to` tokens may cost more than `input` says.
    """

    input: float | None = None
    output: float | None = None
    batch_share: float | None = None
    up_to: int | None = None
    source: str = "unknown"

    @property
    def known(self) -> bool:
        """Can a call be priced?"""
        return self.input is not None and self.output is not None

    @property
    def free(self) -> bool:
        """Does nothing cost anything?"""
        return self.input == self.output == 0


FREE = Prices(0.0, 0.0, source="local")
UNKNOWN = Prices()


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input: float
    output: float
    batch_share: float | None = None
    up_to: int | None = None
    source: str = ""


class _Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, Any] = {}
    batch_share: float | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: datetime.date | None = None
    source: str = ""
    hosts: dict[str, Any] = {}
    models: dict[str, Any] = {}


class Table:
    """The prices in one TOML file. Raises UsageError that names file, model and key where it is nonsense."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _converted(_read(path), _File, path, "")
        self._hosts = {
            name: _converted(value, _Host, path, f"hosts.{name}") for name, value in self._file.hosts.items()
        }
        self._any = self._entries(self._file.models, "models")
        self._by_host = {
            name: self._entries(host.models, f"hosts.{name}.models") for name, host in self._hosts.items()
        }
        for name, host in self._hosts.items():
            _sound({"batch_share": host.batch_share}, path, f"hosts.{name}")

    def find(self, model: str, base_url: str) -> Prices | None:
        """The price of `model` at `base_url`, or None where the table has none."""
        name = self._host(base_url)
        for entries in (self._by_host.get(name, {}), self._any):
            entry = entries.get(model) or entries.get(SNAPSHOT.sub("", model))
            if entry:
                share = self.batch_share(base_url) if entry.batch_share is None else entry.batch_share
                return Prices(entry.input, entry.output, share, entry.up_to, self._source())
        return None

    def anywhere(self, model: str) -> Prices | None:
        """The price of `model` where the table has one for it and every host that it lists asks the same."""
        found = {self.find(model, f"https://{host}") for host in self._by_host} | {self.find(model, "")}
        asked = {(price.input, price.output): price for price in found if price}
        return next(iter(asked.values())) if len(asked) == 1 else None

    def batch_share(self, base_url: str) -> float | None:
        """What part of the price the host's Batch API asks, or None where the table does not say."""
        host = self._hosts.get(self._host(base_url))
        return host.batch_share if host else None

    def _host(self, base_url: str) -> str:
        """The table's name for where `base_url` points: HOST:PORT goes before HOST."""
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        with_port = f"{host}:{parts.port}"
        return with_port if with_port in self._hosts else host

    def _entries(self, models: Mapping[str, Any], where: str) -> dict[str, _Entry]:
        entries = {}
        for name, value in models.items():
            entries[name] = _converted(value, _Entry, self._path, f"{where}.{name}")
            _sound(msgspec.structs.asdict(entries[name]), self._path, f"{where}.{name}")
        return entries

    def _source(self) -> str:
        dated = f" of {self._file.date}" if self._file.date else ""
        return f"{'built-in table' if self._path == TABLE else self._path.name}{dated}"


def price_of(model: str, base_url: str, config: TeacherConfig) -> Prices:
    """What `model` at `base_url` costs: --price-in/--price-out, else --prices FILE, else the built-in table.

    All of it unknown where none of them says. Raises UsageError where the file is nonsense, or one flag is
    given without the other.
    """
    own = Table(Path(config.prices)) if config.prices else None
    built_in = Table(TABLE)
    if config.price_in is not None or config.price_out is not None:
        share = (own.batch_share(base_url) if own else None) or built_in.batch_share(base_url)
        return _by_flags(config, share)
    return (own.find(model, base_url) if own else None) or built_in.find(model, base_url) or Prices()


def logged_price(model: str, config: TeacherConfig) -> Prices:
    """What calls to `model` in a log cost: by flag for the teacher's own name, else by table, any host.

    Raises as `price_of`.
    """
    if model == config.teacher and config.price_in is not None:
        return _by_flags(config, None)
    own = Table(Path(config.prices)) if config.prices else None
    return (own.anywhere(model) if own else None) or Table(TABLE).anywhere(model) or Prices()


def _by_flags(config: TeacherConfig, share: float | None) -> Prices:
    if config.price_in is None or config.price_out is None:
        absent = "--price-in" if config.price_in is None else "--price-out"
        raise UsageError("one price is given without the other", where=absent, hint="give both")
    return Prices(config.price_in, config.price_out, share, source="--price-in/--price-out")


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=f"--prices {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not TOML: {error}", where=f"--prices {path}", hint=FORM) from None


def _converted(value: Any, kind: type[Any], path: Path, key: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        where = f"--prices {path}" + (f", {key}" if key else "")
        raise UsageError(f"not a price: {error}", where=where, hint=FORM) from None


def _sound(values: Mapping[str, Any], path: Path, key: str) -> None:
    """Raises UsageError where a number of `values` cannot be a price."""
    for name, value in values.items():
        if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= 0):
            told = f"{name} is {value}: a price is a number from 0 on"
            raise UsageError(told, where=f"--prices {path}, {key}", hint=FORM)
