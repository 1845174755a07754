"""One row of anybody's training data, told by its shape, as a conversation with its answer.

Refuses to guess: keys nobody knows are an error that names them, and what text alone cannot hold (tool
calls, images, turns that are not to be trained on) is `Unfit`, never left out in silence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.errors import DataError
from distill.parse import label_key
from distill.store.shapes import INPUT_KEYS, OUTPUT_KEYS
from distill.types import Label, Message, Role, Task

CHAT_KEYS = ("messages", "conversations", "conversation")
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
TOOL_ROLES = ("tool", "function", "function_call", "observation", "tool_call", "tool_response")
TEXT_PARTS = ("text", "input_text", "output_text")
BARE = "input/output"
"""The shape of a row that says what the input is and not what is asked of it."""
MOST_LABELS, FEWEST_EACH, LONGEST_LABEL, LONGEST_INSTRUCTION = 20, 3, 60, 2000
SHAPES = "messages; conversations; prompt and completion; instruction, input and output; input and output"


class Unfit(Exception):
    """A row of a known shape that cannot be trained on; its text says why."""


class Conversation(msgspec.Struct, frozen=True):
    """What is shown, ending with the user's message, and the answer to it.

    `shape` says how the row was written; with BARE the only message is the input, without any instruction.
    """

    messages: tuple[Message, ...]
    answer: str
    shape: str
    attributes: dict[str, str] = {}
    rationale: str = ""


def conversation(record: Any, where: str) -> Conversation:
    """The row as a conversation, whatever its shape: chat, prompt/completion, alpaca, sharegpt, input/output.

    Texts stay as they are, but for outer blanks of the answer. Raises DataError naming `where` and the keys
    where no shape fits, Unfit where the shape is known and the row is of no use.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"not an object: {record!r:.60}", where=where, hint=f"the keys may be: {SHAPES}")
    given = {name: value for name, value in record.items() if not empty(value)}
    shape, turns = _told(given, where, record)
    if given.get("tools") or given.get("functions"):
        raise Unfit("it offers tools to the model: tool calls cannot be trained here")
    messages, answer = ended(turns)
    return Conversation(messages, answer, shape, _attributes(given), _text_of(given.get("rationale", "")))


def empty(value: Any) -> bool:
    """Whether a cell holds nothing: tables have every column in every row."""
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def _told(given: Mapping[str, Any], where: str, record: Mapping[str, Any]) -> tuple[str, list[Message]]:
    """(the name of the row's shape, its turns with the answer as the last)."""
    for name in CHAT_KEYS:
        if (turns := as_list(given.get(name))) is not None:
            return _chat_shape(turns), turns_of(turns)
    if "instruction" in given and "output" in given:
        return "alpaca", _alpaca(given)
    if "prompt" in given and "completion" in given:
        turns = [*_said(given["prompt"], "user"), *_said(given["completion"], "assistant")]
        return "prompt/completion", turns
    inputs = [name for name in INPUT_KEYS if name in given]
    outputs = [name for name in OUTPUT_KEYS if name in given]
    if inputs and outputs:
        shown, answer = given[inputs[0]], given[outputs[0]]
        shape = BARE if inputs[0] != "prompt" else "prompt/completion"
        return shape, [*_said(shown, "user"), *_said(answer, "assistant")]
    if _could_hold_both(record):
        raise Unfit("the input or the answer is empty")
    raise DataError(
        f"no known shape: the keys here are {keys_of(record)}",
        where=where,
        hint=f"the keys may be: {SHAPES}",
    )


def _could_hold_both(record: Mapping[str, Any]) -> bool:
    """Whether the keys are those of a known shape and only the values are missing."""
    names = {*record}
    pair = names & {*INPUT_KEYS, "instruction"} and names & {*OUTPUT_KEYS}
    return bool(names & {*CHAT_KEYS} or pair)


def keys_of(record: Mapping[str, Any]) -> str:
    """The keys of a row, for an error."""
    return ", ".join(repr(str(name)[:40]) for name in list(record)[:12]) or "none"


def _chat_shape(turns: Sequence[Any]) -> str:
    first = turns[0] if turns else None
    return "sharegpt" if isinstance(first, Mapping) and "from" in first else "chat"


