"""What a frozen model makes of each text: an encoder's summed-up state, a language model's from half-way up.

Refuses to train anything: a linear head on these states is somebody else's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.errors import UsageError
from distill.student import causal, classifier
from distill.student.batches import pad_right, sorted_batches
from distill.student.encode import Row
from distill.student.heads import pooled
from distill.student.pairs_in import Reader, padded, texts_of
from distill.types import Message, Progress

if TYPE_CHECKING:
    from distill.student.device import Device
    from distill.weights import Weights

DEPTH = 0.6
"""The share of a language model's layers that is run: what a text says is read off best in its middle
(Tenney et al. 2019); on sst2 and SmolLM2-135M 0.6 was best of 0.27 to 1."""
BATCH = 32


def states(
    weights: "Weights", device: "Device", conversations: Sequence[Sequence[Message]], progress: Progress
) -> Tensor:
    """States (N, H), float32 on the CPU, of like scale: rows of length one, or columns of variance 1 / H.

    Inputs longer than the model takes are trimmed. Raises UsageError where the weights cannot be loaded,
    DeviceError out of memory.
    """
    progress.begin(f"reading {len(conversations)} rows with {weights.label}", len(conversations))
    if classifier.is_encoder(weights):
        found = _encoder_states(weights, device, conversations, progress)
        return torch.nn.functional.normalize(found, dim=1)
    found = _causal_states(weights, device, conversations, progress)
    spread_H = found.std(0) + 1e-6
    alike_NH: Tensor = (found - found.mean(0)) / spread_H / found.shape[1] ** 0.5
    return alike_NH


def _encoder_states(
    weights: "Weights", device: "Device", conversations: Sequence[Sequence[Message]], progress: Progress
) -> Tensor:
    encoder, tokenizer = classifier.load(weights, device)
    reader = Reader(tokenizer, classifier.limit_of(encoder, tokenizer), trims=True)
    pooling = classifier.pooling_of(weights, "auto")
    inputs = [reader.ids(conversation) for conversation in conversations]

    def read(indices: Sequence[int]) -> Tensor:
        batch = padded([inputs[index] for index in indices], tokenizer.pad_token_id, device.name)
        return pooled(encoder, pooling, batch)

    return _each_batch(read, [len(ids) for ids, _ in inputs], device, progress)


def _causal_states(
    weights: "Weights", device: "Device", conversations: Sequence[Sequence[Message]], progress: Progress
) -> Tensor:
    """The mean over a text's tokens and the last one's state, side by side."""
    model, tokenizer = causal.load(weights, device)
    decoder = model.get_decoder()
    cut(decoder, weights)
    most = causal.context_tokens(model)
    texts = ["\n\n".join(texts_of(conversation)) for conversation in conversations]
    rows = [Row("", tuple(tokenizer(text)["input_ids"][-most:]) or (0,), ()) for text in texts]

    def read(indices: Sequence[int]) -> Tensor:
        batch = [rows[index] for index in indices]
        ids_BT, _ = pad_right(batch, 0)
        out_BTH = decoder(input_ids=ids_BT.to(device.name), use_cache=False).last_hidden_state
        ends = [len(row.ids) for row in batch]
        return torch.stack(
            [
                torch.cat([out_TH[:end].mean(0), out_TH[end - 1]])
                for out_TH, end in zip(out_BTH, ends, strict=True)
            ]
        )

    return _each_batch(read, [len(row.ids) for row in rows], device, progress)


def cut(decoder: Any, weights: "Weights") -> None:
    """Leave DEPTH of its layers, however they are called. Raises UsageError where they cannot be told."""
    count = getattr(decoder.config, "num_hidden_layers", None)
    for name, part in decoder.named_children():
        if isinstance(part, torch.nn.ModuleList) and len(part) == count:
            setattr(decoder, name, part[: max(1, round(DEPTH * len(part)))])
            return
    raise UsageError(
        "it cannot be told which of this model's parts are its layers",
        where=f"--student {weights.label}",
        hint="--student local",
    )


def _each_batch(read: Any, lengths: Sequence[int], device: "Device", progress: Progress) -> Tensor:
    """What `read` gives for each row, in order; rows of like length are read together."""
    found: dict[int, Tensor] = {}
    with causal.memory("choose a smaller --student"), torch.inference_mode(), device.autocast():
        for indices in sorted_batches(lengths, BATCH):
            found.update(zip(indices, read(indices).float().cpu(), strict=True))
            progress.advance(len(indices))
    return torch.stack([found[index] for index in range(len(lengths))])
