"""Students opened for a command: the run's own with its base, and others to compare with.

Refuses a student that was trained on other pairs than there are now, or for another task.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import views
from distill.config import FinetuneConfig, plain
from distill.console import Bar
from distill.errors import UsageError
from distill.options import fill
from distill.report.renewed import lacking
from distill.report.reproduce import private
from distill.results import ASIDE
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import content_id
from distill.weights import Weights, student_weights
from distill.workplace import Workplace, needs

if TYPE_CHECKING:
    from distill.systems import Other

TAKEN = ("teacher", "student", "base", "prompted base", *ASIDE)
"""The names of systems that are in every comparison, and of what stands beside them."""
SAMPLES, PIECE = 64, 1 << 18
"""What is read of a file to know it again: weights that were trained on are other ones everywhere."""


def check_trained(place: Workplace) -> FinetuneConfig:
    """The flags the student was trained with. Raises UsageError where it was trained on other pairs."""
    from distill.steps.finetune import made_from

    config = fill(FinetuneConfig, (place.run.summary("finetune") or {})["made_from"])
    if changed := place.run.changed("finetune", made_from(place.run, config), plain(FinetuneConfig())):
        raise UsageError(
            f"the student is stale: {', '.join(changed)} changed since it was trained",
            where=str(place.run.adapter),
            hint=f"run: {views.command(place.run, 'finetune')}",
        )
    return config


def known_report(place: Workplace, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report where it is whole and nothing changed since; else None, having said why it is made anew."""
    if absent := lacking(place.run.summary("compare") or {}):
        place.console.say(f"the report is partial ({absent}): asking for the rest")
        return None
    return place.done("compare", made_from)


def open_students(place: Workplace) -> tuple[Any, Any]:
    """(student, base): what the run trained, and the same untrained. Raises as `check_trained`."""
    from distill.student.device import pick as pick_device
    from distill.student.opening import open_student, trained_weights

    config = check_trained(place)
    with Bar(place.console) as bar:
        bar.begin("loading the student", None)
        device = pick_device(config.device, config.dtype)
        weights = trained_weights(config.student, config.student_kind, place.run.adapter)
        student = open_student(weights, device, place.run.adapter)
        return student, student.base()


def find_others(place: Workplace, names: Sequence[str]) -> "list[Other]":
    """The students of `--also`: another run's, else a model as it comes; opened when they are first asked.

    Raises UsageError where a name is taken, or the other run's student is for another task.
    """
    from distill.student.opening import trained_weights
    from distill.systems import Other, adapter_digest

    found: list[Other] = []
    task = read_task(place.run.task)
    for name in dict.fromkeys(names):
        root = place.run.root.parent / name
        other = Run(root) if "/" not in name and (root / "run.json").is_file() else None
        if name in TAKEN or root == place.run.root:
            raise UsageError(f"'{name}' is compared anyway", where=f"--also {name}")
        if other is None:
            try:
                model = student_weights(name)
            except UsageError as error:
                raise UsageError(error.message, where=f"--also {name}", hint=error.hint) from None
            who = free_name(private(name), {*TAKEN, *(each.who for each in found)})
            opened = partial(_open, place, model, FinetuneConfig(), None)
            found.append(Other(who, model.label, model_digest(model), opened, source=model))
            continue
        needs(other, "finetune")
        theirs = read_task(other.task)
        if (theirs.kind, theirs.label_names, theirs.fields) != (task.kind, task.label_names, task.fields):
            raise UsageError(
                f"the student of run '{name}' was trained for another task: {theirs.name}",
                where=f"--also {name}",
                hint="compare students whose answers are the same labels or fields",
            )
        config = fill(FinetuneConfig, (other.summary("finetune") or {})["made_from"])
        weights = trained_weights(config.student, config.student_kind, other.adapter)
        opened = partial(_open, place, weights, config, other.adapter)
        found.append(Other(name, config.student, adapter_digest(other), opened))
    return found


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number after it where another system has it."""
    names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)


def model_digest(weights: Weights) -> str | None:
    """A fingerprint of a model's files on this machine, large ones by samples; None where it is the Hub's."""
    folder = Path(weights.folder_or_id)
    files = [weights.gguf_path] if weights.gguf_path else sorted(folder.rglob("*")) if folder.is_dir() else []
    found = [(path.name, sample_digest(path)) for path in files if path.is_file()]
    return content_id(found) if found else None


def sample_digest(path: Path) -> str:
    """A fingerprint of a file's size and of SAMPLES pieces of it, which are all of a small one."""
    size, print_ = path.stat().st_size, hashlib.sha256()
    print_.update(str(size).encode())
    with path.open("rb") as file:
        for place in range(SAMPLES):
            file.seek(place * max(PIECE, (size - PIECE) // (SAMPLES - 1)))
            print_.update(file.read(PIECE))
    return print_.hexdigest()[:16]


def base_student(place: Workplace, name: str, *, fetch: bool) -> Callable[[], Any]:
    """Opens the untrained student `name` when first asked for it; None, with a note, where it cannot be.

    Only with `fetch` is anything taken from the Hub: else it has to be on this machine.
    """

    @cache
    def opened() -> Any:
        try:
            weights = student_weights(name)
            if not fetch and weights.folder_or_id == name and not Path(name).exists() and not _cached(name):
                told = f"{name} is not on this machine, so headroom is not measured (--student NAME)"
                place.console.say(told)
                return None
            return _open(place, weights, FinetuneConfig(), None)
        except Exception as error:  # a scout without headroom is worth more than none; loaders raise anything
            place.console.say(f"the student cannot be loaded, so headroom is not measured: {error}")
            return None

    return opened


def _cached(name: str) -> bool:
    """Whether the Hub's cache has the model's config."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def _open(place: Workplace, weights: Any, config: FinetuneConfig, adapter: Path | None) -> Any:
    from distill.student.device import pick as pick_device
    from distill.student.opening import open_student

    place.console.say(f"loading {weights.label}")
    return open_student(weights, pick_device(config.device, config.dtype), adapter)
