"""A causal language model as a student: load it from safetensors or GGUF, let it answer in batches.

Refuses pickled weights and code that comes with a model.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from distill.errors import DataError, DeviceError
from distill.student import decode, lora
from distill.student.chat import Chat, open_chat, style_of
from distill.student.choices import Choices, choices_of
from distill.student.device import Device
from distill.student.forward import Net, attention_for, choose_attention, open_net
from distill.student.four_bit import four_bits, packed
from distill.student.gguf import read_once
from distill.student.guard import is_out_of_memory
from distill.student.loading import WHOLE, check_complete, check_folder, first_line, loading, silent, source
from distill.student.merged import Factors, Merged, factors, in_force, merged, unmerged
from distill.student.protocol import Answer
from distill.types import Message

if TYPE_CHECKING:
    from distill.weights import Weights

SHORT = 16
"""Ids in an answer that is given anew by itself where rounding decided; in longer ones it often does."""


def load(weights: "Weights", device: Device, *, method: lora.Method = "lora") -> tuple[Any, Any]:
    """(model, tokenizer) on `device`, frozen, in evaluation mode.

    In bfloat16, matrices are stored so (autocast would cast them anew at every use) while vectors and the
    stream between layers stay float32, as do matrices that method full will train; qlora stores 4 bits.
    Raises UsageError where there are no safe weights or not all, DeviceError where they do not fit.
    """
    import transformers

    check_folder(Path(weights.folder_or_id), weights.gguf_file)
    stored = replace(device, dtype="float32") if method == "full" else device
    packing = {"quantization_config": four_bits(device, weights)} if method == "qlora" else {}
    once = read_once() if weights.gguf_file else nullcontext()
    with silent(), once, memory("choose a smaller --student"), loading(weights):
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.folder_or_id, **source(weights))
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            weights.folder_or_id,
            dtype=getattr(torch, stored.dtype),
            **WHOLE,
            **source(weights),
            **packing,
        )
        check_complete(model, found, weights)
        if packing:
            return packed(model), tokenizer
        return prepare(forget_quantizer(model), stored), tokenizer


def load_tokenizer(weights: "Weights") -> tuple[Any, Any]:
    """(tokenizer, model config), no weights read. Raises UsageError where there are none."""
    import transformers

    once = read_once() if weights.gguf_file else nullcontext()
    with silent(), once, loading(weights):
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.folder_or_id, **source(weights))
        config = transformers.AutoConfig.from_pretrained(weights.folder_or_id, **source(weights))
        return tokenizer, config.get_text_config()


def prepare(model: Any, device: Device) -> Any:
    """`model` frozen, on `device`; in bfloat16 with float32 vectors and a float32 stream between layers."""
    model.requires_grad_(False)
    model.eval()
    if device.dtype == "bfloat16":
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.float32 if parameter.dim() < 2 else torch.bfloat16)
        model.get_input_embeddings().register_forward_hook(as_float32)
    return model.to(device.name)


def as_float32(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """A forward hook: the embedding starts the stream, which then stays as wide."""
    return output.float()


def forget_quantizer(model: Any) -> Any:
    """`model` without the marks of the GGUF it was read from: its weights are plain, and it may be saved."""
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer = None
        model.is_quantized = False
        for owner, name in ((model, "quantization_method"), (model.config, "quantization_config")):
            if hasattr(owner, name):
                delattr(owner, name)
    return model


@dataclass(frozen=True)
class CausalStudent:
    """A `Student`: greedy, batched, and the same with or without its adapter.

    `only`: the answers it may give; () is any.
    """

    model: str
    net: Net
    chat: Chat
    device: Device
    peft_model: Any | None = None
    adapter: bool = True
    trained_from: "Weights | None" = None
    only: tuple[str, ...] = ()

    def base(self) -> "CausalStudent":
        """The same weights with the adapter switched off; those it was trained from, where all were."""
        if self.trained_from is not None:
            return open_student(self.trained_from, self.device).limited_to(self.only)
        return replace(self, adapter=False, chat=replace(self.chat, drops_system=False))

    def limited_to(self, answers: Sequence[str]) -> "CausalStudent":
        """The same student, which can say nothing but one of `answers`."""
        return replace(self, only=tuple(answers))

    def has_room(self, conversation: Sequence[Message], max_new_tokens: int) -> bool:
        """Whether it leaves room for an answer of so many tokens."""
        return len(self.chat.prompt(conversation)) + max_new_tokens <= context_tokens(self.net.model)

    def answer(
        self, conversations: Sequence[Sequence[Message]], *, max_new_tokens: int, batch_size: int
    ) -> Iterator[tuple[int, Answer]]:
        """(index, answer) for each conversation as it ends, `batch_size` at a time, the longest first.

        On a CPU a short answer is, up to its last id that hangs on rounding, what the conversation gets by
        itself, so that hardly any depends on those beside it; on a GPU it is not done (nor tried).

        Raises DataError where a conversation leaves no room for an answer, DeviceError out of memory.
        """
        prompts = [self.chat.prompt(conversation) for conversation in conversations]
        max_new_tokens = self._choices.longest if self._choices else max_new_tokens
        self._check_room(prompts, max_new_tokens)
        choose_attention(self.net.model, max(map(len, prompts), default=0) + max_new_tokens)
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        with self._running():
            decoding = decode.Decoding(
                self.net,
                [prompts[index] for index in order],
                decode.shared_start(self.net, prompts),
                decode.stop_ids(self.net.model, self.chat),
                self.chat.pad,
                room=max_new_tokens,
                width=batch_size,
                choices=self._choices,
            )
        # Not around the loop: what is set while the model runs is not for whoever takes the answers.
        while decoding.going:
            with self._running():
                ended = decoding.step()
            for row in ended:
                yield order[row.index], self._answer(self._by_itself(decoding, row), decoding.stops)

    def _by_itself(self, decoding: decode.Decoding, row: decode.Going) -> decode.Going:
        """`row`, or what it is without a batch, a shared start or a merged matrix, where rounding decided."""
        if not row.unsure or len(row.ids) > SHORT or self.device.name != "cpu":
            return row
        with self._running(merges=False), attention_for(self.net.model):
            return decode.alone(decoding, row)

    def _answer(self, row: decode.Going, stops: frozenset[int]) -> Answer:
        stopped, took = row.ids[-1] in stops, time.perf_counter() - row.began
        text = self.chat.text(row.ids[:-1] if stopped else row.ids).strip()
        if self._choices:
            text = self._choices.answers[tuple(row.ids)]
        sure = math.exp(row.logprob / len(row.ids))
        return Answer(text, "stop" if stopped else "length", took, len(row.ids), sure)

    @cached_property
    def _choices(self) -> Choices | None:
        return choices_of(self.chat, self.only) if self.only else None

    @cached_property
    def _merged(self) -> Merged:
        return merged(self.peft_model)

    @cached_property
    def _factors(self) -> Factors:
        return factors(self._merged)

    def _check_room(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        limit = context_tokens(self.net.model)
        for index, prompt in enumerate(prompts):
            if len(prompt) + max_new_tokens > limit:
                raise DataError(
                    f"conversation {index + 1} has {len(prompt)} tokens and leaves no room for"
                    f" {max_new_tokens} more within the student's {limit}",
                    hint="shorten it: nothing is ever cut",
                )

    @contextmanager
    def _running(self, *, merges: bool = True) -> Iterator[None]:
        switch: AbstractContextManager[Any] = nullcontext()
        if self.peft_model is not None and not self.adapter:
            switch = self.peft_model.disable_adapter()
        elif self.peft_model is not None:
            switch = in_force(self._merged) if merges else unmerged(self._factors)
        with memory("lower --answer-batch"), torch.inference_mode(), self.device.autocast(), switch:
            yield


def open_student(
    weights: "Weights", device: Device, adapter: Path | None = None, style: dict[str, bool] | None = None
) -> CausalStudent:
    """The student behind `weights`, with what was trained in that folder on it, or in its place.

    `style`: how it is asked, as `open_chat` is told; default as that folder says.
    Raises UsageError, DeviceError.
    """
    card = lora.read_card(adapter) if adapter else None
    if adapter and card and card.method == "full":
        whole = msgspec.structs.replace(weights, folder_or_id=str(adapter), gguf_file=None)
        return replace(open_student(whole, device, style=style_of(adapter)), trained_from=weights)
    model, tokenizer = load(weights, device, method=card.method if card else "lora")
    words = model.config.get_text_config().vocab_size
    chat = open_chat(tokenizer, **(style or style_of(adapter)), vocabulary=words)
    wrapped = lora.load(model, adapter, weights.label) if adapter else None
    with device.autocast():
        net = open_net(model)
    return CausalStudent(weights.label, net, chat, device, wrapped)


def context_tokens(model: Any) -> int:
    """The longest row the model can take."""
    return context_of(model.config.get_text_config())


def context_of(config: Any) -> int:
    """The same from the config of its text part."""
    return int(getattr(config, "max_position_embeddings", None) or 1 << 20)


@contextmanager
def memory(hint: str) -> Iterator[None]:
    """Turn running out of memory, on a GPU or off it, into DeviceError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"out of memory: {first_line(error)}", hint=hint) from None
