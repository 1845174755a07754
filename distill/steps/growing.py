"""The learning curve: students of nested shares of the pairs, each scored on the validation rows.

Refuses to train a share twice, or the whole at all: that is the run itself, which comes first.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from distill.config import FinetuneConfig, plain
from distill.errors import DataError, UsageError
from distill.score import growth
from distill.score.metrics import primary, scores
from distill.score.stats import FEW, mean_interval
from distill.store import jsonl
from distill.store.run import Run, digest
from distill.store.taskfile import read_task, write_task
from distill.student import onward
from distill.types import Pair, Progress, Task, content_id

SHARES = (8, 4, 2)
"""The parts of the pairs that are trained beside all of them: an eighth, a quarter, a half."""
FEWEST_ROWS = 4
ROOM_TOKENS = 8
"""Room beyond the longest trained answer."""
Fit = Callable[[Run, FinetuneConfig, Progress], dict[str, Any]]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A student of `n` pairs: its validation loss, and a value in [0, 1] for each validation row."""

    n: int
    made_from: str
    loss: float
    values: list[float]


def check(run: Run, config: FinetuneConfig) -> None:
    """Raise UsageError where there is nothing to score a curve on."""
    where = "--learning-curve"
    onward.check(config)
    if config.stage == "pt":
        raise UsageError("raw texts have no answers to score", where=where, hint="leave --stage pt out")
    path = run.splits["valid"]
    if not path.exists() or not read(run, "valid"):
        raise UsageError(
            "there are no validation pairs to score on",
            where=where,
            hint="generate or import with --valid-share above 0",
        )


def learning_curve(run: Run, config: FinetuneConfig, progress: Progress, fit: Fit) -> dict[str, Any]:
    """The finished run's summary with "learning_curve" in it: points, what doubling brings, the sentence.

    `fit` is the finetune step, for a share in a folder of its own. Each student is scored at its best
    checkpoint, by the rows that chose it: all of them alike are flattered a little. Raises what `check` and
    training raise; after Interrupted the same call goes on where it stopped.
    """
    from distill.student.curve import draw_growth

    check(run, config)
    summary, task = run.summary("finetune") or {}, read_task(run.task)
    room = summary["answer_tokens_max"] + ROOM_TOKENS
    config, train, valid = same_kind(config, summary), read(run, "train"), read(run, "valid")
    known = {point.made_from: point for point in read_points(run)}
    sizes = sizes_of(task, train, config.seed)
    if len(valid) < FEW:
        progress.say(f"{few_rows(len(valid))}; no shares are trained")
        sizes = [len(train)]
    shares = growth.nested(labels(task, train), sizes, config.seed)
    points = []
    for size, chosen in shares.items():
        name = made_from(run, config, size)
        if name not in known:
            pairs = [train[index] for index in chosen]
            known[name] = measured(run, config, task, pairs, (train, valid), room, name, progress, fit)
            with jsonl.Appender(run.curve_points) as file:
                file.append(known[name])
        shutil.rmtree(run.curve / name, ignore_errors=True)  # with --method full it is a whole model
        points.append(known[name])
    found = told(task, points, config.seed)
    draw_growth(found, run.curve_plot, f"{run.name}: {summary['base']}")
    run.finish("finetune", {**summary, "learning_curve": found}, summary["made_from"])
    shutil.rmtree(run.curve, ignore_errors=True)
    return {**summary, "learning_curve": found}


def measured(
    run: Run,
    config: FinetuneConfig,
    task: Task,
    pairs: Sequence[Pair],
    split: tuple[Sequence[Pair], Sequence[Pair]],
    room: int,
    name: str,
    progress: Progress,
    fit: Fit,
) -> Point:
    """Train on `pairs` of (train, valid), where it is not all of train, and let the student answer valid."""
    from distill.student.guard import release

    place, (train, valid) = run, split
    if len(pairs) < len(train):
        place = small_run(run, task, pairs, valid, name)
    summary = place.summary("finetune")
    if summary is None:
        progress.say(f"learning curve: training on {len(pairs)} of {len(train)} pairs")
        summary = fit(place, of_share(config, len(pairs) / len(train)), progress)
    release()
    progress.begin(f"learning curve: scoring the student of {len(pairs)} pairs", len(valid))
    return Point(
        n=len(pairs),
        made_from=name,
        loss=summary["best_valid_loss"],
        values=values_of(place, config, task, valid, room, progress),
    )


