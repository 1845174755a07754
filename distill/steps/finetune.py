"""Train a small student on the run's pairs: prove the mask, train, keep the best, leave it in the run folder.

Refuses to start on pairs that teach nothing, and to train before it has shown what will be trained.
"""

import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import FinetuneConfig
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.student import onward, reports
from distill.student.choosing import train_kind
from distill.student.data import counts, prepare, training_pairs, trains_reasons, with_reasons
from distill.student.documents import check_stage, texts_digest
from distill.types import Pair, Progress
from distill.weights import Weights, student_weights

if TYPE_CHECKING:
    from distill.student.chat import Chat
    from distill.student.device import Device
    from distill.student.encode import Row
    from distill.student.loop import Learner
    from distill.student.recipe import Recipe
    from distill.student.session import Trained

SHOWN = 2  # rows of the mask shown on the terminal


def made_from(run: Run, config: FinetuneConfig) -> dict[str, Any]:
    """What the student depends on: each knob, and a digest of each file of pairs. For `run.changed`."""
    start = onward.other(run, config)
    if config.stage == "pt":
        return {**asdict(config), **start, "texts_digest": texts_digest(config.texts)}
    files = {f"{name}.jsonl": digest(run.splits[name]) for name in ("train", "valid")}
    reasons = {"rationale": True} if trains_reasons(run) else {}
    knobs = {name: value for name, value in asdict(config).items() if name != "learning_curve"}
    return {**knobs, **files, **reasons, **start}


def finetune(run: Run, config: FinetuneConfig, progress: Progress) -> dict[str, Any]:
    """Train, write the adapter and return the summary, which is also metrics.json.

    Raises UsageError or DataError where the pairs or the student are unfit, DeviceError where the device
    is absent or too small, DistillError where a loss is not finite, Interrupted on Ctrl-C or SIGTERM: a
    checkpoint is written, and the next run with the same pairs and settings goes on from it.
    """
    onward.check(config)
    reports.check(config)
    check_stage(config)
    source = made_from(run, config)
    if config.stage == "pt":
        summary = train_student(run, config, progress, (), ())
    else:
        summary = train_kind(run, config, progress, training_pairs(run), train_student, fit, finetune)
    run.finish("finetune", summary, source)
    run.checkpoint.unlink(missing_ok=True)
    return summary


def train_student(
    run: Run, config: FinetuneConfig, progress: Progress, train: Sequence[Pair], valid: Sequence[Pair]
) -> dict[str, Any]:
    """Open the student, encode, train and save; the summary."""
    from distill.student import card, lora, scoring, soft, stopping
    from distill.student.checkpoint import learned_of
    from distill.student.decode import stop_ids
    from distill.student.device import pick
    from distill.student.forward import choose_attention, open_net
    from distill.student.lines import choose_packing
    from distill.student.loop import Learner
    from distill.student.recipe import derive

    weights, device = student_weights(config.student), pick(config.device, config.dtype)
    config, start = onward.shaped(run, config, "causal", progress.say), onward.started(run, config)
    progress.begin(f"open {weights.label}", None)
    progress.say(device.line)
    model, tokenizer = loaded(config, weights, device, train, progress)
    train, valid = with_reasons(run, train), with_reasons(run, valid)
    data = prepare(config, tokenizer, model.config.get_text_config(), train, valid)
    data.tell(progress.say)
    chat, rows, held_out = data.chat, data.train.passed(), data.held_out()
    told = soft.targets_for(config.kd_weight, chat, rows, train, progress.say)
    recipe = derive(config, len(rows), model.config.get_text_config().hidden_size)
    metric = scoring.metric_of(run, chat, weights.label, valid if held_out else [], progress.say)
    made = {**made_from(run, config), **start, **scoring.kept_by(metric)}
    known = {**made, "dtype": device.dtype, "weights": lora.fingerprint(model)}
    wrapped = lora.attach(model, recipe.lora, config.seed)
    choose_attention(model, max(len(row.ids) for row in [*rows, *held_out]))
    with device.autocast():
        net = choose_packing(open_net(model), device, config.packing, progress.say)
    onward.put_in(run, config, wrapped, weights.label)  # not before: dropout would blur the trials
    run.begin("finetune")  # not before: a student that cannot be trained leaves the one there was
    show_mask(run, chat, [*rows, *held_out], progress)
    parts = (net, lora.trainable(wrapped), chat.pad, device, wrapped)
    learner = Learner(*parts, soft.loss_with(told, config.kd_weight), metric=metric)
    trained, measured = fit(run, recipe, progress, learner, (rows, held_out), learned_of(known))
    summary = {
        "base": weights.label,
        "device": device.line,
        "method": config.method,
        "derived": list(recipe.reasons),
        "stop_ids": sorted(stop_ids(model, chat)),
        **start,
        "trainable_parameters": sum(parameter.numel() for parameter in learner.parameters),
        **measured,
        **counts(rows, held_out),
        **scoring.kept_by(metric),
        **soft.counts(told),
        **results(trained),
    }
    early = not onward.is_own(run, config)  # else what was started from stays while it may be needed again
    if early:
        write_student(run, wrapped, chat, recipe, weights, summary)
    progress.begin("stop audit", None)
    audited = (train, valid if held_out else [])
    summary["stops"] = stopping.after_training(learner, chat, weights.label, audited)
    if not early:
        write_student(run, wrapped, chat, recipe, weights, summary)
    card.write(run, run.adapter, weights, summary)
    return summary


