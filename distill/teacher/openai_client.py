"""A teacher behind any OpenAI-compatible endpoint: one HTTP attempt a call, failures sorted by their cure.

Refuses to retry (`Pool` does) and to let the API key into any text it hands out.
"""

import asyncio
from time import perf_counter
from typing import Any

import msgspec
import openai

from distill.errors import TeacherError
from distill.teacher.endpoint import identity, is_loopback, public_url
from distill.teacher.faults import Scrub, connection_fault, status_fault, unsupported, withheld
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

CONNECT_S = 10.0
# What max_tokens is called where it is not supported; where this is not either, nothing bounds an answer.
INSTEAD = "max_completion_tokens"


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Refused(msgspec.Struct):
    """What is read of an error's body."""

    usage: _Usage | None = None


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
        return identity(self._model, self.endpoint)

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """One attempt; a further one only to leave out what the endpoint says it does not support.

        A prompt the provider's content filter turns down is answered: by no text, and that reason.
        Raises TryAgain, CredentialsError, BudgetReached, UsageError (unknown model) or TeacherError.
        """
        while True:
            sent, started = self.parameters(request, sample), perf_counter()
            try:
                return await self._attempt(request, sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if withheld(error):
                    return self._withheld(error, perf_counter() - started)
                self._leave_out(error, sent)

    def _leave_out(self, error: openai.APIStatusError, sent: dict[str, Any]) -> None:
        """Remember what the endpoint cannot take. Raises TeacherError where that is not the trouble.

        A call sent at the same time may have learned it first: then there is nothing to do but send again.
        """
        name = unsupported(error, sent)
        if name is None or name == INSTEAD:
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
                sent[INSTEAD] = value
        return sent

    async def _attempt(self, request: Request, sent: dict[str, Any]) -> Completion:
        messages: Any = msgspec.to_builtins(request.messages)
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self._model, messages=messages, **sent
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

    def _withheld(self, error: openai.APIStatusError, latency_s: float) -> Completion:
        """The answer that there is none. An error that gives no tokens says of no price: it costs nothing."""
        try:
            usage = msgspec.json.decode(error.response.content, type=_Refused).usage
        except (msgspec.DecodeError, UnicodeDecodeError):
            usage = None
        prompt_tokens = usage.prompt_tokens if usage else None
        completion_tokens = usage.completion_tokens or 0 if usage else None
        return Completion(
            text="",
            finish_reason="content_filter",
            model=self._model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=cost_usd(prompt_tokens, completion_tokens, *self._prices) if usage else 0.0,
            latency_s=latency_s,
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