def of_share(config: FinetuneConfig, share: float) -> FinetuneConfig:
    """`config` for a share of the pairs: --max-steps are more epochs then, and validated no more often."""
    if config.max_steps is None:
        return config
    return replace(config, evaluations=max(1, round(config.evaluations * share)))


def small_run(run: Run, task: Task, train: Sequence[Pair], valid: Sequence[Pair], name: str) -> Run:
    """The folder of a share: as it was left by an interrupt, else with its pairs in it."""
    small = Run.open(run.curve, name, create=True)
    write_task(small.task, task)
    jsonl.replace(small.splits["train"], train)
    jsonl.replace(small.splits["valid"], valid)
    small.record("matmul_peak", run.settings().get("matmul_peak", {}))
    return small


def values_of(
    place: Run, config: FinetuneConfig, task: Task, valid: Sequence[Pair], room: int, progress: Progress
) -> list[float]:
    """The task's metric of what was trained in `place`: one a row of `valid` that is not too long."""
    from distill.student.asking import answers, with_room
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights

    weights = trained_weights(config.student, config.student_kind, place.adapter)
    student = open_student(weights, pick(config.device, config.dtype), place.adapter)
    asked = with_room(student, valid, room)
    if not asked:
        raise DataError(
            "every validation pair is too long for the student to answer",
            where="--learning-curve",
            hint="hold out shorter ones, or choose a --student with a longer context",
        )
    if len(asked) < len(valid):
        progress.say(f"{len(valid) - len(asked)} validation pairs are too long to be answered: left out")
    said = answers(student, asked, room, progress.advance)
    return scores(task, asked, [answer.text for answer in said])


def told(task: Task, points: Sequence[Point], seed: int) -> dict[str, Any]:
    """What metrics.json has of the curve."""
    sizes, values = [point.n for point in points], [point.values for point in points]
    rows = len(values[-1])
    found = growth.doubling(sizes, values, seed) if rows >= FEW else None
    shown = [
        {
            **mean_interval(point.values, seed)._asdict(),
            "n": point.n,
            "loss": point.loss,
            "metric": primary(task),
        }
        for point in points
    ]
    sentence = growth.sentence(found, rows, sizes)
    if rows < FEW:
        sentence = few_rows(rows)
    doubling = found._asdict() if found else None
    return {"points": shown, "rows": rows, "doubling": doubling, "sentence": sentence}


def few_rows(rows: int) -> str:
    """Why so many validation rows tell nothing."""
    return f"cannot tell with {rows} valid rows: {FEW} are the least, --valid-share holds out more"


def sizes_of(task: Task, train: Sequence[Pair], seed: int) -> list[int]:
    """The sizes to train, all pairs last; without those too small to hold two different answers."""
    sizes = [len(train) // share for share in SHARES]
    chosen = growth.nested(labels(task, train), sizes, seed)
    fit = [
        size
        for size in dict.fromkeys(sizes)
        if size >= FEWEST_ROWS and len({train[index].answer for index in chosen[size]}) > 1
    ]
    return [*fit, len(train)]


def labels(task: Task, pairs: Sequence[Pair]) -> list[str]:
    """By what shares are balanced: the label where there are labels, else nothing."""
    return [pair.answer if task.kind == "label" else "" for pair in pairs]


def same_kind(config: FinetuneConfig, summary: dict[str, Any]) -> FinetuneConfig:
    """`config` as the whole was trained: of the kind that 'auto' picked, with no reports of shares."""
    from distill.student.choosing import name_for

    config = replace(config, learning_curve=False, report_to="none")
    if picked := summary.get("choice", {}).get("picked"):
        config = replace(config, student=name_for(config, picked), student_kind=picked)
    return config


def made_from(run: Run, config: FinetuneConfig, size: int) -> str:
    """What the point of that many pairs depends on, as one name."""
    files = [digest(path) for path in (run.task, run.splits["train"], run.splits["valid"])]
    return content_id(plain(config), size, files)


def read(run: Run, name: Any) -> list[Pair]:
    """The pairs of a split."""
    return [pair for _, pair in jsonl.read(run.splits[name], Pair)]


def read_points(run: Run) -> list[Point]:
    """The points that an interrupted curve left."""
    if not run.curve_points.exists():
        return []
    return [point for _, point in jsonl.read(run.curve_points, Point)]
