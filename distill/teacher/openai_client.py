"""A teacher behind any OpenAI-compatible endpoint: one HTTP attempt a call, failures sorted by their cure.

Refuses to retry (`Pool` does) and to let the API key into any text it hands out.
"""

import asyncio
import ipaddress
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import msgspec
import openai

from distill.errors import TeacherError, UsageError
from distill.teacher.faults import Scrub, connection_fault, status_fault, unsupported
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

CONNECT_S = 10.0


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    """What is read of a chat completion; everything else an endpoint sends is passed over."""

    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


class OpenAITeacher:
    """`model` at `base_url`. Prices are USD per million tokens; None means unknown, and so is then the cost.

    `left_out` is what the endpoint turned out not to support and is no longer sent.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float = 120.0,
        price_in: float | None = None,
        price_out: float | None = None,
    ) -> None:
        self._model = model
        self.endpoint = public_url(base_url)
        self._scrub = Scrub(api_key)
        self._timeout_s = timeout_s
        self._prices = (price_in, price_out)
        self.left_out: set[str] = set()
        # A proxy cannot reach this machine's own loopback, whatever the environment says.
        http = openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(base_url))
        timeout = openai.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._client = openai.AsyncOpenAI(
            api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http
        )

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        return self._model

    @property
    def identity(self) -> str:
        """Model and endpoint."""
        return f"{self._model} @ {self.endpoint}"

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """One attempt; a second only to leave out what the endpoint says it does not support.

        Raises TryAgain, CredentialsError, BudgetReached, UsageError (unknown model) or TeacherError.
        """
        while True:
            try:
                return await self._attempt(request, sample)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                self._leave_out(error, request)

    def _leave_out(self, error: openai.APIStatusError, request: Request) -> None:
        """Remember what the endpoint cannot take. Raises TeacherError where that is not the trouble."""
        name = unsupported(error, self.parameters(request, 0))
        if name is None or name in self.left_out:
            raise TeacherError(
                f"{self.endpoint} refuses the request: {self._scrub.error(error)}",
                where=f"model {self._model}",
                hint="shorten the prompt, or see what the endpoint supports",
            ) from None
        self.left_out.add(name)

    def parameters(self, request: Request, sample: int) -> dict[str, Any]:
        """What is sent of `request` beside model and messages."""
        sent: dict[str, Any] = {"temperature": request.temperature, "max_tokens": request.max_tokens}
        if request.seed is not None:
            sent["seed"] = request.seed + (sample if request.temperature > 0 else 0)
        if request.response_format is not None:
            sent["response_format"] = request.response_format
        for name in self.left_out & sent.keys():
            value = sent.pop(name)
            if name == "max_tokens":
                sent["max_completion_tokens"] = value
        return sent

    async def _attempt(self, request: Request, sample: int) -> Completion:
        messages: Any = msgspec.to_builtins(request.messages)
        parameters = self.parameters(request, sample)
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self._model, messages=messages, **parameters
                )
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            raise
        except openai.APIStatusError as error:
            raise status_fault(error, self._model, self.endpoint, self._scrub) from None
        except (TimeoutError, openai.APIConnectionError) as error:
            raise connection_fault(error, self.endpoint, self._timeout_s) from None
        except openai.OpenAIError as error:
            raise TeacherError(self._scrub(str(error)), where=self.endpoint) from None
        return self._completion(response.content, perf_counter() - started)

    def _completion(self, content: bytes, latency_s: float) -> Completion:
        try:
            body = msgspec.json.decode(content, type=_Body)
            choice = body.choices[0]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            start = self._scrub(content[:120].decode(errors="replace"))
            raise TryAgain(f"the answer is no chat completion ({error}): {start!r}") from None
        except IndexError:
            raise TryAgain("the answer has no choices") from None
        usage = body.usage or _Usage()
        return Completion(
            text=self._scrub(choice.message.content or ""),
            finish_reason=choice.finish_reason or "stop",
            model=self._scrub(body.model or self._model),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=cost_usd(usage.prompt_tokens, usage.completion_tokens, *self._prices),
            latency_s=latency_s,
            logprobs=choice.logprobs,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def cost_usd(
    prompt_tokens: int | None,
    completion_tokens: int | None,
    price_in: float | None,
    price_out: float | None,
) -> float | None:
    """What a call costs at prices in USD per million tokens; None where a price or a count is unknown."""
    if price_in == price_out == 0:
        return 0.0
    if prompt_tokens is None or completion_tokens is None or price_in is None or price_out is None:
        return None
    return (prompt_tokens * price_in + completion_tokens * price_out) / 1e6


def public_url(url: str) -> str:
    """`url` without user, password, query and fragment, any of which may hold a secret. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            "the base URL must start with http:// or https://",
            where="--base-url",
            hint="such as http://localhost:8000/v1",
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Does `url` name this very machine?"""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
