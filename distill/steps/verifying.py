"""`distill compare --verify`: every number of report.json once more, from what is on disk. Nobody is asked.

Refuses to trust the stored parse of an answer, a stored verdict on other answers than there are, and a number
that nothing gives.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from distill.config import CompareConfig
from distill.errors import DataError, UsageError
from distill.judge import questions
from distill.parse import parse_answer
from distill.report.build import SCORING, build
from distill.results import AGAIN, ASIDE, Measured
from distill.rounds import Round, of_now, told
from distill.score.differing import differences
from distill.score.judgement import PAIR, Cast, section
from distill.store import jsonl
from distill.store.run import Run, digest, read_json
from distill.store.taskfile import read_task
from distill.systems import own_rules
from distill.teacher.family import banner
from distill.types import Prediction, Task

SHOWN = 5
GIVEN = ("made_from", "measured")
"""What of a report follows from nothing."""
SERVED = ("confidence", "calibration", "target", "sentence")
"""What of the section "cascade" is in cascade.json."""
SYSTEMS = ("teacher", "student", "base")
"""Those in every report."""
AGAIN_PLEASE = "run distill compare again"


def verify(run: Run) -> dict[str, Any]:
    """The stored report, once every section of it follows from answers.jsonl, judged.jsonl and rounds.jsonl,
    and what is served with from it.

    Raises UsageError where there is no report, or one too old to be checked, DataError where one of its
    values is another than the answers and verdicts give, or where those are not whole.
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
    told, found = ({name: each[name] for name in each if name not in GIVEN} for each in (stored, again))
    hold(told, found, "the report", path)
    served = read_json(run.cascade) if run.cascade.exists() else {}
    section = again.get("cascade")
    wanted = {"schema": 1, **{name: section[name] for name in SERVED}} if section else {}
    hold(served, wanted, "what is served with", run.cascade)
    return stored


def hold(stored: Mapping[str, Any], again: Mapping[str, Any], what: str, path: Path) -> None:
    """Raises DataError where a value in either is not that of the other."""
    if wrong := list(differences(stored, again, "")):
        shown = "; ".join(wrong[:SHOWN])
        raise DataError(
            f"{len(wrong)} values of {what} do not follow from the answers: {shown}",
            where=str(path),
            hint="one of report.json, answers.jsonl, judged.jsonl, rounds.jsonl, cascade.json and task.toml "
            f"was changed: {AGAIN_PLEASE}",
        )


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
    check_whole(run, predictions, measured)
    if rules_as_then(run):
        measured = msgspec.structs.replace(measured, failed_checks=own_rules(run, predictions))
    report = build(task, config, predictions, measured)
    if "judged" in stored:
        casts = [cast for _, cast in jsonl.read(run.judged, Cast)]
        report["judged"] = judged_again(task, config, stored["judged"], predictions, casts, measured)
    elif run.judged.exists():
        raise DataError("the report lacks what the judge said", where=str(run.judged), hint=AGAIN_PLEASE)
    report |= rounds_again(run, task, report, predictions, config.seed)
    return msgspec.json.decode(msgspec.json.encode(report), type=dict[str, Any])


def rounds_again(
    run: Run,
    task: Task,
    report: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Prediction]],
    seed: int,
) -> dict[str, Any]:
    """The section "rounds": the newest from these answers, those before from what rounds.jsonl has kept.

    Raises DataError where not even the newest is there.
    """
    rounds = [each for _, each in jsonl.read(run.rounds, Round)] if run.rounds.exists() else []
    if not rounds:
        raise DataError("the newest round is not there", where=str(run.rounds), hint=AGAIN_PLEASE)
    *before, newest = rounds
    now = of_now(newest, task, report["split"], predictions, seed)
    return {"rounds": told([*before, now], seed)} if before else {}


def check_whole(run: Run, predictions: Mapping[str, Sequence[Prediction]], measured: Measured) -> None:
    """Raises DataError where a system of the report has no answers, or not those to the teacher's rows."""
    rows = {who: [(row.split, row.row) for row in found] for who, found in predictions.items()}
    asked = rows.get("teacher", [])
    systems = dict.fromkeys((*SYSTEMS, *measured.models, *(who for who in rows if who not in ASIDE)))
    wrong = [who for who in systems if who not in measured.models or not asked or rows.get(who) != asked]
    wrong += [AGAIN] if not {*rows.get(AGAIN, ())} <= {*asked} else []
    if wrong:
        raise DataError(
            f"not every row has an answer of each system: {', '.join(wrong)}",
            where=str(run.answers),
            hint=f"{AGAIN_PLEASE}: answers that are there are not asked for twice",
        )


def rules_as_then(run: Run) -> bool:
    """Whether the user's own rules (--check) are at hand, as they were for generate."""
    then = (run.summary("generate") or {}).get("made_from", {}).get("check file")
    check = run.settings().get("generate", {}).get("check")
    return bool(then and check) and digest(Path(check)) == then


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
    a, b, judge = (str(stored.get(name)) for name in ("a", "b", "judge"))
    if not {a, b} <= predictions.keys():
        raise DataError(f"nobody answered as {a} and as {b}", where="judged.jsonl", hint=AGAIN_PLEASE)
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
