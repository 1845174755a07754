"""The nouns, frozen: what is stored, sent and compared. Holds no behaviour beyond deriving a field.

Records are `msgspec.Struct`s, so a line of JSON is validated while it is decoded and the error
names the path to the bad value. Ids are content hashes: the join key of every later file.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

Role = Literal["system", "user", "assistant"]
Kind = Literal["label", "text", "json"]
Split = Literal["train", "valid", "test"]


def content_id(*parts: Any) -> str:
    """16 hex digits that depend on every part (any msgspec-encodable values) and nothing else."""
    encoded = msgspec.json.encode(parts, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:16]


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input with the answer it should get."""

    input: str
    output: str


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a closed set: what it means, a few inputs that get it, what varies among those alone."""

    name: str
    description: str = ""
    examples: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}


class AnswerField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of a JSON answer."""

    name: str
    type: Literal["string", "integer", "number", "boolean"] = "string"
    description: str = ""
    choices: tuple[str, ...] = ()


class PromptChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The teacher prompt that did best on this task's probes, with its Wilson interval.

    `others` are the best prompts of other kinds, which vote beside it.
    """

    name: str
    score: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    others: tuple[str, ...] = ()


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing a model is asked to do, as `task.toml` says it.

    `input_noun` is what an input is called in prompts ("a film review sentence").
    `attributes` are what generated inputs vary over: name -> the values it takes; a label may add its own.
    `fields` are the keys of a JSON answer, `labels` the closed set of a label answer.
    """

    name: str
    kind: Kind
    instruction: str
    input_noun: str = "text"
    labels: tuple[Label, ...] = ()
    fields: tuple[AnswerField, ...] = ()
    examples: tuple[Example, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}
    prompt: PromptChoice | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The closed answer set, in the order of the file."""
        return tuple(label.name for label in self.labels)


class Request(msgspec.Struct, frozen=True):
    """All that decides what a teacher answers, apart from the model itself."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 256
    seed: int | None = None
    response_format: dict[str, Any] | None = None


class Completion(msgspec.Struct, frozen=True):
    """What a teacher answered, what it cost and how long it took.

    `cost_usd` is None where the price is unknown; token counts are None where the endpoint gives none.
    """

    text: str
    finish_reason: str = "stop"
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0
    logprobs: dict[str, Any] | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Keep a candidate, or the rule that dropped it and why."""

    keep: bool
    rule: str = ""
    why: str = ""


KEEP = Verdict(keep=True)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An input and answer on their way to becoming a pair; `asked` is the answer it was written for."""

    index: int
    input: str
    answer: str
    origin: str
    asked: str | None = None
    attributes: dict[str, str] = {}
    finish_reason: str = "stop"
    agreement: float | None = None
    verdict: Verdict = KEEP


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One training example: what the student is shown (the last message is the user's) and its target."""

    id: str
    messages: tuple[Message, ...]
    answer: str
    origin: str
    attributes: dict[str, str] = {}

    @property
    def input(self) -> str:
        """The last thing the user said: what duplicates and leaks are looked for in."""
        return self.messages[-1].content

    @staticmethod
    def make(
        messages: tuple[Message, ...], answer: str, origin: str, attributes: Mapping[str, str] | None = None
    ) -> "Pair":
        """A pair whose id is the hash of what is shown and what is to be answered."""
        return Pair(
            id=content_id(messages, answer),
            messages=messages,
            answer=answer,
            origin=origin,
            attributes=dict(attributes or {}),
        )


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What one system answered to one held-out row. `answer` is None where `text` could not be parsed."""

    row: str
    who: str
    split: str
    text: str
    answer: str | None
    gold: str
    latency_s: float | None = None
    cost_usd: float | None = None
    finish_reason: str = "stop"


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one system on one split, with its 95% interval and the number of rows behind it."""

    who: str
    split: str
    metric: str
    value: float
    low: float
    high: float
    n: int


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How much system `a` is better than `b` on the same rows, with its 95% interval."""

    a: str
    b: str
    split: str
    metric: str
    diff: float
    low: float
    high: float
    n: int


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Can the student replace the teacher: yes, no, or not enough rows to say."""

    answer: Literal["yes", "no", "unclear"]
    sentence: str
    max_drop: float
    more_rows: int | None = None


class Progress(Protocol):
    """Where a step says how far it is. `console.py` draws it; tests pass `Quiet`."""

    def begin(self, what: str, total: int | None) -> None:
        """Start a piece of work of `total` units (None: unknown)."""
        ...

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` units are done; `note` is shown beside the bar."""
        ...

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        ...


class Quiet:
    """A `Progress` that shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        """Ignore."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignore."""

    def say(self, text: str) -> None:
        """Ignore."""
