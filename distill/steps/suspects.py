"""Training pairs whose answer is likely wrong: found out of fold, voted on by the teacher, written down.

Refuses to look at held-out rows, and to make a correction that would touch one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from distill.config import FinetuneConfig, SuspectsConfig
from distill.errors import UsageError
from distill.filters.correction import Correction
from distill.reasking import Vote
from distill.score.suspicion import Flag, confident, far_out
from distill.store import jsonl
from distill.store.run import Run
from distill.types import Pair, Progress, Task

Kind = Literal["head", "classifier", "causal"]


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A pair under suspicion. `suggested` is the label the other folds prefer, "" where none is known.

    `probability` is what they give the answer it has (free answers: a token of it), `preferred` what they
    give the suggested one. `verdict`, `becomes` and `votes` are the teacher's, where it was asked again.
    """

    id: str
    input: str
    given: str
    probability: float
    strength: float
    why: str
    suggested: str = ""
    preferred: float = 0.0
    verdict: Literal["", "keep", "relabel", "drop"] = ""
    becomes: str = ""
    votes: dict[str, int] = {}
    said: str = ""


class Search(NamedTuple):
    """What is searched and by whom: `tuning` is how students are trained, `fit` what trains one."""

    task: Task
    pairs: Sequence[Pair]
    kind: Kind
    config: SuspectsConfig
    tuning: FinetuneConfig
    fit: Any
    progress: Progress


def find(
    run: Run, task: Task, config: SuspectsConfig, tuning: FinetuneConfig, fit: Any, progress: Progress
) -> tuple[list[Suspect], dict[str, Any]]:
    """(suspects, the most suspect first; how they were found). Nothing is written and nobody is asked.

    `tuning` is how students are trained, `fit` what trains one. Raises UsageError where there is too little
    to compare, or the student cannot do this; what training raises.
    """
    from distill.student.data import read_pairs

    pairs = read_pairs(run.splits["train"])
    if len(pairs) < 2 * config.folds:
        raise UsageError(
            f"{len(pairs)} rows are too few for {config.folds} folds",
            where=f"--folds {config.folds}",
            hint="lower it, or: distill generate, for more pairs",
        )
    kind = kind_of(task, config)
    search = Search(task, pairs, kind, config, tuning, fit, progress)
    if task.kind == "label":
        flags, who = by_label(search)
        labels = task.label_names
    else:
        flags, who = by_loss(search)
        labels = ()
    found = [suspect(pairs[flag.place], flag, labels) for flag in flags]
    most = min(config.n or len(found), max(1, round((config.share or 1.0) * len(pairs))))
    how = {"kind": kind, "by": who, "folds": config.folds, "rows": len(pairs), "suspect": len(found)}
    return found[:most], how


def kind_of(task: Task, config: SuspectsConfig) -> Kind:
    """Who looks. Raises UsageError where that kind gives no labels' probabilities for free answers."""
    if config.kind == "auto":
        return "head" if task.kind == "label" else "causal"
    if task.kind != "label" and config.kind != "causal":
        raise UsageError(
            f"a {config.kind} tells labels apart, and this is a '{task.kind}' task",
            where=f"--kind {config.kind}",
            hint="use --kind causal",
        )
    return config.kind


def by_label(search: Search) -> tuple[list[Flag], list[str]]:
    """Rows whose label other folds do not believe, and which models say so."""
    from distill.student import folds, pairs_in

    task, pairs, kind, config, tuning, fit, progress = search
    labels = pairs_in.labels_of(task, pairs)
    place = pairs_in.places_of(labels, pairs)
    given = [place[pair.answer] for pair in pairs]
    fold = folds.assign([pair.answer for pair in pairs], config.folds, config.seed)
    if kind == "head":
        probabilities, who = by_heads(pairs, given, len(labels), fold, config, progress)
    else:
        score = (
            folds.classified
            if kind == "classifier"
            else folds.label_probabilities(labels, reasons=task.rationale)
        )
        probabilities = folds.by_students(task, pairs, fold, tuning, fit, score, progress)
        who = [f"{tuning.student} ({kind})"]
    return confident(probabilities, given), who


