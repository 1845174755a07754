"""An endpoint's failures, each turned into the error that says what mends it.

Refuses to pass a server's text on whole: it is shortened, and the API key is taken out of it.
"""

import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from math import isfinite
from typing import Any

import msgspec

from distill.errors import BudgetReached, CredentialsError, DistillError, TeacherError, UnknownModel
from distill.teacher.protocol import TryAgain

SHORTEST_SECRET = 12
LONGEST = 300
LONGEST_WAIT_S = 3600.0
RETRYABLE = (408, 409, 425, 429)
# A gateway gave up on a model that may have gone on.
LOST = (502, 504, 524)
# What is said of the request itself, not of key, model or server.
OF_REQUEST = (400, 413, 422)
SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
# Not "exceeded your current quota": Gemini says that of a minute's.
SPENT_TEXTS = (
    "insufficient quota",
    "insufficient balance",
    "insufficient credit",
    "credit balance is too low",
)
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
TOO_LONG = (
    "context_length_exceeded",  # OpenAI, Azure, Groq
    "string_above_max_length",
    "exceed_context_size_error",  # llama.cpp
    "available context size",
    "maximum context length",  # OpenAI, vLLM, SGLang, DeepSeek, Mistral, OpenRouter, Ollama
    "maximum model length",  # vLLM
    "model's context length",  # vLLM, SGLang
    "exceeds the context length",  # Ollama
    "exceeds the context window",
    "exceed context limit",  # Anthropic, and the next
    "prompt is too long",
    "input token count",  # Gemini
    "maximum prompt length",  # xAI
    "`inputs` tokens + `max_new_tokens`",  # TGI
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

    def error(self, refusal: "Refusal") -> str:
        """What the server said, on one line, without the key and shortened."""
        text = " ".join(self(refusal.message).split()) or f"HTTP {refusal.status}"
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


class Refusal:
    """An HTTP answer that is no success. `headers` are looked up in lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status, self.headers, self.content = status, headers, content

    @cached_property
    def body(self) -> Any:
        """The error in the JSON, or the text where it is none."""
        try:
            body = msgspec.json.decode(self.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.content.decode(errors="replace")
        return body.get("error", body) if isinstance(body, dict) else body

    @cached_property
    def message(self) -> str:
        """What a person is told, whichever of the usual shapes it has."""
        body = self.body
        for name in ("message", "detail"):
            if isinstance(body, dict) and name in body:
                body = body[name]
        return body if isinstance(body, str) else str(body or "")

    def field(self, name: str) -> str:
        """`code`, `type` or `param` of the error; empty where there is none."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        return "" if value is None else str(value)

    @cached_property
    def says(self) -> str:
        """Codes and the message's start, in lower case: some endpoints go on to quote the prompt."""
        inner = self.body.get("innererror") if isinstance(self.body, dict) else None
        inner_code = inner.get("code") if isinstance(inner, dict) else ""
        codes = f"{self.field('code')} {self.field('type')} {inner_code}"
        return f"{codes} {self.message[:LONGEST]}".lower()


def status_fault(refusal: Refusal, model: str, endpoint: str, scrub: Scrub) -> Exception:
    """The error that a refusal stands for. For `OF_REQUEST`, ask `withheld` and the others first."""
    status, text = refusal.status, scrub.error(refusal)
    if status == 402 or (status < 500 and any(word in refusal.says for word in (*SPENT, *SPENT_TEXTS))):
        return BudgetReached(
            f"the quota at {endpoint} is spent: {text}",
            hint="top up the account, then run the same command again: it resumes",
        )
    if status in RETRYABLE or status >= 500:
        limited, after_s = status == 429, retry_after_s(refusal.headers)
        return TryAgain(f"HTTP {status}: {text}", after_s, rate_limited=limited, lost=status in LOST)
    if status in (401, 403):
        return CredentialsError(
            f"{endpoint} refuses the key: {text}", where="$OPENAI_API_KEY", hint="check OPENAI_API_KEY"
        )
    return _refusal(status, text, model, endpoint)


def _refusal(status: int, text: str, model: str, endpoint: str) -> DistillError:
    if status == 404:
        return UnknownModel(
            f"no model '{model}' at {endpoint}, or the base URL is wrong: {text}",
            where="--teacher, --base-url",
            hint="most base URLs end in /v1",
        )
    if status in (400, 422):
        return TeacherError(
            f"{endpoint} refuses the request: {text}",
            where=f"model {model}",
            hint="shorten the prompt, or see what the endpoint supports",
        )
    return TeacherError(f"{endpoint} answers HTTP {status}: {text}", where=f"model {model}")


def unsupported(refusal: Refusal, sent: Iterable[str]) -> str | None:
    """The one of `sent` that a 400 says the endpoint does not take; None where it says something else."""
    text = refusal.message.lower()
    names = set(sent)
    if "response_format" in names and any(word in text for word in FORMATS):
        return "response_format"
    if not any(word in f"{text} {refusal.field('code')}".lower() for word in NOT_SUPPORTED):
        return None
    param = refusal.field("param")
    return next((name for name in sorted(names) if name == param or name in text), None)


def withheld(refusal: Refusal) -> bool:
    """Does a 400 say that the provider's content filter turned the request down?"""
    return refusal.status == 400 and any(word in refusal.says for word in WITHHELD)


def too_long(refusal: Refusal) -> bool:
    """Does it say that prompt and answer do not fit the model's context?"""
    return refusal.status in OF_REQUEST and any(word in refusal.says for word in TOO_LONG)


def context_tokens(refusal: Refusal) -> int | None:
    """The size of the context window that `too_long` speaks of; None where the message does not give it."""
    found = re.search(r"(?:context|model) (?:length|size|window)\D{0,12}?(\d{3,})", refusal.message)
    return int(found[1]) if found else None


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date); 0 where neither is given."""
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
