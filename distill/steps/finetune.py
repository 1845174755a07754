"""Train a small student on the run's pairs: prove the mask, train, keep the best, leave it in the run folder.

Refuses to start on pairs that teach nothing, and to train before it has shown what will be trained.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import FinetuneConfig
from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.types import Pair, Progress

if TYPE_CHECKING:
    from distill.student.chat import Chat
    from distill.student.encode import Row
    from distill.student.loop import Trained

SHOWN = 2  # rows of the mask shown on the terminal


def made_from(run: Run, config: FinetuneConfig) -> dict[str, Any]:
    """What the student depends on: each knob, and a digest of each file of pairs. For `run.changed`."""
    files = {f"{name}.jsonl": digest(run.splits[name]) for name in ("train", "valid")}
    return {**asdict(config), **files}


def finetune(run: Run, config: FinetuneConfig, progress: Progress) -> dict[str, Any]:
    """Train, write the adapter and return the summary, which is also metrics.json.

    Raises UsageError or DataError where the pairs or the student are unfit, DeviceError where the device
    is absent or too small, DistillError where a loss is not finite.
    """
    source = made_from(run, config)
    train, valid = read_pairs(run.splits["train"]), []
    if run.splits["valid"].exists():
        valid = read_pairs(run.splits["valid"], may_be_empty=True)
    summary = train_student(run, config, progress, train, valid)
    run.finish("finetune", summary, source)
    return summary


def read_pairs(path: Path, *, may_be_empty: bool = False) -> list[Pair]:
    """The pairs in `path`. Raises UsageError where there are fewer than two, DataError on an empty answer."""
    pairs = []
    for number, pair in jsonl.read(path, Pair, hint="run: distill generate"):
        if not pair.messages or not pair.answer.strip():
            what = "answer is empty" if pair.messages else "conversation is empty"
            raise DataError(f"the {what}", where=f"{path}:{number}", hint="drop this row")
        pairs.append(pair)
    if len(pairs) < 2 and not may_be_empty:
        count = "one pair" if pairs else "no pairs"
        raise UsageError(f"{count} to train on", where=str(path), hint="run: distill generate --n 1000")
    return pairs


def train_student(
    run: Run, config: FinetuneConfig, progress: Progress, train: Sequence[Pair], valid: Sequence[Pair]
) -> dict[str, Any]:
    """Open the student, encode, train and save; the summary."""
    from distill.student import causal, lora
    from distill.student.chat import open_chat
    from distill.student.device import pick
    from distill.student.encode import encode
    from distill.student.forward import choose_attention, open_net
    from distill.student.loop import Learner
    from distill.weights import student_weights

    weights, device = student_weights(config.student), pick(config.device, config.dtype)
    progress.begin(f"open {weights.label}", None)
    progress.say(device.line)
    model, tokenizer = causal.load(weights, device)
    chat = open_chat(tokenizer)
    limit = min(config.max_length_tokens or causal.context_tokens(model), causal.context_tokens(model))
    rows, held_out = encode(chat, train, limit), encode(chat, valid, limit)
    run.begin("finetune")  # not before: a student that cannot be loaded leaves the one there was
    show_mask(run, chat, [*rows, *held_out], progress)
    choose_attention(model, max(len(row.ids) for row in [*rows, *held_out]))
    shape = lora.LoraShape(config.lora_rank, config.lora_alpha, config.lora_dropout)
    wrapped = lora.attach(model, shape, config.seed)
    with device.autocast():
        net = open_net(model)
    learner = Learner(net, lora.trainable(wrapped), chat.pad, device)
    trained, seconds = run_loop(run, config, progress, learner, rows, held_out)
    write_adapter(run.adapter, wrapped, weights.label)
    return {
        "base": weights.label,
        "device": device.line,
        "trainable_parameters": sum(parameter.numel() for parameter in learner.parameters),
        "seconds": seconds,
        **counts(rows, held_out),
        **results(trained),
    }


def show_mask(run: Run, chat: "Chat", rows: Sequence["Row"], progress: Progress) -> None:
    """Write every row with its trained tokens marked, and say the first few."""
    from distill.student.encode import mask_text

    jsonl.replace_bytes(run.mask, (text.encode() + b"\n" for text in mask_text(chat, rows)))
    progress.say(f"only what is between ⟦ and ⟧ is trained (all {len(rows)} rows: {run.mask})")
    for text in mask_text(chat, rows[:SHOWN]):
        progress.say(text)


def run_loop(
    run: Run,
    config: FinetuneConfig,
    progress: Progress,
    learner: Any,
    rows: Sequence["Row"],
    valid: Sequence["Row"],
) -> tuple["Trained", float]:
    """Train, with a line in metrics.jsonl for each step as it comes; the outcome and the seconds it took."""
    from distill.student import causal, curve, loop

    if not valid:
        progress.say("no validation pairs: the last weights are kept, not the best")
    progress.begin("train", loop.plan(config, len(rows)).steps)
    run.metrics.unlink(missing_ok=True)
    records: list[loop.Record] = []
    began = time.perf_counter()
    with jsonl.Appender(run.metrics) as file, causal.memory("lower --batch-size, or a smaller --student"):

        def on_record(record: loop.Record) -> None:
            file.append(record)
            records.append(record)
            progress.advance(1, note(record))

        trained = loop.train(learner, rows, valid, config, on_record)
    seconds = time.perf_counter() - began
    curve.draw(records, run.loss_plot, f"{run.name}: {config.student}")
    return trained, seconds


def note(record: Any) -> str:
    """What the bar says beside its count."""
    text = f"loss {record['loss']:.3f}, {record['tokens_per_s']:,.0f} tok/s"
    return text if record["valid_loss"] is None else f"{text}, valid {record['valid_loss']:.3f}"


def write_adapter(folder: Path, wrapped: Any, base: str) -> None:
    """Save beside, then rename: the folder is the old adapter or the new one, never half of one."""
    from distill.student import lora

    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    lora.save(wrapped, beside, base)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def counts(rows: Sequence["Row"], valid: Sequence["Row"]) -> dict[str, Any]:
    """How much there was to train on, and how long answers are: what `compare` gives the student room for."""
    lengths = sorted(end - start for row in [*rows, *valid] for start, end in row.spans)
    return {
        "rows": {"train": len(rows), "valid": len(valid)},
        "target_tokens": sum(row.target_tokens for row in rows),
        "longest_row_tokens": max(len(row.ids) for row in [*rows, *valid]),
        "answer_tokens_p99": lengths[min(len(lengths) - 1, int(0.99 * len(lengths)))],
        "answer_tokens_max": lengths[-1],
    }


def results(trained: "Trained") -> dict[str, Any]:
    """The loop's outcome, flat."""
    return {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "best_valid_loss": trained.best_valid_loss,
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
        "tokens": trained.tokens,
        "train_seconds": trained.seconds,
        "tokens_per_s": trained.tokens / trained.seconds,
    }
