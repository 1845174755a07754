"""A classifier as a student: a pre-trained encoder, its state summed up, dropout and a linear head on top.

Refuses pickled weights, code that comes with a model, and a head put on another encoder than its own.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch
from torch import Tensor

from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.student import causal
from distill.student.batches import sorted_batches
from distill.student.device import Device
from distill.student.heads import Head, Nearest, Pooling
from distill.student.loading import POOLER, WHOLE, check_complete, check_folder, first_line, loading, silent
from distill.student.lora import fingerprint, target_names
from distill.student.pairs_in import Reader, padded
from distill.student.protocol import Answer
from distill.types import Message

if TYPE_CHECKING:
    from distill.weights import Weights

CARD = "config.json"
TENSORS = "classifier.safetensors"
MOST_TOKENS = 512
"""The longest input of an encoder that names no limit of its own."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a classifier's folder says. `temperature`, fitted on held-out rows, divides the logits."""

    kind: Literal["classifier"] = "classifier"
    labels: tuple[str, ...]
    label_texts: tuple[str, ...]
    encoder: str
    fingerprint: str
    pooling: Pooling
    method: str
    rank: int
    alpha: int
    targets: str
    limit: int
    trims: bool = False
    temperature: float = 1.0
    schema: int = 1


def load(weights: "Weights", device: Device) -> tuple[Any, Any]:
    """(encoder, tokenizer) on `device` in float32, frozen. Raises UsageError where there is no encoder."""
    import transformers

    where = f"--student {weights.label}"
    if weights.gguf_file:
        raise UsageError(
            "a GGUF file holds a language model, and a classifier needs an encoder",
            where=where,
            hint="--student local for the installed encoder, or --student-kind causal",
        )
    check_folder(Path(weights.folder_or_id), None)
    source = {"pretrained_model_name_or_path": weights.folder_or_id, "trust_remote_code": False}
    hint = "give a Hub id, a folder with config.json and *.safetensors, or 'local'"
    with silent(), causal.memory("choose a smaller --student"), loading(weights, "encoder", hint):
        if not is_encoder(weights):
            raise UsageError(
                "this is a language model, and a classifier needs an encoder",
                where=where,
                hint="--student local for the installed encoder, or --student-kind causal",
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        encoder, found = transformers.AutoModel.from_pretrained(**source, dtype=torch.float32, **WHOLE)
        check_complete(encoder, found, weights)
    encoder.requires_grad_(False)
    return encoder.eval().to(device.name), tokenizer


def is_encoder(weights: "Weights") -> bool:
    """Whether the model reads in both directions, as its config says. Raises OSError, ValueError."""
    import transformers

    if weights.gguf_file:
        return False
    config = transformers.AutoConfig.from_pretrained(weights.folder_or_id, trust_remote_code=False)
    named = [name for name in config.architectures or () if re.search("CausalLM|ConditionalGen|LMHead", name)]
    return not named and not getattr(config, "is_decoder", False)


def limit_of(encoder: Any, tokenizer: Any) -> int:
    """The longest input in tokens: positions the encoder has, less those RoBERTa's kind leaves unused."""
    positions = getattr(encoder.config, "max_position_embeddings", None) or MOST_TOKENS
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    unused = (table.padding_idx or -1) + 1 if isinstance(table, torch.nn.Embedding) else 0
    return int(min(positions - unused, tokenizer.model_max_length))


def pooling_of(weights: "Weights", asked: Literal["auto", "mean", "cls"]) -> Pooling:
    """How to sum up a text: as asked, else as sentence-transformers' file beside it says, or mean."""
    if asked != "auto":
        return asked
    told = Path(weights.folder_or_id) / "1_Pooling" / CARD
    if told.is_file():
        return "cls" if msgspec.json.decode(told.read_bytes()).get("pooling_mode_cls_token") else "mean"
    return "mean"


def attach(encoder: Any, card: Card, dropout: float, lora_dropout: float, seed: int) -> Head:
    """The encoder with its head. Trainable: the head, and LoRA's matrices or (method full) every weight.

    Raises UsageError on targets that the encoder does not have.
    """
    import peft

    torch.manual_seed(seed)
    if card.method == "full":
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(not re.fullmatch(POOLER, name))
    else:
        pools = any(re.fullmatch(POOLER, name) for name, _ in encoder.named_modules())
        shape = peft.LoraConfig(
            r=card.rank,
            lora_alpha=card.alpha,
            lora_dropout=lora_dropout,
            target_modules=target_names(encoder, card.targets, POOLER),
            exclude_modules=POOLER if pools else None,
            use_dora=card.method == "dora",
            use_rslora=card.method == "rslora",
        )
        peft.inject_adapter_in_model(shape, encoder)
    return Head(encoder, card.pooling, len(card.labels), dropout).to(encoder.device)


def trained(net: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What learns, by name."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def save(net: Head, card: Card, folder: Path) -> None:
    """Write what learned and `card` into `folder`. Raises StorageError."""
    import safetensors.torch

    state = {name: value.detach().cpu().contiguous() for name, value in trained(net).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(state, folder / TENSORS, metadata={"format": "pt"})
    except OSError as error:
        raise jsonl.full_disk(folder, error) from None
    jsonl.replace_json(folder / CARD, card)


def read_card(folder: Path) -> Card | None:
    """What the classifier in `folder` says of itself; None without one. Raises UsageError if damaged."""
    path = folder / CARD
    if not (folder / TENSORS).is_file() or not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise UsageError(f"damaged: {error}", where=str(path), hint="run: distill finetune") from None


@dataclass(frozen=True)
class ClassifierStudent:
    """A `Student` whose answer is a label's name, with the probability it gives it."""

    model: str
    net: Head | Nearest
    reader: Reader
    card: Card
    device: Device
    weights: "Weights"

    def base(self) -> "ClassifierStudent":
        """The encoder as it was before training: the label whose words are nearest, by cosine."""
        return open_untrained(self.weights, self.device, self.card)

    def limited_to(self, answers: Sequence[str]) -> "ClassifierStudent":
        """Itself: it has only ever said labels."""
        return self

    def has_room(self, conversation: Sequence[Message], max_new_tokens: int) -> bool:
        """Whether it is short enough to be read; a label takes no room."""
        return len(self.reader.ids(conversation)[0]) <= self.reader.limit

    def answer(
        self, conversations: Sequence[Sequence[Message]], *, max_new_tokens: int, batch_size: int
    ) -> Iterator[tuple[int, Answer]]:
        """(index, answer) for each conversation, batch by batch, the longest first; a label is one token.

        Raises DataError where an input is too long and was not to be trimmed, DeviceError out of memory.
        """
        inputs = [self.reader.ids(conversation) for conversation in conversations]
        for index, (ids, _) in enumerate(inputs):
            if len(ids) > self.reader.limit:
                raise DataError(
                    f"conversation {index + 1} has {len(ids)} tokens, and the encoder takes"
                    f" {self.reader.limit}",
                    hint="shorten it, or train with --on-long trim-prompt: then it is cut here too",
                )
        for indices in sorted_batches([len(ids) for ids, _ in inputs], batch_size):
            began = time.perf_counter()
            sure_BK = self.probabilities([inputs[index] for index in indices])
            took = time.perf_counter() - began
            for index, sure_K in zip(indices, sure_BK.tolist(), strict=True):
                best = max(range(len(sure_K)), key=sure_K.__getitem__)
                yield index, Answer(self.card.labels[best], "stop", took, 1, sure_K[best])

    def probabilities(self, inputs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
        """Calibrated probabilities (B, K) of each label for (ids, token types)."""
        batch = padded(inputs, self.reader.tokenizer.pad_token_id, self.device.name)
        with causal.memory("lower --answer-batch"), torch.inference_mode(), self.device.autocast():
            logits_BK = self.net(**batch)
        sure_BK: Tensor = (logits_BK / self.card.temperature).softmax(-1)
        return sure_BK.cpu()


def open_classifier(weights: "Weights", device: Device, folder: Path) -> ClassifierStudent:
    """The classifier in `folder`, on the encoder it was trained on. Raises UsageError where they differ."""
    card = read_card(folder)
    if card is None:
        raise UsageError("no classifier here", where=str(folder), hint="run: distill finetune")
    encoder, tokenizer = load(weights, device)
    if card.fingerprint != fingerprint(encoder):
        raise UsageError(
            f"this classifier was trained on {card.encoder}, whose weights are not those of {weights.label}",
            where=str(folder),
            hint=f"use --student {card.encoder}, or run: distill finetune",
        )
    net = attach(encoder, card, 0.0, 0.0, 0)
    load_into(net, folder)
    net.requires_grad_(False)
    reader = Reader(tokenizer, card.limit, card.trims)
    return ClassifierStudent(weights.label, net.eval(), reader, card, device, weights)


def load_into(net: Head, folder: Path) -> None:
    """What was trained into `folder` into a fresh net. Raises UsageError where it does not fit."""
    import safetensors.torch

    parameters = trained(net)
    try:
        state = safetensors.torch.load_file(folder / TENSORS)
        if state.keys() != parameters.keys():
            raise ValueError("its tensors are not those that its card says were trained")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise UsageError(
            f"the classifier cannot be loaded: {first_line(error)}",
            where=str(folder),
            hint="run: distill finetune",
        ) from None


def open_untrained(weights: "Weights", device: Device, card: Card) -> ClassifierStudent:
    """The encoder alone, answering with the label whose words are nearest. Raises UsageError, DeviceError.

    It reads the last message only, its end trimmed if need be: examples in a prompt teach an encoder nothing.
    """
    encoder, tokenizer = load(weights, device)
    reader = Reader(tokenizer, card.limit, trims=True, last_only=True)
    words = [reader.ids([Message("user", text)]) for text in card.label_texts]
    net = Nearest(encoder, card.pooling, padded(words, tokenizer.pad_token_id, device.name))
    plain = msgspec.structs.replace(card, temperature=1.0)
    return ClassifierStudent(weights.label, net.eval(), reader, plain, device, weights)
