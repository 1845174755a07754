"""Logs of real traffic to a language model: JSON lines of requests with their responses, of many loggers.

Refuses to lose a line in silence: one that is broken, failed or holds no text is skipped with its reason,
and a file in which no line can be read is an error that names the keys it has.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.errors import DataError
from distill.store import jsonl
from distill.store.conversations import Unfit, ended, keys_of, turns_of
from distill.store.records import decoded
from distill.types import Message

REQUEST_KEYS = ("request", "request_body", "requestBody", "reqPayload", "body")
ASKED_KEYS = ("messages", "prompt_messages", "input", "inputs", "prompt", "query")
RESPONSE_KEYS = ("response", "response_body", "responseBody", "respPayload")
ANSWER_KEYS = ("choices", "output", "outputs", "completion", "completion_message", "answer", "output_text")
BODY_KEYS = {"choices", "output", "object", "error", "role"}
"""What tells a provider's body, written as a string, from an answer that is JSON."""
TIME_KEYS = ("created", "created_at", "createdAt", "startTime", "timestamp", "requestedAt")
USAGE_KEYS = ("usage", "usageDetails", "usage_details")
FAILED = "the call failed"
"""How the reason to skip a failed call starts; the provider's own words follow."""
LATEST_S = 32_503_680_000.0  # the year 3000; a larger stamp counts milliseconds, or less
SHAPES = "request and response; messages and choices, output or response; prompt and completion; messages"


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its response. `source` is file:line, `created` seconds since 1970.

    Token counts and `created` are None, `model` is "", where the log does not say. `finish_reason` is the
    provider's: "length" is an answer that was cut.
    """

    messages: tuple[Message, ...]
    response: str
    source: str
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str = "stop"
    created: float | None = None


class Logs(NamedTuple):
    """What was read, and (line number, reason) for each line that was not."""

    entries: list[Logged]
    skipped: list[tuple[int, str]]


def read_logs(path: Path) -> Logs:
    """Every request with its response in a JSONL file, a line at a time.

    Known: chat completions and Responses API bodies under request and response (also as LiteLLM, Helicone,
    Langfuse, OpenPipe and Portkey write them), stored completions, chat rows, prompt/completion. Raises
    UsageError where the file is absent, DataError where no line of it can be read or one is endless.
    """
    logs = Logs([], [])
    for number, entry in each_logged(path):
        if isinstance(entry, str):
            logs.skipped.append((number, entry))
        else:
            logs.entries.append(entry)
    if not logs.entries:
        raise nothing_read(path, logs.skipped)
    return logs


def each_logged(path: Path) -> Iterator[tuple[int, Logged | str]]:
    """(line number, the request with its response or the reason to skip it), one line in memory at a time.

    Raises UsageError where the file is absent, DataError where a line is endless.
    """
    for number, line in jsonl.lines(path):
        try:
            yield number, logged(msgspec.json.decode(decoded(line, path, number)), f"{path}:{number}")
        except DataError:
            yield number, "not UTF-8"
        except msgspec.DecodeError:
            yield number, "not a line of JSON"
        except Unfit as unfit:
            yield number, str(unfit)


def logged(record: Any, source: str) -> Logged:
    """One line of a log. Raises Unfit with the reason to skip it."""
    if not isinstance(record, Mapping):
        raise Unfit("not an object")
    request, response = _request(record), _response(record)
    _check_worked(record, response)
    asked = _asked(request)
    answer, finish = _answer(response)
    if answer is not None:
        asked = [*asked, Message("assistant", answer)]
    elif asked[-1].role != "assistant":
        raise Unfit("it holds no response")
    messages, text = ended(asked)
    sides = [side for side in (response, request, record) if isinstance(side, Mapping)]
    usage = [side[name] for side in sides for name in USAGE_KEYS if isinstance(side.get(name), Mapping)]
    return Logged(
        messages=messages,
        response=text,
        source=source,
        model=next((side["model"] for side in sides if isinstance(side.get("model"), str)), ""),
        prompt_tokens=_count([*usage, *sides], ("prompt_tokens", "input_tokens", "promptTokens", "input")),
        completion_tokens=_count(
            [*usage, *sides], ("completion_tokens", "output_tokens", "completionTokens", "output")
        ),
        finish_reason=finish,
        created=next((at for side in sides for name in TIME_KEYS if (at := _seconds(side.get(name)))), None),
    )


def nothing_read(path: Path, skipped: Sequence[tuple[int, str]]) -> DataError:
    """The error for a file in which no line could be read: its commonest reason, and where it first stood."""
    if not skipped:
        return DataError("no rows: the file is empty", where=str(path))
    reason, count = Counter(reason for _, reason in skipped).most_common(1)[0]
    first = next(number for number, why in skipped if why == reason)
    return DataError(
        f"none of the {len(skipped)} lines holds a request with its response; {count} of them: {reason}",
        where=f"{path}:{first}",
        hint=f"one JSON object a line, with: {SHAPES}",
    )


def _request(record: Mapping[str, Any]) -> Any:
    """The request's body; the line itself where it has none apart."""
    for name in REQUEST_KEYS:
        if isinstance(body := _body(record.get(name)), Mapping):
            return body
    return record


