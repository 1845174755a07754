"""A language model or an encoder? Both learn the same few rows, and one is recommended, with the reason.

Refuses to prefer a better score that chance explains: then the faster one is recommended.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import msgspec

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.parse import parse_answer
from distill.score.growth import nested
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task, write_task
from distill.student.asking import answers, with_room
from distill.student.opening import Kind, open_student, parameters_of, trained_weights
from distill.student.passing import folder_for
from distill.types import Pair, Progress, Quiet, Task

TRAIN_ROWS, VALID_ROWS = 200, 100
ROOM_TOKENS = 8
"""Room beyond the longest trained answer."""
Fit = Callable[[Run, FinetuneConfig, Progress], dict[str, Any]]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of student on few rows; `right` is a value a validation row, `answer_s` the time of one."""

    kind: Kind
    base: str
    accuracy: float
    low: float
    high: float
    rows: int
    parameters: int
    train_s: float
    answer_s: float
    right: tuple[float, ...]


def train_kind(
    run: Run,
    config: FinetuneConfig,
    progress: Progress,
    split: tuple[Sequence[Pair], Sequence[Pair]],
    train_causal: Callable[..., dict[str, Any]],
    engine: Callable[..., Any],
    fit: Fit,
) -> dict[str, Any]:
    """The student of the kind asked for, or found better, trained on (train, valid); the summary.

    `train_causal(run, config, progress, train, valid)` trains a language model, `fit` any student in a
    folder of its own; `engine` runs the steps of a classifier.
    """
    asked = "auto" if config.student == "auto" else config.student_kind
    if config.kd_weight and asked != "causal":
        raise UsageError(
            "a classifier learns labels, and the teacher's probabilities are of tokens",
            where="--kd-weight",
            hint="leave it out, or use --student-kind causal",
        )
    choice: dict[str, Any] = {}
    kind: Kind = "classifier" if asked == "classifier" else "causal"
    if asked == "auto":
        kind, choice = choose(run, config, progress, *split, fit)
        config = replace(config, student=name_for(config, kind), student_kind=kind)
    if kind == "causal":
        summary = train_causal(run, config, progress, *split)
    else:
        from distill.student.classifier_run import train_classifier

        summary = train_classifier(run, config, progress, split, engine)
    return {**summary, "choice": choice} if choice else summary


def choose(
    run: Run,
    config: FinetuneConfig,
    progress: Progress,
    train: Sequence[Pair],
    valid: Sequence[Pair],
    fit: Fit,
) -> tuple[Kind, dict[str, Any]]:
    """The kind recommended, and what metrics.json says of the choice.

    `fit` trains in a run folder; each trial has one of its own, which goes away. Where answers are no closed
    set there is nothing to try. Raises UsageError without rows to judge by, and what training raises.
    """
    task = read_task(run.task) if run.task.exists() else None
    if task is None or task.kind != "label":
        reason = "the answers are no closed set of labels, so only a language model can give them"
        progress.say(f"--student-kind causal: {reason}")
        return "causal", {"picked": "causal", "reason": reason, "trials": []}
    if not valid:
        raise UsageError(
            "there are no validation pairs to choose by",
            where="--student-kind auto",
            hint="say causal or classifier, or generate with --valid-share above 0",
        )
    few, judged = sample(train, TRAIN_ROWS, config.seed), sample(valid, VALID_ROWS, config.seed)
    trials = [tried(kind, task, config, progress, few, judged, fit) for kind in get_args(Kind)]
    for trial in trials:
        progress.say(sentence(trial))
    picked, reason = recommended(trials, config.seed)
    progress.say(f"--student-kind {picked}: {reason}")
    shown = [
        {name: value for name, value in msgspec.to_builtins(trial).items() if name != "right"}
        for trial in trials
    ]
    return picked, {"picked": picked, "reason": reason, "train_rows": len(few), "trials": shown}


