"""The chat-completions wire format: what is sent for a request, and what is read of an answer.

Pure: refuses to open a connection, to decide what an error means, and to keep more of an answer than is used.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

# What max_tokens is called where it is not supported; where this is not either, nothing bounds an answer.
INSTEAD = "max_completion_tokens"
LOGPROBS = frozenset({"logprobs", "top_logprobs"})
DIGITS = 4
SHOWN = 120


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    """What is read of a chat completion; everything else an endpoint sends is passed over."""

    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


class _Refused(msgspec.Struct):
    """What is read of an error's body."""

    usage: _Usage | None = None


class _Token(msgspec.Struct):
    token: str
    logprob: float


class _Position(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Position]


def body(model: str, request: Request, sample: int, left_out: Collection[str]) -> dict[str, Any]:
    """What is POSTed to /chat/completions; `left_out` names what the endpoint does not take."""
    sent: dict[str, Any] = {
        "model": model,
        "messages": msgspec.to_builtins(request.messages),
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }
    if request.seed is not None:
        sent["seed"] = request.seed + (sample if request.temperature > 0 else 0)
    if request.response_format is not None:
        sent["response_format"] = request.response_format
    if request.top_logprobs is not None and not LOGPROBS.intersection(left_out):
        sent |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    for name in left_out:
        value = sent.pop(name, None)
        if name == "max_tokens":
            sent[INSTEAD] = value
    return sent


def completion(
    content: bytes,
    *,
    model: str,
    prices: tuple[float | None, float | None],
    latency_s: float,
    scrub: Callable[[str], str],
) -> Completion:
    """The answer in a response's body. `prices` are USD per million tokens in and out, None unknown.

    `scrub` takes the API key out of a text. Raises TryAgain where the body is no chat completion.
    """
    try:
        answer = msgspec.json.decode(content, type=_Body)
        choice = answer.choices[0]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = scrub(content[:SHOWN].decode(errors="replace"))
        raise TryAgain(f"the answer is no chat completion ({error}): {start!r}", lost=True) from None
    except IndexError:
        raise TryAgain("the answer has no choices", lost=True) from None
    usage = answer.usage or _Usage()
    said = choice.message.content or ""
    text = scrub(said)
    return Completion(
        text=text,
        finish_reason=choice.finish_reason or "stop",
        model=scrub(answer.model or model),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=cost_usd(usage.prompt_tokens, usage.completion_tokens, *prices),
        latency_s=latency_s,
        # Tokens would spell out what was taken out of the text.
        logprobs=compact(choice.logprobs) if choice.logprobs and text == said else None,
    )


def compact(logprobs: bytes | msgspec.Raw) -> dict[str, Any] | None:
    """{"tokens": [str], "logprobs": [float], "top": [[[token, logprob], ...], ...]}, an entry a position.

    None where the endpoint has another shape for it: that is no reason to lose a paid answer.
    """
    try:
        positions = msgspec.json.decode(logprobs, type=_Logprobs).content
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {
        "tokens": [position.token for position in positions],
        "logprobs": [round(position.logprob, DIGITS) for position in positions],
        "top": [
            [[token.token, round(token.logprob, DIGITS)] for token in position.top_logprobs]
            for position in positions
        ],
    }


def refused(
    content: bytes,
    finish_reason: str,
    *,
    model: str,
    prices: tuple[float | None, float | None],
    latency_s: float,
) -> Completion:
    """The answer that there is none, for `finish_reason`: an error that gives no tokens costs nothing."""
    try:
        usage = msgspec.json.decode(content, type=_Refused).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        usage = None
    prompt_tokens = usage.prompt_tokens if usage else None
    completion_tokens = usage.completion_tokens or 0 if usage else None
    return Completion(
        text="",
        finish_reason=finish_reason,
        model=model,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=cost_usd(prompt_tokens, completion_tokens, *prices) if usage else 0.0,
        latency_s=latency_s,
    )


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
