"""A tokenizer with what its chat template means: how turns end, what may pad. Holds the one way to token ids.

Refuses to render text and tokenize it again, and to look for markers in it: ids come from the template alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.store.run import read_json
from distill.types import Message

STYLE = "distill_chat.json"
DAY = date(2024, 7, 26)
"""The day in every prompt of a template that names one: what Llama 3's says where it knows no date."""
SETTINGS: Mapping[str, Any] = {"tokenize": True, "enable_thinking": False, "strftime_now": DAY.strftime}
"""Of every rendering. `enable_thinking` is read by templates of reasoning models alone: without it an empty
thought would be part of the answer's ids, and trained."""
# For a tokenizer that ships no template. The blank before the answer is outside the prompt, so that
# byte-pair and sentencepiece tokenizers alike make the answer's first token of it.
PLAIN_TEMPLATE = (
    "{% if bos_token and bos_token != eos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True)
class Chat:
    """A tokenizer and its turns.

    `closing` are the ids that close an assistant's turn, from the end-of-turn token `stop` on. `pad` fills
    batches and is never `stop`. `folds_system` says that the template takes no system turn, so that one is
    put before the first user's; `drops_system` leaves it out. `rides` (efficient EOS, after LLaMA-Factory):
    the template has no end-of-turn token, `stop` is the end-of-text token and `closing` what is written
    after an answer; the stop is learned as what follows the answer without standing there.
    """

    tokenizer: Any
    closing: tuple[int, ...]
    stop: int
    pad: int
    folds_system: bool = False
    drops_system: bool = False
    rides: bool = False

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of `messages` up to where the assistant's answer starts."""
        return template_ids(self.tokenizer, self._turns(messages), is_prompt=True)

    def whole(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation whose last turn is the assistant's."""
        return template_ids(self.tokenizer, self._turns(messages), is_prompt=False)

    def marked(self, messages: Sequence[Message], template: str) -> tuple[list[int], list[bool]]:
        """Ids of a conversation by `template`, and which are of text between its {% generation %} marks.

        Raises what the template does, NotImplementedError where the tokenizer keeps no characters' places.
        """
        if not self.tokenizer.is_fast:
            raise NotImplementedError("the tokenizer does not tell which characters a token is of")
        encoded = self.tokenizer.apply_chat_template(
            self._turns(messages),
            chat_template=template,
            return_dict=True,
            return_assistant_tokens_mask=True,
            **SETTINGS,
        )
        return list(encoded["input_ids"]), [bool(mark) for mark in encoded["assistant_masks"]]

    def text(self, ids: Sequence[int]) -> str:
        """What `ids` read, special tokens included."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def answer_end(self, ids: Sequence[int]) -> int:
        """Where the last turn of `ids` ends, its end-of-turn token included where the template has one."""
        if not self.rides:
            return len(ids) - len(self.closing) + 1
        follows = self.closing and tuple(ids[-len(self.closing) :]) == self.closing
        return len(ids) - len(self.closing) if follows else len(ids)

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        if self.drops_system and len(turns) > 1 and turns[0]["role"] == "system":
            return turns[1:]
        if self.folds_system and len(turns) > 1 and turns[0]["role"] == "system":
            first = {"role": turns[1]["role"], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            return [first, *turns[2:]]
        return turns


def open_chat(
    tokenizer: Any,
    *,
    drops_system: bool = False,
    efficient_eos: bool = False,
    vocabulary: int | None = None,
) -> Chat:
    """What `tokenizer`'s template means, found by asking it. Raises UsageError where turns have no end.

    `efficient_eos`: the end-of-text token ends answers where the template has nothing that does.
    `vocabulary`: how many embeddings the model has.
    """
    if not tokenizer.chat_template:
        if tokenizer.eos_token is None:
            raise UsageError(
                "the student's tokenizer has neither a chat template nor an end-of-text token",
                where="--student",
                hint="choose an instruction-tuned model",
            )
        tokenizer.chat_template = PLAIN_TEMPLATE
    user = {"role": "user", "content": "Hello"}
    folds_system = not takes_system(tokenizer, user)
    endings = [
        template_ids(tokenizer, [user, {"role": "assistant", "content": answer}], is_prompt=False)
        for answer in ("yes", "no 7")
    ]
    suffix = common_suffix(*endings)
    closing = from_first_special(suffix, special_ids(tokenizer))
    if efficient_eos:
        stop = riding_stop(tokenizer, closing)
        pad = pad_id(tokenizer, stop, vocabulary)
        return Chat(tokenizer, suffix, stop, pad, folds_system, drops_system, rides=True)
    if not closing:
        raise UsageError(
            "the student's chat template ends the assistant's turn with no special token,"
            " so it could never learn to stop",
            where="--student",
            hint="choose an instruction-tuned model, or: --efficient-eos",
        )
    pad = pad_id(tokenizer, closing[0], vocabulary)
    return Chat(tokenizer, closing, closing[0], pad, folds_system, drops_system)


def takes_system(tokenizer: Any, user: Mapping[str, str]) -> bool:
    """Whether the template writes a system turn: some refuse it, some leave it out without a word."""
    try:
        told = template_ids(tokenizer, [{"role": "system", "content": "Be kind"}, user], is_prompt=True)
    except DataError:
        return False
    return told != template_ids(tokenizer, [user], is_prompt=True)


def save_style(chat: Chat, folder: Path) -> None:
    """Write beside a trained student how it has to be asked, where that is not by its template alone."""
    style = {"drops_system": chat.drops_system, "efficient_eos": chat.rides}
    if any(style.values()):
        jsonl.replace_json(folder / STYLE, style)


def style_of(folder: Path | None) -> dict[str, bool]:
    """What `open_chat` has to be told of the student in `folder`."""
    path = folder / STYLE if folder else None
    return read_json(path) if path and path.is_file() else {}


def riding_stop(tokenizer: Any, closing: Sequence[int]) -> int:
    """The end-of-text token. Raises UsageError where there is none, or the template ends turns by itself."""
    if closing:
        raise UsageError(
            f"the student's chat template ends turns itself, with {tokenizer.decode(closing[:1])!r}",
            where="--efficient-eos",
            hint="leave the flag out: it is for templates without an end-of-turn token",
        )
    if tokenizer.eos_token_id is None:
        raise UsageError("the student's tokenizer has no end-of-text token", where="--efficient-eos")
    return int(tokenizer.eos_token_id)


def template_ids(tokenizer: Any, turns: Sequence[Mapping[str, str]], *, is_prompt: bool) -> list[int]:
    """Ids of `turns` by the tokenizer's own template. Raises DataError where the template refuses them.

    Templates that write today's date write DAY instead: a student is asked as it was trained, on any day.
    """
    import jinja2

    try:
        encoded = tokenizer.apply_chat_template(list(turns), add_generation_prompt=is_prompt, **SETTINGS)
    except jinja2.TemplateError as error:
        raise DataError(
            f"the student's chat template refuses this conversation: {error}",
            hint="turns must start with the user's and alternate",
        ) from None
    return list(encoded["input_ids"])


def special_ids(tokenizer: Any) -> set[int]:
    """Every special token. `all_special_ids` lacks the end-of-turn token of tokenizers read from GGUF."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def common_suffix(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """The longest ending that both have."""
    length = 0
    while length < min(len(left), len(right)) and left[-1 - length] == right[-1 - length]:
        length += 1
    return tuple(left[len(left) - length :])


def from_first_special(ids: Sequence[int], special: set[int]) -> tuple[int, ...]:
    """`ids` from the first special token on; empty where there is none."""
    start = next((index for index, number in enumerate(ids) if number in special), len(ids))
    return tuple(ids[start:])


def pad_id(tokenizer: Any, stop: int, vocabulary: int | None = None) -> int:
    """An id to pad with that ends nothing and has an embedding: any will do, as masks and labels hide it."""
    ends = {stop, tokenizer.eos_token_id}
    choices = (tokenizer.pad_token_id, tokenizer.unk_token_id, *range(len(ends) + 1))
    most = float("inf") if vocabulary is None else vocabulary
    return int(next(n for n in choices if n is not None and n not in ends and n < most))
