"""An endpoint's failures, each turned into the error that says what mends it.

Refuses to pass a server's text on whole: it is shortened, and the API key is taken out of it.
"""

import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import openai

from distill.errors import BudgetReached, CredentialsError, DistillError, TeacherError, UsageError
from distill.teacher.protocol import TryAgain

SHORTEST_SECRET = 12
LONGEST = 300
LONGEST_WAIT_S = 3600.0
# By name, because openai 2 raises httpx's and openai 3 httpx2's.
NOT_CONNECTED = ("ConnectError", "ConnectTimeout")
RETRYABLE = (408, 409, 425, 429)
SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
NOT_SUPPORTED = ("unsupported", "not support", "unrecognized", "unknown", "not permitted", "not allowed")
# Of OpenAI, Azure (code and its inner one, message), DashScope and DeepSeek.
WITHHELD = (
    "content_filter",
    "content filter",
    "content_policy_violation",
    "content policy",
    "content management policy",
    "responsibleaipolicyviolation",
    "data_inspection_failed",
    "content exists risk",
)
# A schema the endpoint cannot turn into a grammar is as good as one it does not support.
FORMATS = ("response_format", "json_schema", "json_object", "grammar", "structured output")


class Scrub:
    """Takes one API key out of any text. Stand-ins for a key ("none", "EMPTY") are words, and left alone."""

    def __init__(self, api_key: str) -> None:
        self._key = api_key if len(api_key) >= SHORTEST_SECRET else ""

    def __call__(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._key, "[key]") if self._key else text

    def error(self, error: openai.APIStatusError) -> str:
        """What the server said, on one line, without the key and shortened."""
        text = " ".join(self(said(error)).split()) or f"HTTP {error.status_code}"
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def said(error: openai.APIStatusError) -> str:
    """The message in an error's body, whichever of the usual shapes it has."""
    body = error.body
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and name in body:
            body = body[name]
    return body if isinstance(body, str) else str(body or "")


def status_fault(error: openai.APIStatusError, model: str, endpoint: str, scrub: Scrub) -> Exception:
    """The error that an HTTP status other than 400 and 422 stands for."""
    status, text = error.status_code, scrub.error(error)
    code = error.code or error.type or ""
    if status == 402 or code in SPENT:
        return BudgetReached(
            f"the quota at {endpoint} is spent: {text}",
            hint="top up the account, then run the same command again: it resumes",
        )
    if status in RETRYABLE or status >= 500:
        return TryAgain(f"HTTP {status}: {text}", retry_after_s(error), rate_limited=status == 429)
    if status in (401, 403):
        return CredentialsError(
            f"{endpoint} refuses the key: {text}", where="$OPENAI_API_KEY", hint="check OPENAI_API_KEY"
        )
    return _refusal(status, text, model, endpoint)


def _refusal(status: int, text: str, model: str, endpoint: str) -> DistillError:
    if status == 404:
        return UsageError(
            f"no model '{model}' at {endpoint}, or the base URL is wrong: {text}",
            where="--teacher, --base-url",
            hint="most base URLs end in /v1",
        )
    return TeacherError(f"{endpoint} answers HTTP {status}: {text}", where=f"model {model}")


def connection_fault(error: Exception, endpoint: str, timeout_s: float) -> TryAgain:
    """No whole answer: tells an absent endpoint, a call that took too long and a dropped connection apart."""
    if any(type(cause).__name__ in NOT_CONNECTED for cause in _causes(error)):
        return TryAgain(f"cannot connect to {endpoint}", unreachable=True)
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return TryAgain(f"no answer from {endpoint} within {timeout_s:g} s")
    return TryAgain(f"{endpoint} dropped the connection")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def unsupported(error: openai.APIStatusError, sent: Iterable[str]) -> str | None:
    """The one of `sent` that a 400 says the endpoint does not take; None where it says something else."""
    text = said(error).lower()
    names = set(sent)
    if "response_format" in names and any(word in text for word in FORMATS):
        return "response_format"
    if not any(word in f"{text} {error.code}".lower() for word in NOT_SUPPORTED):
        return None
    return next((name for name in sorted(names) if name == error.param or name in text), None)


def withheld(error: openai.APIStatusError) -> bool:
    """Does a 400 say that the provider's content filter turned the request down?"""
    inner = error.body.get("innererror") if isinstance(error.body, dict) else None
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    # Only the start of the message: some endpoints go on to quote the prompt.
    text = f"{error.code} {error.type} {inner_code} {said(error)[:LONGEST]}".lower()
    return error.status_code == 400 and any(word in text for word in WITHHELD)


def retry_after_s(error: openai.APIStatusError) -> float:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date); 0 where neither is given."""
    headers: Any = error.response.headers
    try:
        if "retry-after-ms" in headers:
            wait_s = float(headers["retry-after-ms"]) / 1000
        else:
            wait_s = _seconds(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(wait_s, 0.0), LONGEST_WAIT_S) if isfinite(wait_s) else 0.0


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parsedate_to_datetime(text).timestamp() - time.time()