def by_heads(
    pairs: Sequence[Pair],
    given: Sequence[int],
    labels: int,
    fold: Sequence[int],
    config: SuspectsConfig,
    progress: Progress,
) -> tuple[list[list[float]], list[str]]:
    """(N, K) the mean over the frozen models' heads, and the models' names."""
    from distill.student import folds
    from distill.student.device import pick
    from distill.student.opening import INSTALLED, weights_for
    from distill.student.states import states
    from distill.weights import student_weights

    if config.student in INSTALLED:
        models = [weights_for("local", "classifier", "classifier")]
        models += [weights_for("local", "causal", "causal")] if config.student == "auto" else []
    else:
        models = [student_weights(config.student)]
    device = pick("auto", "auto")
    asked = [pair.messages for pair in pairs]
    each = [
        folds.head_probabilities(states(model, device, asked, progress), given, labels, fold)
        for model in models
    ]
    mean = [
        [sum(several) / len(each) for several in zip(*row, strict=True)] for row in zip(*each, strict=True)
    ]
    return mean, [model.label for model in models]


def by_loss(search: Search) -> tuple[list[Flag], list[str]]:
    """Rows whose answer surprises a student of the other folds far more than other answers do."""
    from distill.student import folds

    task, pairs, kind, config, tuning, fit, progress = search
    fold = folds.assign([""] * len(pairs), config.folds, config.seed)
    losses = folds.by_students(task, pairs, fold, tuning, fit, folds.losses(reasons=task.rationale), progress)
    return far_out(losses), [f"{tuning.student} ({kind})"]


def suspect(pair: Pair, flag: Flag, labels: Sequence[str]) -> Suspect:
    """The record of a flag."""
    suggested = "" if flag.suggested is None else labels[flag.suggested]
    why = (
        f"other folds give {suggested!r} {flag.preferred:.0%} and {pair.answer!r} {flag.given:.0%}"
        if suggested
        else f"its loss is {flag.strength:.1f} robust standard deviations above the median"
    )
    return Suspect(
        id=pair.id,
        input=pair.input,
        given=pair.answer,
        probability=round(flag.given, 6),
        strength=round(flag.strength, 4),
        why=why,
        suggested=suggested,
        preferred=round(flag.preferred, 6),
    )


def pairs_of(run: Run, suspects: Sequence[Suspect]) -> list[Pair]:
    """The training pair of each suspect."""
    known = {pair.id: pair for _, pair in jsonl.read(run.splits["train"], Pair)}
    return [known[each.id] for each in suspects]


def voted(suspects: Sequence[Suspect], votes: Sequence[Vote]) -> list[Suspect]:
    """`suspects` with what the teacher said of each."""
    return [
        msgspec.structs.replace(
            each, verdict=vote.verdict, becomes=vote.answer, votes=vote.votes, said=vote.why
        )
        for each, vote in zip(suspects, votes, strict=True)
    ]


def corrections(run: Run, suspects: Iterable[Suspect]) -> tuple[list[Correction], list[str]]:
    """(a rule for each suspect that is to change, ids of those left because a held-out row would change too).

    Those nobody was asked about again are dropped.
    """
    held_out = [row for name in ("valid", "test") for row in _pairs(run.splits[name])]
    rules, left = [], []
    for each in suspects:
        if each.verdict == "keep":
            continue
        why = f"suspects: {'; '.join(filter(None, (each.why, each.said)))}"
        if each.verdict == "relabel":
            rule = Correction("is", each.input, "answer", each.becomes, why=why)
        else:
            rule = Correction("is", each.input, "drop", was=each.given, why=why)
        if any(rule.matches(row.input, row.answer) for row in held_out):
            left.append(each.id)
        else:
            rules.append(rule)
    return rules, left


def _pairs(path: Path) -> list[Pair]:
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []


def summary(suspects: Sequence[Suspect], how: Mapping[str, Any]) -> dict[str, Any]:
    """What the command leaves."""
    verdicts = Counter(each.verdict for each in suspects if each.verdict)
    return {**how, "listed": len(suspects), "verdicts": dict(verdicts)}
