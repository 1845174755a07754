"""When the endpoint will stop serving a model, where its list of models says so.

Refuses to stand in anybody's way: an endpoint without such a list, or without dates in it, is no error.
"""

import datetime
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from distill.teacher.endpoint import proxy_for, public_url
from distill.teacher.openai_client import headers, tls_context

DATES = ("shutdown_date", "expiration_date", "retirement_date", "deprecation_date", "deprecation")
"""OpenAI's (YYYY-MM-DD or null), OpenRouter's (the same), others'; Mistral's and Azure's `deprecation`."""
WITHIN_DEPRECATION = "inference"
"""Azure: {"fine_tune": seconds, "inference": seconds}."""
TIMEOUT_S = 8.0
LARGEST_BYTES = 32 * 2**20


class Expiry(msgspec.Struct, frozen=True):
    """The day a model goes, and the field of the endpoint's list that says so."""

    model: str
    date: datetime.date
    field: str

    def sentence(self, today: datetime.date) -> str:
        """What to tell the user."""
        left = (self.date - today).days
        when = f"in {left} days" if left > 0 else "today" if left == 0 else f"{-left} days ago"
        return f"{self.model} is to be shut down on {self.date} ({when}), says its endpoint ({self.field})"


async def expiry_of(model: str, base_url: str, api_key: str) -> Expiry | None:
    """The model's end as `GET /models` lists it; None where that is unknown, whatever the reason."""
    import aiohttp

    url = f"{public_url(base_url)}/models"
    tls = tls_context() if url.startswith("https") else True
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
                timeout=aiohttp.ClientTimeout(TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=proxy_for(base_url),
            ) as session,
            session.get(url, headers=headers(base_url, api_key, os.environ), allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return None
            body = await answer.content.read(LARGEST_BYTES)
            while len(body) < LARGEST_BYTES and (
                more := await answer.content.read(LARGEST_BYTES - len(body))
            ):
                body += more
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
    return listed(body, model)


def listed(body: bytes, model: str) -> Expiry | None:
    """The model's end in the body of a list of models."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    entries = value.get("data", value.get("models")) if isinstance(value, Mapping) else value
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("id", entry.get("name")) == model:
            for field in DATES:
                if (date := _date(entry.get(field))) is not None:
                    return Expiry(model, date, field)
    return None


def _date(value: Any) -> datetime.date | None:
    """A day: YYYY-MM-DD with or without a time, or seconds since 1970."""
    if isinstance(value, Mapping):
        value = value.get(WITHIN_DEPRECATION)
    try:
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value).date()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return datetime.datetime.fromtimestamp(value, datetime.UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
    return None