def loaded(
    config: FinetuneConfig, weights: Weights, device: "Device", train: Sequence[Pair], progress: Progress
) -> tuple[Any, Any]:
    """(model, tokenizer), once it is said what training takes. Raises DeviceError where that is too much."""
    from distill.student import causal, need
    from distill.student.gguf import read_once
    from distill.student.recipe import derive

    with read_once() if weights.gguf_file else nullcontext():
        planned, batch = derive(config, len(train), 1).lora, need.longest_batch(config, train)
        need.check_memory(weights, device, planned, progress.say, batch)
        return causal.load(weights, device, method=config.method)


def show_mask(run: Run, chat: "Chat", rows: Sequence["Row"], progress: Progress) -> None:
    """Write every row with its trained tokens marked, and say the first few."""
    from distill.student.mask import mask_text

    jsonl.replace_bytes(run.mask, (text.encode() + b"\n" for text in mask_text(chat, rows)))
    progress.say(f"only what is between ⟦ and ⟧ is trained (all {len(rows)} rows: {run.mask})")
    for text in mask_text(chat, rows[:SHOWN]):
        progress.marked(text)


class Metrics:
    """metrics.jsonl as it grows, a line a step, and the bar beside it."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.records: list[dict[str, Any]] = []
        self._path, self._progress, self._file = path, progress, jsonl.Appender(path)

    def begin(self, steps: int, done: int) -> None:
        """Of what is there, keep what the `done` steps of a checkpoint left."""
        self._file.close()
        found = (record for _, record in jsonl.read(self._path, dict[str, Any]))
        self.records = [record for record in found if record["step"] <= done]
        jsonl.replace(self._path, self.records)
        self._file = jsonl.Appender(self._path)
        self._progress.begin("train", steps)
        self._progress.advance(done, "from the checkpoint")

    def add(self, record: dict[str, Any]) -> None:
        """One more step."""
        self._file.append(record)
        self.records.append(record)
        self._progress.advance(1, note(record))

    def close(self) -> None:
        """Sync to the disk."""
        self._file.close()


def fit(
    run: Run,
    recipe: "Recipe",
    progress: Progress,
    learner: "Learner",
    split: tuple[Sequence["Row"], Sequence["Row"]],
    source: dict[str, Any],
) -> tuple["Trained", dict[str, Any]]:
    """Train, from the checkpoint of an interrupted run where one was made from `source`.

    What it came to, and what was measured on the way. Raises Interrupted on Ctrl-C, with a checkpoint.
    """
    from distill.student import causal, curve, guard, speed
    from distill.student import fit as engine
    from distill.student.session import Session, Watch

    rows, valid = split
    for reason in recipe.reasons:
        progress.say(f"derived: {reason}")
    if not valid:
        progress.say("no validation pairs: the last weights are kept, not the best")
    passes = guard.passes_for(learner, rows, recipe.config.micro_batch, progress.say)
    flops, peak = speed.flops_of(learner.net), matmul_peak(run, learner)
    began, metrics = time.perf_counter(), Metrics(run.metrics, progress)
    with (
        closing(metrics),
        causal.memory("lower --batch-size, or a smaller --student"),
        guard.stoppable(progress.say) as stopped,
    ):
        watch = Watch(
            metrics.add, progress.say, stopped, run.checkpoint, source, run.reports, flops, peak, run.name
        )
        session = Session(learner, rows, valid, recipe, watch, passes)
        metrics.begin(session.plan.steps, session.state.step)
        engine.run(session)
    curve.draw(metrics.records, run.loss_plot, f"{run.name}: {recipe.config.student}")
    return session.finish(), measurements(metrics.records, peak, time.perf_counter() - began)


def matmul_peak(run: Run, learner: "Learner") -> float:
    """FLOP/s this machine's matrix products reach, measured once a run and device."""
    from distill.student import speed

    known = run.settings().get("matmul_peak", {})
    line = learner.device.line
    if line not in known:
        known = {**known, line: speed.matmul_peak(learner.device)}
        run.record("matmul_peak", known)
    return float(known[line])


