"""A classifier trained in a run folder: what a causal student leaves there, this one leaves too.

Refuses to replace the student there is by one that cannot be trained.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from distill.config import FinetuneConfig, plain
from distill.errors import UsageError
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.student import causal, classifier, fitting, need, onward, pairs_in
from distill.student.card import README, of_run
from distill.student.checkpoint import learned_of
from distill.student.device import Device, pick
from distill.student.heads import Head
from distill.student.lora import LoraShape, fingerprint
from distill.student.mask import one_line
from distill.student.opening import weights_for
from distill.student.session import Trained
from distill.student.stopping import Stops
from distill.types import Pair, Progress, Task, content_id
from distill.weights import Weights

SHOWN = 2  # rows shown on the terminal


Engine = Callable[..., tuple[Trained, dict[str, Any]]]


def train_classifier(
    run: Run,
    config: FinetuneConfig,
    progress: Progress,
    split: tuple[Sequence[Pair], Sequence[Pair]],
    engine: Engine,
) -> dict[str, Any]:
    """Open the encoder, encode, train on (train, valid) and save; the summary.

    `engine(run, recipe, progress, learner, (rows, valid rows), source)` runs the steps. Raises UsageError or
    DataError where pairs, task or encoder are unfit, DeviceError where the device is absent or too small,
    DistillError where a loss is not finite, Interrupted with a checkpoint on Ctrl-C.
    """
    task = read_task(run.task) if run.task.exists() else None
    labels = pairs_in.labels_of(task, [pair for part in split for pair in part])
    weights = weights_for(config.student, "classifier", config.student_kind)
    device = pick(config.device, config.dtype)
    progress.begin(f"open {weights.label}", None)
    progress.say(device.line)
    check(config, weights, device, split[0], progress)
    encoder, tokenizer = classifier.load(weights, device)
    config = onward.shaped(run, config, "classifier", progress.say)
    recipe = fitting.recipe_of(config, len(split[0]), encoder.config.hidden_size)
    card = card_for(config, recipe.lora, task, labels, weights, encoder, tokenizer)
    rows, valid = encoded(config, card, tokenizer, split, progress)
    net = classifier.attach(encoder, card, config.head_dropout, config.lora_dropout, config.seed)
    onward.put_in_head(run, config, net, card)
    run.begin("finetune")  # not before: a student that cannot be loaded leaves the one there was
    show(run, labels, tokenizer, [*rows, *valid], progress)
    learner = fitting.learner_of(net, tokenizer.pad_token_id, device)
    known = content_id(*([(row.ids, row.label) for row in part] for part in (rows, valid)))
    source = {**learned_of(plain(config)), **msgspec.to_builtins(card), "rows": known, "dtype": device.dtype}
    start = onward.started(run, config)
    trained, measured = engine(run, recipe, progress, learner, (rows, valid), {**source, **start})
    about = {
        "student_kind": "classifier",
        "base": weights.label,
        "labels": list(labels),
        "pooling": card.pooling,
        "device": device.line,
        "trainable_parameters": sum(parameter.numel() for parameter in learner.parameters),
        "method": config.method,
        "derived": list(recipe.reasons),
        **start,
        "stops": msgspec.to_builtins(Stops(skipped="a classifier's answer is one label")),
        **measured,
    }

    def leave(outcome: fitting.Outcome) -> dict[str, Any]:
        summary = {**about, **results(rows, valid, trained, outcome)}
        calibrated = msgspec.structs.replace(card, temperature=outcome.temperature)
        write(run.adapter, net, calibrated, of_run(run, weights, summary))
        return summary

    if not onward.is_own(run, config):  # then what was started from stays while it may be needed again
        leave(fitting.Outcome())
    with causal.memory("free some, then the same command: no step is trained again"):
        outcome = fitting.outcome(learner, valid)
    return leave(outcome)


def check(
    config: FinetuneConfig, weights: Weights, device: Device, train: Sequence[Pair], progress: Progress
) -> None:
    """Say what training will take. Raises UsageError where an encoder is not trained so, DeviceError."""
    if config.method == "qlora":
        raise UsageError(
            "an encoder is small: it is not quantised", where="--method qlora", hint="use --method lora"
        )
    planned, batch = fitting.recipe_of(config, len(train), 1).lora, need.longest_batch(config, train)
    need.check_memory(weights, device, planned, progress.say, batch, kind="classifier")


def card_for(
    config: FinetuneConfig,
    shape: LoraShape,
    task: Task | None,
    labels: tuple[str, ...],
    weights: Weights,
    encoder: Any,
    tokenizer: Any,
) -> classifier.Card:
    """What the classifier's folder will say."""
    return classifier.Card(
        labels=labels,
        label_texts=pairs_in.label_texts(task, labels),
        encoder=weights.label,
        fingerprint=fingerprint(encoder),
        pooling=classifier.pooling_of(weights, config.pooling),
        method=config.method,
        rank=shape.rank,
        alpha=shape.alpha,
        targets=config.lora_targets,
        limit=limit(config, encoder, tokenizer),
        trims=config.on_long == "trim-prompt",
    )


