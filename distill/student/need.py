"""The memory a run will take, told before anything is loaded, from the model's config and the pairs' lengths.

Refuses to start what cannot fit: weights and optimiser. A batch that does not fit is run in smaller passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from distill.config import FinetuneConfig
from distill.errors import DeviceError
from distill.student.data import PACK_TOKENS
from distill.student.device import Device
from distill.student.forward import EAGER_TOKENS
from distill.student.guard import PASS_TOKENS, free_bytes, release, size
from distill.student.lora import LoraShape, linear_kinds
from distill.student.opening import Kind
from distill.types import Pair

if TYPE_CHECKING:
    from distill.weights import Weights

NF4_BYTES = 0.516  # a packed weight and its share of the scales, which are packed too; the rest is float32
ADAM_BYTES = 16  # a trained value in float32, its gradient and AdamW's two moments
# Bytes that a layer keeps for its backward pass of each token, by the width of the stream and of the MLP; of
# each pair of tokens and head, where the attention matrix is kept; of each trained token and word. Fitted to
# `guard.kept_bytes` of seven Llama shapes with LoRA: off by a tenth at most.
STREAM, ATTENTION, LOGITS = 35.0, 5.0, 4.3
MLP = {"float32": 15.0, "bfloat16": 7.5}
WORKING = 1.75
"""Peak of a step over what its passes keep: gradients on their way, and what the allocator does not reuse."""
TEXT_BYTES, TURN_TOKENS = 4.0, 8
"""Bytes of text a token stands for, about; tokens that a template puts around a turn."""


@dataclass(frozen=True)
class Size:
    """How many tokens a row has, and how many of them are trained."""

    tokens: int
    trained: int


@dataclass(frozen=True)
class Need:
    """Bytes a run takes: the frozen weights, what is trained with its optimiser, and a step on a batch."""

    weights: int
    trained: int
    batch: int = 0

    @property
    def total(self) -> int:
        """All of it, beside what the process holds before anything is loaded."""
        return self.weights + self.trained + self.batch

    def line(self, free: int) -> str:
        """The sentence that is shown."""
        parts = f"weights {size(self.weights)}, what is trained with its optimiser {size(self.trained)}"
        if self.batch:
            parts += f", the longest batch {size(self.batch)}"
        return f"memory: about {size(self.total)} ({parts}); {size(free)} are free"


def estimate(
    weights: "Weights",
    device: Device,
    shape: LoraShape,
    batch: Sequence[Size] = (),
    kind: Kind = "causal",
) -> Need | None:
    """What training will take, from the model's config alone; None where no config can be read.

    Parameters are counted on a model without memory. `batch` are the rows of the longest batch; an encoder
    stays float32 and gives no logits of words.
    """
    model = hollow(weights, kind)
    if model is None:
        return None
    count = sum(parameter.numel() for parameter in model.parameters())
    if kind == "classifier":
        batch = [Size(min(row.tokens, limit_of(model.config)), 0) for row in batch]
    step = batch_bytes(model.config.get_text_config(), device, batch)
    if shape.method == "full":
        return Need(0, count * ADAM_BYTES, step)
    linear: list[Any] = [module for module in model.modules() if isinstance(module, linear_kinds())]
    head = model.get_output_embeddings()
    sides = sum(sum(module.weight.shape) for module in linear if module is not head)
    stored = count * (2 if device.dtype == "bfloat16" and kind == "causal" else 4)
    if shape.method == "qlora":
        inside = sum(module.weight.numel() for module in linear if module is not head)
        stored = int(inside * NF4_BYTES) + (count - inside) * 4
    return Need(stored, sides * shape.rank * ADAM_BYTES, step)


def batch_bytes(config: Any, device: Device, batch: Sequence[Size]) -> int:
    """What a step on `batch` takes beside weights and optimiser, by the config of the model's text part.

    0 where the config does not say how wide its layers are. A pass holds PASS_TOKENS at most.
    """
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    found: list[Any] = [getattr(config, name, None) for name in names]
    if not batch or not all(isinstance(value, int) for value in found):
        return 0
    width, inner, layers, heads, words = found
    longest, tokens = max(row.tokens for row in batch), sum(row.tokens for row in batch)
    by_token = layers * (STREAM * width + MLP[device.dtype] * inner)
    if device.name == "cpu" and longest <= EAGER_TOKENS:
        by_token += layers * ATTENTION * heads * longest
    kept = by_token * tokens + LOGITS * words * sum(row.trained for row in batch)
    return int(WORKING * kept * min(1.0, PASS_TOKENS / tokens))


def limit_of(config: Any) -> int:
    """The longest input of an encoder, about."""
    return int(getattr(config, "max_position_embeddings", None) or 1 << 20)


def longest_batch(config: FinetuneConfig, pairs: Sequence[Pair]) -> list[Size]:
    """The rows of the longest batch, guessed from their texts: no tokenizer is loaded yet."""
    if config.stage == "pt":
        pack = config.max_length_tokens or PACK_TOKENS
        return [Size(pack, pack)] * config.batch_size
    return sorted(map(guessed, pairs), key=lambda row: -row.tokens)[: config.batch_size]


def guessed(pair: Pair) -> Size:
    """About how long a pair will be."""
    turns = [message.content for message in pair.messages]
    answer = int(len(pair.answer.encode()) / TEXT_BYTES) + 2
    asked = int(sum(len(text.encode()) for text in turns) / TEXT_BYTES)
    return Size(asked + answer + TURN_TOKENS * (len(turns) + 1), answer)


def hollow(weights: "Weights", kind: Kind) -> Any:
    """The model on torch's meta device: shapes and no values. None where its config cannot be read."""
    import transformers

    source = {"gguf_file": weights.gguf_file} if weights.gguf_file else {}
    try:
        config = transformers.AutoConfig.from_pretrained(
            weights.folder_or_id, trust_remote_code=False, **source
        )
        with torch.device("meta"):
            opened = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModel
            return opened.from_config(config)
    except (OSError, ValueError, KeyError, ImportError, AttributeError):
        return None  # loading comes next, and says better what is wrong


def check_memory(
    weights: "Weights",
    device: Device,
    shape: LoraShape,
    say: Callable[[str], None],
    batch: Sequence[Size] = (),
    kind: Kind = "causal",
) -> None:
    """Say what the run will take; raise DeviceError where it is more than there is."""
    release()
    free, need = free_bytes(device), estimate(weights, device, shape, batch, kind)
    if need is None:
        return
    if need.weights + need.trained > free:
        raise DeviceError(
            f"not enough memory to train this student: {need.line(free)}",
            where="--student",
            hint="choose a smaller one" + (", or --method lora" if shape.method == "full" else ""),
        )
    say(need.line(free) + (": batches are run in smaller passes" if need.total > free else ""))
