"""Training that goes on from a student there is: which adapter, whether it fits, its weights put in.

Refuses an adapter of another base, method, rank or layers; what all weights were trained of is no adapter.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.store.run import Run, digest
from distill.student import lora
from distill.student.opening import Kind, kind_of

if TYPE_CHECKING:
    from distill.student.classifier import Card as HeadCard

LAST, WHERE = "last", "--from-adapter"


def folder_of(run: Run, config: FinetuneConfig) -> Path | None:
    """The adapter that training starts from; None where it starts anew."""
    if config.from_adapter is None:
        return None
    return run.adapter if config.from_adapter == LAST else Path(config.from_adapter).expanduser()


def check(config: FinetuneConfig) -> None:
    """Raise UsageError where another flag has no sense beside it."""
    if config.from_adapter is None:
        return
    if config.learning_curve:
        raise UsageError(
            "a curve of students that started from one that has seen the pairs says nothing",
            where=f"{WHERE}, --learning-curve",
            hint="leave one of them out",
        )
    if "auto" in (config.student, config.student_kind):
        raise UsageError(
            "an adapter is of one kind, so there is nothing to choose",
            where=f"{WHERE}, --student-kind auto",
            hint="name the model it was trained on with --student, and its --student-kind",
        )


def started(run: Run, config: FinetuneConfig) -> dict[str, Any]:
    """What metrics.json and a checkpoint say of the start; nothing where training starts anew."""
    folder = folder_of(run, config)
    if folder is None:
        return {}
    return {"from_adapter": {"given": config.from_adapter, "weights": digest(tensors(folder))}}


def other(run: Run, config: FinetuneConfig) -> dict[str, Any]:
    """What makes a finished step stale: another adapter's weights, but not those the step itself replaced."""
    folder = folder_of(run, config)
    if folder is None or is_own(run, config):
        return {}
    return {"from_adapter_weights": digest(tensors(folder))}


def is_own(run: Run, config: FinetuneConfig) -> bool:
    """Whether training starts from the run's own adapter, which is what it will replace."""
    folder = folder_of(run, config)
    return folder is not None and folder.resolve() == run.adapter.resolve()


def tensors(folder: Path) -> Path | None:
    """The file of weights in an adapter's folder."""
    return min(folder.glob("*.safetensors"), default=None)


def shaped(run: Run, config: FinetuneConfig, kind: Kind, say: Callable[[str], None]) -> FinetuneConfig:
    """`config` with rank and alpha, where left open, as the adapter it starts from has them.

    Raises UsageError where there is no adapter, or it is of another kind, method, rank or alpha.
    """
    folder = folder_of(run, config)
    if folder is None:
        return config
    card = card_of(folder, kind)
    asked = {
        "--method": (config.method, card.method),
        "--lora-rank": (config.lora_rank or card.rank, card.rank),
        "--lora-alpha": (config.lora_alpha or card.alpha, card.alpha),
    }
    for name, (wanted, there) in asked.items():
        if wanted != there:
            raise UsageError(
                f"the adapter was trained with {name} {there}, not {wanted}",
                where=f"{WHERE} {folder}",
                hint=f"{name} {there}, or leave {WHERE} out to train anew",
            )
    say(f"going on from the adapter in {folder}: {card.method}, rank {card.rank}, alpha {card.alpha}")
    return replace(config, lora_rank=card.rank, lora_alpha=card.alpha)


def card_of(folder: Path, kind: Kind) -> Any:
    """What the adapter says of itself. Raises UsageError where it is none of that kind."""
    from distill.student import classifier

    if kind_of(folder) == "classifier":
        if kind == "classifier":
            return classifier.read_card(folder)
        raise UsageError("a classifier", where=f"{WHERE} {folder}", hint="--student-kind classifier")
    card = lora.read_card(folder)
    if kind == "classifier":
        raise UsageError("a language model's", where=f"{WHERE} {folder}", hint="--student-kind causal")
    if card.method == "full":
        raise UsageError(
            "all weights were trained here: this is a model, not an adapter",
            where=f"{WHERE} {folder}",
            hint=f"to go on from it, name it as the model: --student {folder}",
        )
    return card


def put_in(run: Run, config: FinetuneConfig, peft_model: Any, base: str) -> None:
    """The adapter's weights into a fresh `peft_model` of the base called `base`. Raises UsageError."""
    folder = folder_of(run, config)
    if folder is None:
        return
    import peft
    import safetensors
    import safetensors.torch

    lora.check_base(peft_model, folder, base)
    try:
        state = safetensors.torch.load_file(folder / lora.WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise UsageError(f"the adapter cannot be loaded: {error}", where=f"{WHERE} {folder}") from None
    fresh = peft.get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    if {name: value.shape for name, value in state.items()} != {
        name: value.shape for name, value in fresh.items()
    }:
        raise UsageError(
            f"the adapter is not on the layers of --lora-targets {config.lora_targets}",
            where=f"{WHERE} {folder}",
            hint="give the --lora-targets it was trained with, or leave it out to train anew",
        )
    peft.set_peft_model_state_dict(peft_model, state)


def put_in_head(run: Run, config: FinetuneConfig, net: Any, card: "HeadCard") -> None:
    """The same for a classifier: its head and LoRA, where labels, encoder and layers are those of `card`."""
    folder = folder_of(run, config)
    if folder is None:
        return
    from distill.student import classifier

    before = card_of(folder, "classifier")
    for name in ("fingerprint", "labels", "pooling", "targets"):
        if getattr(before, name) != getattr(card, name):
            what = {"fingerprint": "encoder", "targets": "--lora-targets"}.get(name, name)
            raise UsageError(
                f"the classifier there was trained with another {what}",
                where=f"{WHERE} {folder}",
                hint="leave it out to train anew",
            )
    classifier.load_into(net, folder)
