"""Pairs of the user's own, put where `generate` puts the teacher's, for the steps after it to use alike.

Refuses to replace what is there: a second import adds, and what was held out stays held out.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from distill.ask import student_messages
from distill.config import GenerateConfig, ImportConfig, plain
from distill.errors import DataError, UsageError
from distill.filters.chain import Chain, on_answers, on_inputs
from distill.filters.label_set import label_set
from distill.filters.rule import excerpt
from distill.parse import parse_answer, slug
from distill.store import jsonl
from distill.store.conversations import BARE, Conversation, Unfit, conversation, task_of
from distill.store.pairs import frozen, read_pairs, write_pairs
from distill.store.records import read_rows
from distill.store.run import Run, digest
from distill.store.shapes import read_gold
from distill.store.taskfile import read_task, write_task
from distill.types import KEEP, Candidate, Pair, Progress, Split, Task, Verdict, content_id

ORIGIN = "imported"
LONGEST_SHOWN = 2000
DEALT_FIRST: dict[Split | None, int] = {"test": 0, "valid": 1, "train": 2, None: 2}
"""Held-out rows first: of two that are nearly the same, the one trained on goes."""


class Row(NamedTuple):
    """One row of the file: a conversation, or why it is none; the split it was found in."""

    where: str
    split: Split | None
    read: Conversation | str
    raw: str


class Judged(NamedTuple):
    """A row as a candidate with its verdict, and the pair it makes where it is kept."""

    candidate: Candidate
    pair: Pair | None
    split: Split | None


def import_pairs(run: Run, path: Path, config: ImportConfig, progress: Progress) -> dict[str, Any]:
    """Add the pairs in `path` to `2-generate/` and return the receipt; the newest of its `imports` is this.

    A run without a task gets one, told from rows that carry their own prompt. Raises UsageError where none
    can be told, or no row is left; DataError with file:line where a row has no known shape.
    """
    started = time.monotonic()
    rows = read(path, progress)
    wrote_task = not run.task.exists()
    task = told(path, rows) if wrote_task else read_task(run.task)
    before, held = read_pairs(run), frozen(run)
    receipt = run.summary("generate") or {}
    judged = judge(rows, task, before, sieves(run, task, config), receipt.get("tried", 0), progress)
    made = [row for row in judged if row.pair is not None]
    if not made and not before:
        raise nothing_left(path, judged)
    if wrote_task:
        write_task(run.task, task)
    named, dealing = dealt(made, config)
    pairs = [*before, *(row.pair for row in made if row.pair is not None)]
    run.begin("generate")
    log = jsonl.read(run.candidates, msgspec.Raw) if run.candidates.exists() else iter(())
    jsonl.replace(run.candidates, chain((line for _, line in log), (row.candidate for row in judged)))
    sizes = write_pairs(run, task, dealing, pairs, {**named, **held})
    entry = {
        "file": path.name,
        "digest": fingerprint(path),
        "tried": len(rows),
        "accepted": len(made),
        "dropped": dict(drops(judged).most_common()),
        "shapes": dict(Counter(row.read.shape for row in rows if isinstance(row.read, Conversation))),
        "how": how(config),
        "wrote_task": wrote_task,
    }
    receipt = {
        **(receipt or fresh()),
        **counts(receipt, task, pairs, entry),
        "splits": sizes,
        "seconds": round(time.monotonic() - started, 1),
    }
    run.finish("generate", receipt, made_from(receipt))
    return receipt


def already(run: Run, path: Path, config: ImportConfig) -> dict[str, Any] | None:
    """The receipt, where this very file was imported in this very way and its pairs are there; else None."""
    receipt = run.summary("generate") or {}
    known = [(entry["digest"], entry["how"]) for entry in receipt.get("imports", [])]
    return receipt if run.pairs.exists() and (fingerprint(path), how(config)) in known else None


def how(config: ImportConfig) -> dict[str, Any]:
    """What decides, beside the file, which rows are kept and where they go."""
    return {name: value for name, value in plain(config).items() if name != "task"}


def fingerprint(path: Path) -> str:
    """A digest of a file's bytes, or of all files in a folder."""
    if path.is_file():
        return str(digest(path))
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return content_id([(file.relative_to(path).as_posix(), digest(file)) for file in files])