def measurements(records: Sequence[dict[str, Any]], peak: float, seconds: float) -> dict[str, Any]:
    """Seconds of this session, with validation; the median step's share of the machine's peak; memory."""
    shares = [record["mfu"] for record in records if record["mfu"] is not None]
    return {
        "seconds": seconds,
        "mfu": statistics.median(shares) if shares else None,
        "matmul_peak_flops": peak,
        "memory_bytes": max((record["memory_bytes"] for record in records), default=0),
    }


def note(record: dict[str, Any]) -> str:
    """What the bar says beside its count and the time left."""
    parts = [f"loss {record['loss']:.3f}", f"{record['tokens_per_s']:,.0f} tok/s"]
    if record["mfu"] is not None:
        parts.append(f"MFU {record['mfu']:.0%}")
    parts.append(f"{record['memory_bytes'] / 2**30:.1f} GB")
    if record["valid_loss"] is not None:
        parts.append(f"valid {record['valid_loss']:.3f}, {record['valid_exact']:.0%} exact")
    if record["valid_score"] is not None:
        parts.append(f"score {record['valid_score']:.3f}")
    return ", ".join(parts)


def write_student(
    run: Run, model: Any, chat: "Chat", recipe: "Recipe", weights: Weights, summary: dict[str, Any]
) -> None:
    """Save beside, with its card, then rename: the folder is the old student or the new, never half."""
    from distill.student import card, lora
    from distill.student.chat import save_style

    folder = run.adapter
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    if recipe.lora.method == "full":
        lora.save_whole(model, chat.tokenizer, beside, weights.label)
    else:
        known_as = weights.known_as(recipe.config.student)
        lora.save(model, beside, weights.label, recipe.lora, known_as=known_as)
    save_style(chat, beside)
    card.write(run, beside, weights, summary)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def results(trained: "Trained") -> dict[str, Any]:
    """The loop's outcome, flat."""
    return {
        "steps": trained.steps,
        "best_step": trained.best_step,
        "best_valid_loss": trained.best_valid_loss,
        "best_valid_exact": trained.best_valid_exact,
        "best_valid_score": trained.best_valid_score,
        "perplexity": trained.perplexity,
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
        "tokens": trained.tokens,
        "train_seconds": trained.seconds,
        "tokens_per_s": trained.tokens / trained.seconds,
    }