def _alpaca(given: Mapping[str, Any]) -> list[Message]:
    """The instruction is the user's message, or the system's where an input stands beside it."""
    instruction = Message("user", _text_of(given["instruction"]))
    shown = [instruction]
    if "input" in given:
        # The input alone is what tells rows apart: one instruction over all rows must not make them alike.
        shown = [Message("system", instruction.content), Message("user", _text_of(given["input"]))]
    earlier: list[Message] = []
    for turn in as_list(given.get("history")) or []:
        if isinstance(turn, Sequence) and len(turn) == 2:
            earlier += [Message("user", _text_of(turn[0])), Message("assistant", _text_of(turn[1]))]
    system = [Message("system", _text_of(given["system"]))] if "system" in given else []
    return [*system, *earlier, *shown, Message("assistant", _text_of(given["output"]))]


def _said(value: Any, role: Role) -> list[Message]:
    """A text as one turn of that role; a list as the turns it holds."""
    turns = as_list(value)
    return [Message(role, _text_of(value))] if turns is None else turns_of(turns)


def as_list(value: Any) -> list[Any] | None:
    """`value` if it is a list of turns, also one written as JSON into a cell; else None."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    if isinstance(value, list) and (not value or isinstance(value[0], (Mapping, list))):
        return value
    return None


def turns_of(turns: Sequence[Any]) -> list[Message]:
    """The turns of a chat, OpenAI's keys or sharegpt's. Raises Unfit."""
    return [turn_of(turn) for turn in turns]


def turn_of(turn: Any) -> Message:
    """One turn. Raises Unfit on tool calls, on what is not text and on a role nobody knows."""
    if not isinstance(turn, Mapping):
        raise Unfit(f"a turn is not an object: {turn!r:.60}")
    named = turn.get("role") or turn.get("from")
    said = str(named).casefold()
    if said in TOOL_ROLES or any(not empty(turn.get(name)) for name in ("tool_calls", "function_call")):
        raise Unfit("it holds a tool call: tool calls cannot be trained here")
    if said not in ROLES:
        raise Unfit(f"a turn of an unknown role: {named!r:.40}")
    if turn.get("weight") == 0 and ROLES[said] == "assistant":
        raise Unfit("a turn has weight 0: every assistant turn is trained here")
    content = next((turn[name] for name in ("content", "value", "text") if turn.get(name) is not None), "")
    return Message(ROLES[said], _text_of(content))


def _text_of(content: Any) -> str:
    """Text, or a list of text parts joined; other JSON as its canonical text. Raises Unfit on the rest."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        return "".join(map(_part, content))
    return msgspec.json.encode(content, order="deterministic").decode()


def _part(part: Mapping[str, Any]) -> str:
    kind = part.get("type", "text")
    if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise Unfit(f"it holds a part that is not text: {kind!r:.40}")
    return str(part["text"])


def ended(turns: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """(what is shown, the answer): the last turn is the assistant's, the one before it the user's.

    Raises Unfit where it is not so.
    """
    *shown, last = turns or [Message("user", "")]
    if last.role != "assistant":
        raise Unfit("it does not end with an answer of the assistant")
    if not last.content.strip():
        raise Unfit("the answer is empty")
    if not shown or shown[-1].role != "user":
        raise Unfit("nothing of the user stands before the answer")
    if not shown[-1].content.strip():
        raise Unfit("the input is empty")
    if any(message.role == "assistant" and not message.content.strip() for message in shown):
        raise Unfit("an earlier answer is empty")
    return tuple(shown), last.content.strip()


def _attributes(given: Mapping[str, Any]) -> dict[str, str]:
    """What an export of ours says the input varies over."""
    found = given.get("attributes")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, str)}


def task_of(talks: Sequence[Conversation], name: str) -> Task:
    """A task for conversations that carry their own prompt.

    A label task where the answers are a small closed set, each given FEWEST_EACH times; the instruction is
    the system message where all share one.
    """
    answers = Counter(talk.answer for talk in talks)
    closed = 2 <= len(answers) <= MOST_LABELS and min(answers.values()) >= FEWEST_EACH
    closed = closed and all(len(name) <= LONGEST_LABEL and "\n" not in name for name in answers)
    closed = closed and len({label_key(name) for name in answers}) == len(answers)
    systems = {tuple(said.content for said in talk.messages if said.role == "system") for talk in talks}
    shared = "\n\n".join(systems.pop()).strip() if len(systems) == 1 else ""
    return Task(
        name=name,
        kind="label" if closed else "text",
        instruction=shared if 0 < len(shared) <= LONGEST_INSTRUCTION else "Answer the user.",
        labels=tuple(Label(name) for name in sorted(answers)) if closed else (),
    )