def read(path: Path, progress: Progress) -> list[Row]:
    """Every row of the file. Raises DataError where one has no known shape, or there is none."""
    progress.begin(f"reading {path.name}", None)
    rows = []
    for row in read_rows(path):
        found: Conversation | str
        try:
            found = conversation(row.value, row.where)
        except Unfit as unfit:
            found = str(unfit)
        raw = "" if isinstance(found, Conversation) else msgspec.json.encode(row.value).decode()
        rows.append(Row(row.where, row.split, found, raw[:LONGEST_SHOWN]))
        progress.advance()
    if not rows:
        raise DataError(
            "no rows: there is nothing in it",
            where=str(path),
            hint='a line a row is wanted, as {"input": "…", "output": "…"} or {"messages": […]}',
        )
    if all(isinstance(row.read, str) for row in rows):
        raise DataError(f"none of {len(rows)} rows can be used: {rows[0].read}", where=rows[0].where)
    return rows


def told(path: Path, rows: Sequence[Row]) -> Task:
    """A task for rows that carry their own prompt. Raises UsageError where one does not."""
    talks = [row.read for row in rows if isinstance(row.read, Conversation)]
    bare = [row.where for row in rows if isinstance(row.read, Conversation) and row.read.shape == BARE]
    if bare:
        raise UsageError(
            "the rows hold inputs and answers, and the run has no task that says what is asked",
            where=bare[0],
            hint="--task task.toml; or put the prompt into the rows: messages, or prompt and completion",
        )
    return task_of(talks, slug(path.stem) or ORIGIN)


def sieves(run: Run, task: Task, config: ImportConfig) -> tuple[Chain, Chain]:
    """(rules on inputs, rules on answers); with --no-filters only that an answer is one of the task's."""
    if config.no_filters:
        return Chain([]), Chain([label_set(task)])
    looked_at = GenerateConfig(
        min_chars=config.min_chars,
        max_chars=config.max_chars,
        near_duplicate=config.near_duplicate,
        seed=config.seed,
        # The user's own rows are in whatever language they are in.
        language=task.language or "off",
    )
    gold = run.settings().get("compare", {}).get("gold")
    protected = [row.input for row in read_gold(Path(gold), None)] if gold and Path(gold).is_file() else []
    return on_inputs(task, looked_at, protected), on_answers(task, looked_at)


def judge(
    rows: Sequence[Row],
    task: Task,
    before: Sequence[Pair],
    rules: tuple[Chain, Chain],
    first: int,
    progress: Progress,
) -> list[Judged]:
    """A verdict for each row, in the file's order; `first` is the index of the first candidate."""
    on_input, on_answer = rules
    seen = {pair.id for pair in before}
    for number, old in enumerate(before):
        on_input.remember(known(old, -1 - number))
    progress.begin("looking at the pairs", len(rows))
    judged: dict[int, Judged] = {}
    for place in sorted(range(len(rows)), key=lambda place: DEALT_FIRST[rows[place].split]):
        row = rows[place]
        candidate, pair = candidate_of(row, task, first + place)
        verdict = Verdict(keep=False, rule="unfit", why=row.read) if isinstance(row.read, str) else KEEP
        if pair is not None and pair.id in seen:
            verdict = Verdict(keep=False, rule="exact", why="the same pair is there already")
        # All that the user said tells conversations apart: many end with the same thanks.
        whole = msgspec.structs.replace(candidate, input=candidate.said)
        for rule in (on_answer, on_input):
            verdict = rule.judge(whole) if verdict.keep else verdict
        if verdict.keep and pair is not None:
            on_input.remember(whole)
            seen.add(pair.id)
        candidate = msgspec.structs.replace(candidate, verdict=verdict)
        judged[place] = Judged(candidate, pair if verdict.keep else None, row.split)
        progress.advance()
    return [judged[place] for place in range(len(rows))]


