"""Which kind of student a name or a folder stands for, and the student itself, opened.

Refuses to guess a trained folder's kind from its name: what was written there says it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill.weights import Weights, encoder_weights, student_weights

if TYPE_CHECKING:
    from distill.student.device import Device

Kind = Literal["causal", "classifier"]
INSTALLED = ("local", "auto")
"""Names that stand for the installed model of either kind."""


def kind_of(adapter: Path) -> Kind:
    """What was trained into that folder. Raises UsageError where its card is damaged."""
    from distill.student.classifier import read_card

    return "causal" if read_card(adapter) is None else "classifier"


def weights_for(student: str, kind: Kind, asked: Literal["causal", "classifier", "auto"]) -> Weights:
    """The weights for a student of that kind, where `--student` and `--student-kind` say `student`, `asked`.

    With 'auto' a named model stands for its own kind, and the installed one for the other. Raises UsageError.
    """
    if student in INSTALLED:
        return encoder_weights("local") if kind == "classifier" else student_weights("local")
    named = student_weights(student)
    if asked != "auto" or own_kind(named) == kind:
        return named
    return weights_for("local", kind, asked)


def own_kind(weights: Weights) -> Kind:
    """What the model's own config says; a config that cannot be read is told of by whoever loads it."""
    from distill.student.classifier import is_encoder

    try:
        return "classifier" if is_encoder(weights) else "causal"
    except (OSError, ValueError, KeyError):
        return "causal"


def trained_weights(student: str, asked: Literal["causal", "classifier", "auto"], adapter: Path) -> Weights:
    """The weights that what is in `adapter` was trained on, by the flags it was trained with."""
    return weights_for(student, kind_of(adapter), asked)


def open_student(weights: Weights, device: "Device", adapter: Path | None) -> Any:
    """The student trained into `adapter` (None: a language model as it comes); `.base()` is it untrained.

    Raises UsageError where they do not fit, DeviceError where they are too large.
    """
    from distill.student import causal, classifier

    if adapter is not None and kind_of(adapter) == "classifier":
        return classifier.open_classifier(weights, device, adapter)
    return causal.open_student(weights, device, adapter)


def parameters_of(student: Any) -> int:
    """How many numbers the student is made of."""
    net = getattr(student.net, "model", student.net)
    return sum(parameter.numel() for parameter in net.parameters())