def sample(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """At most `most` of `pairs`, in order: one of each answer, then each answer in its due share."""
    first: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        first.setdefault(pair.answer, place)
    chosen = list(first.values())[:most]
    rest = [place for place in range(len(pairs)) if place not in {*chosen}]
    size = most - len(chosen)
    more = nested([pairs[place].answer for place in rest], [size], seed)[size]
    return [pairs[place] for place in sorted([*chosen, *(rest[at] for at in more)])]


def tried(
    kind: Kind,
    task: Task,
    config: FinetuneConfig,
    progress: Progress,
    train: Sequence[Pair],
    valid: Sequence[Pair],
    fit: Fit,
) -> Trial:
    """Train one kind on `train` as it would be trained on all, and let it answer `valid`."""
    from distill.student.device import pick

    progress.begin(f"trying a {kind} student on {len(train)} rows", None)
    with folder_for("trying which kind of student is better") as folder:
        small = Run.open(folder, kind, create=True)
        write_task(small.task, task)
        jsonl.replace(small.splits["train"], train)
        jsonl.replace(small.splits["valid"], valid)
        began = time.perf_counter()
        name = name_for(config, kind)
        summary = fit(small, replace(config, student=name, student_kind=kind, report_to="none"), Quiet())
        train_s = time.perf_counter() - began
        weights = trained_weights(name, kind, small.adapter)
        student = open_student(weights, pick(config.device, config.dtype), small.adapter)
        room = summary["answer_tokens_max"] + ROOM_TOKENS
        asked, began = with_room(student, valid, room), time.perf_counter()
        said = {
            pair.id: answer.text for pair, answer in zip(asked, answers(student, asked, room), strict=True)
        }
        answer_s = (time.perf_counter() - began) / len(valid)
        # A row that it has no room to answer is one that it gets wrong.
        right = tuple(
            float(pair.id in said and parse_answer(task, said[pair.id]) == pair.answer) for pair in valid
        )
        share = wilson(sum(right), len(right))
        return Trial(
            kind=kind,
            base=student.model,
            accuracy=share.value,
            low=share.low,
            high=share.high,
            rows=len(valid),
            parameters=parameters_of(student),
            train_s=train_s,
            answer_s=answer_s,
            right=right,
        )


def name_for(config: FinetuneConfig, kind: Kind) -> str:
    """What `--student` has to say for a student of that kind: the named model for its own, else 'local'."""
    from distill.student.opening import INSTALLED, own_kind
    from distill.weights import student_weights

    if config.student in INSTALLED or own_kind(student_weights(config.student)) != kind:
        return "local"
    return config.student


def sentence(trial: Trial) -> str:
    """One trial for a person."""
    return (
        f"{trial.kind} ({trial.base}, {trial.parameters / 1e6:.0f}M parameters): {trial.accuracy:.1%} of"
        f" {trial.rows} validation rows right ({trial.low:.1%} to {trial.high:.1%}), trained in"
        f" {trial.train_s:.0f} s, {trial.answer_s * 1000:.1f} ms an answer"
    )


def recommended(trials: Sequence[Trial], seed: int) -> tuple[Kind, str]:
    """(kind, why): the better one where the paired interval is clear of 0, else the faster one."""
    a, b = trials
    difference = paired_difference(a.right, b.right, seed)
    if difference.low > 0 or difference.high < 0:
        best, other = (a, b) if difference.value > 0 else (b, a)
        points = 100 * abs(difference.value)
        return best.kind, f"{points:.1f} points better than the {other.kind} student, beyond chance"
    fast, slow = sorted(trials, key=lambda trial: trial.answer_s)
    return fast.kind, (
        f"their scores do not differ beyond chance, and it answers {slow.answer_s / fast.answer_s:.1f} times"
        f" as fast with {fast.parameters / 1e6:.0f}M parameters against {slow.parameters / 1e6:.0f}M"
    )