def _response(record: Mapping[str, Any]) -> Any:
    """The response's body, text or choices; None where the line has none apart."""
    for name in RESPONSE_KEYS:
        if (body := _body(said := record.get(name))) is not None:
            mere_answer = isinstance(said, str) and isinstance(body, Mapping) and not BODY_KEYS & body.keys()
            return said if mere_answer else body
    found = {name: record[name] for name in ANSWER_KEYS if record.get(name) is not None}
    return {**found, "status": record.get("status")} if found else None


def _body(value: Any) -> Any:
    """`value`, read where it is JSON in a string, and without the HTTP wrapping around it."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return value
    if isinstance(value, Mapping) and isinstance(value.get("body"), (Mapping, str)):
        inner = _body(value["body"])
        status = value.get("status_code", value.get("status"))
        if isinstance(inner, Mapping) and isinstance(status, int) and status >= 400:
            return {"error": f"status {status}", **inner}
        return inner
    return value


def _check_worked(record: Mapping[str, Any], response: Any) -> None:
    """Raise Unfit where the call failed, or the line is a piece of a streamed answer."""
    for side in (response, record):
        if not isinstance(side, Mapping):
            continue
        error = side.get("error") or side.get("error_str") or side.get("errorMessage")
        status = side.get("status_code", side.get("statusCode", side.get("status")))
        if error or status in ("failure", "failed", "error") or (isinstance(status, int) and status >= 400):
            said = error.get("message", error) if isinstance(error, Mapping) else error
            raise Unfit(f"{FAILED}: {' '.join(str(said or status).split())[:80]}")
        if str(side.get("object", "")).endswith(".chunk"):
            raise Unfit("a piece of a streamed answer: only whole answers can be read")


def _asked(request: Mapping[str, Any]) -> list[Message]:
    """The turns that were sent. Raises Unfit where there are none."""
    for name in ASKED_KEYS:
        value = request.get(name)
        if isinstance(value, Mapping):  # Langfuse: {"input": {"messages": […]}}
            return _asked(value)
        if isinstance(value, list) and value and isinstance(value[0], str):  # legacy completions
            if len(value) > 1:
                raise Unfit("several prompts in one request")
            value = value[0]
        if isinstance(value, str) and value.strip():
            return [*_instructions(request), Message("user", value)]
        if isinstance(value, list) and value:
            return [*_instructions(request), *turns_of(value)]
    raise Unfit(f"no known shape: the keys here are {keys_of(request)}")


def _instructions(request: Mapping[str, Any]) -> list[Message]:
    """The Responses API's system message."""
    said = request.get("instructions")
    return [Message("system", said)] if isinstance(said, str) and said.strip() else []


def _answer(response: Any) -> tuple[str | None, str]:
    """(the text answered or None where the request's last turn is the answer, the finish reason)."""
    if response is None:
        return None, "stop"
    if isinstance(response, str):
        return response, "stop"
    if isinstance(response, list):
        return _last(response), "stop"
    if not isinstance(response, Mapping):
        raise Unfit(f"the response is not text: {response!r:.40}")
    if choices := response.get("choices"):
        return _choice(choices)
    if "role" in response or "content" in response:
        return turns_of([{"role": "assistant", **response}])[0].content, "stop"
    for name in (*ANSWER_KEYS, "message", "text", "messages"):
        if response.get(name):
            text, finish = _answer(_body(response[name]))
            return text, "length" if response.get("status") == "incomplete" else finish
    raise Unfit(f"no answer: the keys of the response are {keys_of(response)}")


def _choice(choices: Any) -> tuple[str, str]:
    """The first choice's text and finish reason."""
    first = choices[0] if isinstance(choices, list) else choices
    if not isinstance(first, Mapping):
        raise Unfit("its choices are not objects")
    finish = first.get("finish_reason")
    message = first.get("message")
    if isinstance(message, Mapping) and message.get("refusal"):
        raise Unfit("the model refused")
    text = turns_of([{"role": "assistant", **message}])[0].content if isinstance(message, Mapping) else None
    text = text if text is not None else first.get("text")
    if not isinstance(text, str):
        raise Unfit("its first choice holds no text")
    return text, finish if isinstance(finish, str) else "stop"


def _last(items: Sequence[Any]) -> str:
    """The text of the last message among a response's output items; reasoning items are passed over."""
    if any(isinstance(item, Mapping) and "call" in str(item.get("type", "")) for item in items):
        raise Unfit("it holds a tool call: tool calls cannot be trained here")
    messages = [item for item in items if isinstance(item, Mapping) and item.get("role") == "assistant"]
    if messages:
        return turns_of(messages[-1:])[0].content
    if items and isinstance(items[-1], str):
        return items[-1]
    raise Unfit("its output holds no message of the assistant")


def _count(sides: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    for side in sides:
        for name in names:
            if isinstance(value := side.get(name), int) and not isinstance(value, bool):
                return value
    return None


def _seconds(value: Any) -> float | None:
    """Seconds since 1970 of a stamp: a number of seconds or less, or ISO 8601 (UTC where it has no zone)."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < LATEST_S**2:
        return None
    while value > LATEST_S:
        value /= 1000
    return float(value)
