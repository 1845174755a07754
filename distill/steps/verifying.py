"""`distill compare --verify`: every number of report.json once more, from what is on disk. Nobody is asked.

Refuses to trust the stored parse of an answer, and a stored verdict on other answers than there are.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.config import CompareConfig
from distill.errors import DataError, UsageError
from distill.judge import questions
from distill.parse import parse_answer
from distill.report.build import SCORING, build
from distill.results import Measured
from distill.rounds import Round, of_now, told
from distill.score.differing import differences
from distill.score.judgement import PAIR, Cast, section
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.teacher.family import banner
from distill.types import Prediction, Task

SHOWN = 5


def verify(run: Run) -> dict[str, Any]:
    """The stored report, once every section of it follows from answers.jsonl and judged.jsonl.

    Raises UsageError where there is no report, or one too old to be checked, DataError where one of its
    values is another than the answers and verdicts give.
    """
    stored, path = run.summary("compare"), run.summary_path("compare")
    if stored is None:
        raise UsageError("there is no report to verify", where=str(path), hint="run: distill compare")
    scoring = stored.get("made_from", {}).get("scoring")
    if scoring != SCORING or "measured" not in stored or ("judged" in stored and not run.judged.exists()):
        raise UsageError(
            "this report is too old to be verified", where=str(path), hint="run: distill compare"
        )
    again = rebuilt(run, stored)
    del again["measured"]  # what was measured follows from nothing
    if wrong := list(differences({name: stored.get(name) for name in again}, again, "")):
        shown = "; ".join(wrong[:SHOWN])
        raise DataError(
            f"{len(wrong)} values of the report do not follow from the answers: {shown}",
            where=str(path),
            hint="one of report.json, answers.jsonl, judged.jsonl and task.toml was changed: "
            "run distill compare again",
        )
    return stored


def rebuilt(run: Run, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The report that these answers and verdicts give, as JSON has it."""
    task = read_task(run.task)
    predictions: dict[str, list[Prediction]] = {}
    for _, row in jsonl.read(run.answers, Prediction):
        anew = msgspec.structs.replace(row, answer=parse_answer(task, row.text))
        predictions.setdefault(row.who, []).append(anew)
    knobs = {field.name for field in dataclasses.fields(CompareConfig)} & stored["made_from"].keys()
    config = CompareConfig(**{name: stored["made_from"][name] for name in knobs})
    measured = msgspec.convert(stored["measured"], Measured)
    report = build(task, config, predictions, measured)
    if "judged" in stored:
        casts = [cast for _, cast in jsonl.read(run.judged, Cast)]
        report["judged"] = judged_again(task, config, stored["judged"], predictions, casts, measured)
    if "rounds" in stored:
        report["rounds"] = rounds_again(run, task, report, predictions, config.seed)
    return msgspec.json.decode(msgspec.json.encode(report), type=dict[str, Any])


def rounds_again(
    run: Run,
    task: Task,
    report: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Prediction]],
    seed: int,
) -> list[dict[str, Any]]:
    """The section "rounds": the newest from these answers, those before from what rounds.jsonl has kept."""
    *before, newest = [each for _, each in jsonl.read(run.rounds, Round)]
    return told([*before, of_now(newest, task, report["split"], predictions, seed)], seed)


def judged_again(
    task: Task,
    config: CompareConfig,
    stored: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Prediction]],
    casts: Sequence[Cast],
    measured: Measured,
) -> dict[str, Any]:
    """The section "judged" from the verdicts in judged.jsonl, of the answers in answers.jsonl.

    Raises DataError where a verdict is on a row that nobody answered.
    """
    a, b, judge = (str(stored[name]) for name in ("a", "b", "judge"))
    said = {
        who: {row.row: row.answer or "" for row in predictions[who] if row.split == stored["split"]}
        for who in (a, b)
    }
    if unknown := sorted({cast.row for cast in casts} - said[a].keys()):
        raise DataError(
            f"{len(unknown)} judged rows have no answer, such as {unknown[0]}",
            where="judged.jsonl",
            hint="run distill compare again: verdicts that were bought are not bought twice",
        )
    casts = [
        msgspec.structs.replace(cast, lengths=(len(said[a][cast.row]), len(said[b][cast.row])))
        if cast.what == PAIR
        else cast
        for cast in casts
    ]
    found = section(
        casts,
        judge=judge,
        banner=banner(judge, measured.models[b]),
        questions=questions(task),
        a=a,
        b=b,
        seed=config.seed,
    )
    return {"split": stored["split"], **found}