def results(
    rows: Sequence[pairs_in.Row],
    valid: Sequence[pairs_in.Row],
    trained: Trained,
    outcome: fitting.Outcome,
) -> dict[str, Any]:
    """What there was to learn from and what it came to, under the names a causal student's summary has."""
    return {
        "rows": {"train": len(rows), "valid": len(valid)},
        "target_tokens": len(rows),
        "longest_row_tokens": max(len(row.ids) for row in [*rows, *valid]),
        "answer_tokens_p99": 1,
        "answer_tokens_max": 1,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "best_valid_loss": trained.best_valid_loss,
        "best_valid_exact": trained.best_valid_exact,
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
        "tokens": trained.tokens,
        "train_seconds": trained.seconds,
        "tokens_per_s": trained.tokens / trained.seconds,
        "valid_accuracy": outcome.accuracy,
        "valid_macro_f1": outcome.macro_f1,
        "temperature": outcome.temperature,
    }


def limit(config: FinetuneConfig, encoder: Any, tokenizer: Any) -> int:
    """The longest input in tokens."""
    most = classifier.limit_of(encoder, tokenizer)
    return min(config.max_length_tokens or most, most)


def encoded(
    config: FinetuneConfig,
    card: classifier.Card,
    tokenizer: Any,
    split: tuple[Sequence[Pair], Sequence[Pair]],
    progress: Progress,
) -> tuple[list[pairs_in.Row], list[pairs_in.Row]]:
    """Train and valid as rows; what was dropped or trimmed and which labels have no row is said.

    Raises DataError where rows are too long, or none is left.
    """
    reader = pairs_in.Reader(tokenizer, card.limit)
    made = [pairs_in.encode(reader, card.labels, pairs, config.on_long) for pairs in split]
    if long := [name for part in made for name in part.long]:
        what = "trimmed" if config.on_long == "trim-prompt" else "dropped"
        progress.say(
            f"{len(long)} inputs are longer than {card.limit} tokens and were {what}: {', '.join(long[:10])}"
        )
    if not made[0].rows:
        raise UsageError("every input is too long", where="--on-long drop", hint="--on-long trim-prompt")
    seen = Counter(row.label for row in made[0].rows)
    if missing := [name for place, name in enumerate(card.labels) if not seen[place]]:
        progress.say(f"no row to learn these labels from: {', '.join(missing[:10])}")
    return made[0].rows, made[1].rows


def show(
    run: Run, labels: Sequence[str], tokenizer: Any, rows: Sequence[pairs_in.Row], progress: Progress
) -> None:
    """Write every row as the encoder reads it, with the label it is to give, and say the first few."""

    def line(row: pairs_in.Row) -> str:
        return f"{row.id}  {one_line(tokenizer.decode(row.ids))} ⟦{one_line(labels[row.label])}⟧"

    jsonl.replace_bytes(run.mask, (line(row).encode() + b"\n" for row in rows))
    progress.say(f"a head on the encoder is trained to give what is between ⟦ and ⟧ ({run.mask})")
    for row in rows[:SHOWN]:
        progress.marked(line(row))


def write(folder: Path, net: Head, card: classifier.Card, readme: str) -> None:
    """Save beside, then rename: the folder is the old student or the new one, never half of one."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    classifier.save(net, card, beside)
    jsonl.replace_bytes(beside / README, [readme.encode()])
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
