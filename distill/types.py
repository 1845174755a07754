"""The nouns, frozen: what is stored, sent and compared. Holds no behaviour beyond deriving a field.

Records are `msgspec.Struct`s, so a line of JSON is validated while it is decoded and the error
names the path to the bad value. Ids are content hashes: the join key of every later file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

Role = Literal["system", "user", "assistant"]
Kind = Literal["label", "text", "json", "chat"]
Verifier = Literal["", "exact", "number"]
Split = Literal["train", "valid", "test"]


def content_id(*parts: Any) -> str:
    """16 hex digits that depend on every part (any msgspec-encodable values) and nothing else."""
    encoded = msgspec.json.encode(parts, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:16]


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


def user_text(messages: Sequence[Message]) -> str:
    """What the user says in a conversation, a paragraph a turn."""
    return "\n\n".join(message.content for message in messages if message.role == "user")


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

    `others` are the best prompts of other kinds, which vote beside it. `instruction` and `shots` go in place
    of the task's where the prompt was improved: rewritten by the teacher, its examples chosen and ordered.
    """

    name: str
    score: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    others: tuple[str, ...] = ()
    instruction: str = ""
    shots: tuple[Example, ...] = ()


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing a model is asked to do, as `task.toml` says it.

    `input_noun` is what an input is called in prompts ("a film review sentence").
    `attributes` are what generated inputs vary over: name -> the values it takes; a label may add its own.
    `fields` are the keys of a JSON answer, `labels` the closed set of a label answer. `verify` says when two
    free answers are the same: equal in their normal form, or the same number. `rubric` is what a judge
    asks of an answer, a question each. `language` (ISO 639-1) is what inputs are written in; "" reads it
    off the examples. `turns` are the user's turns of a 'chat'. `rationale` trains the student to give
    the teacher's reasons before the answer.
    """

    name: str
    kind: Kind
    instruction: str
    input_noun: str = "text"
    labels: tuple[Label, ...] = ()
    fields: tuple[AnswerField, ...] = ()
    examples: tuple[Example, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}
    verify: Verifier = ""
    rubric: tuple[str, ...] = ()
    language: str = ""
    turns: int = 2
    rationale: bool = False
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
    top_logprobs: int | None = None


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
    """An input and answer on their way to becoming a pair; `asked` is the answer it was written for.

    `before` are the turns of a conversation ahead of `input`; `raw` is the first single answer, before any
    vote, judge or revision; `margin` is the lead of its votes over the next answer's, as a share of all;
    `judge` is what a judge has against the answer; `source` is the file:line it came from, if from a file.
    """

    index: int
    input: str
    answer: str
    origin: str
    asked: str | None = None
    before: tuple[Message, ...] = ()
    raw: str | None = None
    rationale: str = ""
    logprobs: dict[str, Any] | None = None
    source: str = ""
    attributes: dict[str, str] = {}
    finish_reason: str = "stop"
    agreement: float | None = None
    margin: float | None = None
    judge: str = ""
    verdict: Verdict = KEEP

    @property
    def said(self) -> str:
        """All that the user said in it: what duplicates and leaks are looked for in."""
        return user_text((*self.before, Message("user", self.input)))


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One training example: what the student is shown (the last message is the user's) and its target.

    Assistant turns among the messages are targets too. `rationale` is the teacher's reason for the answer,
    `logprobs` the teacher's top tokens at each position of it.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    origin: str
    attributes: dict[str, str] = {}
    rationale: str = ""
    logprobs: dict[str, Any] | None = None

    @property
    def input(self) -> str:
        """All that the user said: what duplicates and leaks are looked for in."""
        return user_text(self.messages)

    @staticmethod
    def make(
        messages: tuple[Message, ...],
        answer: str,
        origin: str,
        attributes: Mapping[str, str] | None = None,
        *,
        rationale: str = "",
        logprobs: dict[str, Any] | None = None,
    ) -> "Pair":
        """A pair whose id is the hash of what is shown and what is to be answered."""
        return Pair(
            id=content_id(messages, answer),
            messages=messages,
            answer=answer,
            origin=origin,
            attributes=dict(attributes or {}),
            rationale=rationale,
            logprobs=logprobs,
        )


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What one system answered to one held-out row. `answer` is None where `text` could not be parsed.

    Rows of one `cluster` are not independent; `spent_s` is a student's time, `confidence` its mean token's.
    """

    row: str
    who: str
    split: str
    text: str
    answer: str | None
    gold: str
    latency_s: float | None = None
    cost_usd: float | None = None
    finish_reason: str = "stop"
    input: str = ""
    attributes: dict[str, str] = {}
    cluster: str = ""
    spent_s: float | None = None
    tokens: int | None = None
    confidence: float | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How far generating is, for the live panel: counts, the drop funnel, USD (None: unknown)."""

    accepted: int
    wanted: int
    tried: int
    dropped: dict[str, int]
    by_answer: dict[str, int]
    calls: int
    in_flight: int
    cost_usd: float | None
    budget_usd: float | None = None


class Progress(Protocol):
    """Where a step says how far it is. `console.py` draws it; tests pass `Quiet`."""

    def begin(self, what: str, total: int | None) -> None:
        """Start a piece of work of `total` units (None: unknown)."""
        ...

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` units are done; `note` is shown beside the bar."""
        ...

    def tally(self, tally: Tally) -> None:
        """Show how far generating is."""
        ...

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        ...

    def marked(self, text: str) -> None:
        """Print `text` above the bar, with what is between ⟦ and ⟧ in colour."""
        ...


class Quiet:
    """A `Progress` that shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        """Ignore."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignore."""

    def tally(self, tally: Tally) -> None:
        """Ignore."""

    def say(self, text: str) -> None:
        """Ignore."""

    def marked(self, text: str) -> None:
        """Ignore."""