def candidate_of(row: Row, task: Task, index: int) -> tuple[Candidate, Pair | None]:
    """The row as a candidate and as the pair it would make (None: it is no conversation)."""
    talk = row.read
    if isinstance(talk, str):
        return Candidate(index=index, input=row.raw, answer="", origin=ORIGIN, source=row.where), None
    answer = parse_answer(task, talk.answer) or talk.answer
    asked = talk.messages[-1].content
    shown = student_messages(task, asked) if talk.shape == BARE else talk.messages
    candidate = Candidate(
        index=index,
        input=asked,
        answer=answer,
        origin=ORIGIN,
        before=talk.messages[:-1],
        rationale=talk.rationale,
        source=row.where,
        attributes=talk.attributes,
    )
    return candidate, Pair.make(shown, answer, ORIGIN, talk.attributes, rationale=talk.rationale)


def known(pair: Pair, index: int) -> Candidate:
    """A pair made before, as the rules with a memory remember it."""
    return Candidate(index=index, input=pair.input, answer=pair.answer, origin=pair.origin)


def dealt(made: Sequence[Judged], config: ImportConfig) -> tuple[dict[str, Split], ImportConfig]:
    """(pairs whose split the data itself names, how the others are dealt out).

    A split that the data has is kept as it is, nothing added; one that it lacks is dealt from its train rows.
    """
    held = {row.split for row in made} & {"valid", "test"}
    kept = {*held, "train"} if len(held) == 2 else held
    named = {row.pair.id: row.split for row in made if row.pair and row.split and row.split in kept}
    dealing = dataclasses.replace(
        config,
        valid_share=0.0 if "valid" in held else config.valid_share,
        test_share=0.0 if "test" in held else config.test_share,
    )
    return named, dealing


def drops(judged: Sequence[Judged]) -> Counter[str]:
    """How many rows each rule dropped."""
    return Counter(row.candidate.verdict.rule for row in judged if not row.candidate.verdict.keep)


def nothing_left(path: Path, judged: Sequence[Judged]) -> UsageError:
    """The error where no row is kept."""
    worst = ", ".join(f"{count} {rule}" for rule, count in drops(judged).most_common(3))
    first = judged[0].candidate
    return UsageError(
        f"none of {len(judged)} rows is kept ({worst}); the first: {first.verdict.rule}: {first.verdict.why}",
        where=str(path),
        hint=f"the first input: {excerpt(first.input)!r}; --no-filters keeps all but wrong answers, doubles",
    )


def fresh() -> dict[str, Any]:
    """The receipt of a run that nothing was bought for."""
    return {
        "prompt": "",
        "agreement": {"used": False, "why": "imported answers are taken as they are"},
        "calls": 0,
        "cost_usd": 0.0,
        "cost_per_accepted_usd": 0.0,
        "filter_lift": None,
    }


def counts(
    before: dict[str, Any], task: Task, pairs: Sequence[Pair], entry: dict[str, Any]
) -> dict[str, Any]:
    """What an import changes of the receipt there was."""
    dropped = Counter(before.get("dropped", {})) + Counter(entry["dropped"])
    by_answer = Counter(pair.answer for pair in pairs)
    return {
        "accepted": len(pairs),
        "asked_for": len(pairs),
        "tried": before.get("tried", 0) + entry["tried"],
        "dropped": dict(dropped.most_common()),
        "by_answer": {name: by_answer[name] for name in task.label_names},
        "calls_now": 0,
        "imports": [*before.get("imports", []), entry],
    }


def made_from(receipt: dict[str, Any]) -> dict[str, Any]:
    """What the pairs depend on: what they were generated from, if they were, else the files imported."""
    generated = {name: value for name, value in receipt.get("made_from", {}).items() if name != "imports"}
    return generated or {"imports": [entry["digest"] for entry in receipt["imports"]]}
