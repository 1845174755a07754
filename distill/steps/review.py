"""A person says, blind, which of two answers is better; with the judge's verdicts that makes one estimate.

Refuses to tell who said what, and to show a row that is decided or whose two answers are the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from distill.errors import DataError, UsageError
from distill.held_out import read_split, turns
from distill.report.verdicts import judged_by, older_than
from distill.score.differing import differences
from distill.score.judged import Ballot, Side, counted
from distill.score.ppi import agreement, prediction_powered, with_ties
from distill.score.stats import Interval
from distill.score.text import normalised
from distill.store import jsonl
from distill.store.run import Run, digest, read_json
from distill.types import Message, Prediction, Task, content_id

Said = Literal["win", "tie", "loss", "skip", "undo"]
"""What a decision is for the student."""
SIDES: dict[str, Side] = {"win": "a", "tie": "tie", "loss": "b"}
POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}
OF_JUDGE = {"won": "win", "tie": "tie", "lost": "loss"}


class Couple(NamedTuple):
    """One row with both systems' answers; `key` changes when either of them does."""

    key: str
    row: str
    asked: tuple[Message, ...]
    student: str
    other: str
    cluster: str

    @property
    def alike(self) -> bool:
        """Whether there is nothing to choose."""
        return normalised(self.student) == normalised(self.other)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of one couple; `first` is who was shown as A. "undo" takes back the one before."""

    key: str
    row: str
    against: str
    said: Said
    first: Literal["student", "other"]
    student: str
    other: str


class Review:
    """The answers of a comparison under review: the judged rows where there is a judge, else all."""

    def __init__(self, run: Run, task: Task, report: Mapping[str, Any], against: str) -> None:
        """Raises UsageError where the report is of other systems than `against`."""
        self.run, self.task, self.against = run, task, against
        judged = report.get("judged") or {}
        self.judge: str | None = judged.get("judge") if judged.get("b") == against else None
        verdicts = {row["row"]: OF_JUDGE.get(row["outcome"]) for row in judged.get("rows", ())}
        self.verdicts = {row: said for row, said in verdicts.items() if said and self.judge}
        self.judged = judged if self.verdicts else {}
        self.judgement = judged_by(report, against)
        self.split = judged["split"] if self.verdicts else report["split"]
        self.couples = [
            couple
            for couple in couples(run, task, self.split, against)
            if not self.verdicts or couple.row in self.verdicts
        ]
        if not self.couples:
            raise UsageError(
                f"there are no answers of '{against}' to review", where="--against", hint="teacher or base"
            )
        known = {couple.key for couple in self.couples}
        made = [each for _, each in jsonl.read(run.review, Decision)] if run.review.exists() else []
        self.standing: dict[str, Decision] = {}
        for decision in made:
            if decision.key in known:
                self._stand(decision)

    def _stand(self, decision: Decision) -> None:
        self.standing.pop(decision.key, None)
        if decision.said != "undo":
            self.standing[decision.key] = decision

    def to_show(self, n: int, seed: int) -> list[Couple]:
        """The couples still to decide, of `n` in all, in an order that `seed` decides."""
        differ = sorted(
            (couple for couple in self.couples if not couple.alike),
            key=lambda couple: content_id(seed, couple.key),
        )
        fresh = [couple for couple in differ if couple.key not in self.standing]
        return fresh[: max(0, n - len(self.standing))]

    def first(self, couple: Couple, seed: int) -> Literal["student", "other"]:
        """Who is shown as A: a coin that falls the same way when a review is gone on with."""
        return "student" if int(content_id(seed, "A", couple.key), 16) % 2 else "other"

    def decide(self, couple: Couple, said: Said, seed: int) -> None:
        """Write a decision to review.jsonl; it is on disk when this returns."""
        decision = Decision(
            key=couple.key,
            row=couple.row,
            against=self.against,
            said=said,
            first=self.first(couple, seed),
            student=couple.student,
            other=couple.other,
        )
        with jsonl.Appender(self.run.review) as log:
            log.append(decision)
        self._stand(decision)

    def undo(self, seed: int) -> Couple | None:
        """Take back the newest decision; its couple, to be shown again, or None where there is none."""
        if not self.standing:
            return None
        newest = next(reversed(self.standing))
        couple = next(couple for couple in self.couples if couple.key == newest)
        self.decide(couple, "undo", seed)
        return couple

    def estimate(self, seed: int) -> dict[str, Any]:
        """The section "review" of the page, and review.json: human, corrected and judge's win rate; kappa.

        Win rates are over all rows, a tie and two answers that are one being half a win; null is unknown.
        `judge_mark` and `judge_banner` are those of the section "judged"; null without a judge.
        """
        decided = [each for each in self.standing.values() if each.said in POINTS]
        clusters = {couple.key: couple.cluster or couple.row for couple in self.couples}
        said = [each.said for each in decided]
        counts = Counter[str](said)
        ballots = [
            Ballot(each.row, SIDES[each.said], SIDES[each.said], cluster=clusters[each.key])
            for each in decided
        ]
        human = counted([ballot.choice for ballot in ballots], ballots, seed)
        return {
            "n": len(decided),
            **{name: counts[name] for name in POINTS},
            "skipped": len(self.standing) - len(decided),
            "against": self.against,
            "split": self.split,
            "rows": len(self.couples),
            "alike": sum(couple.alike for couple in self.couples),
            **self._over_all(human),
            "judge": self.judge if self.verdicts else None,
            **{f"judge_{name}": self.judged.get(of) for name, of in JUDGE_NUMBERS.items()},
            "ppi": self._corrected(decided),
            "agreement": self._agreement(decided),
            "made_from": {"answers": digest(self.run.answers), "judged": self.judgement, "seed": seed},
        }

    def _over_all(self, human: Mapping[str, Any]) -> dict[str, float | None]:
        if human["win_rate"] is None:
            return {"value": None, "low": None, "high": None}
        found = self._with_ties(Interval(human["win_rate"], human["low"], human["high"], human["n"]))
        return {"value": found.value, "low": found.low, "high": found.high}

    def _with_ties(self, found: Any) -> Interval:
        return with_ties(found, sum(couple.alike for couple in self.couples), len(self.couples))

    def _corrected(self, decided: Sequence[Decision]) -> dict[str, float] | None:
        """The prediction-powered estimate; None without a judge, or with too few decisions."""
        if not self.verdicts:
            return None
        seen = {each.row for each in decided}
        rest = [
            POINTS[self.verdicts[couple.row]]
            for couple in self.couples
            if not couple.alike and couple.row not in seen
        ]
        human = [POINTS[each.said] for each in decided]
        found = prediction_powered(human, [POINTS[self.verdicts[each.row]] for each in decided], rest)
        if found is None:
            return None
        over_all = self._with_ties(found)
        return {
            "value": over_all.value,
            "low": over_all.low,
            "high": over_all.high,
            "lambda": found.weight,
        }

    def _agreement(self, decided: Sequence[Decision]) -> dict[str, Any] | None:
        if not self.verdicts or not decided:
            return None
        return agreement([each.said for each in decided], [self.verdicts[each.row] for each in decided])


JUDGE_NUMBERS = {"value": "win_rate", "low": "low", "high": "high", "mark": "mark", "banner": "banner"}
"""What of the section "judged" a review has beside its own numbers, with what stands against believing it."""


def couples(run: Run, task: Task, split: str, against: str) -> list[Couple]:
    """The student's answers to `split` beside those of `against`, in the order of the rows."""
    rows = [row for _, row in jsonl.read(run.answers, Prediction) if row.split == split]
    others = {row.row: row for row in rows if row.who == against}
    said = conversations(run, task) if split == "test" else {}
    found = []
    for row in rows:
        if row.who == "student" and (other := others.get(row.row)):
            texts = (shown(row), shown(other))
            asked = said.get(row.row, (Message("user", row.input),))
            key = content_id("review", against, row.row, texts)
            found.append(Couple(key, row.row, asked, *texts, row.cluster))
    return found


def shown(row: Prediction) -> str:
    """An answer as a person sees it: in the task's form where it has that."""
    return row.text if row.answer is None else row.answer


def conversations(run: Run, task: Task) -> dict[str, tuple[Message, ...]]:
    """Row -> what was said before the answer, where that is more than one message."""
    if task.kind not in ("text", "chat"):
        return {}
    rows = (turn for pair in read_split(run, "test") for turn in turns(pair))
    return {pair.id: tuple(message for message in pair.messages if message.role != "system") for pair in rows}


def save(run: Run, estimate: Mapping[str, Any]) -> None:
    """Write review.json."""
    jsonl.replace_json(run.reviewed, {"schema": 1, **estimate})


def stale(run: Run, report: Mapping[str, Any]) -> str:
    """ "the review is older than the judge's verdicts: run distill review"; "" where it is not, or absent."""
    stored = read_json(run.reviewed) if run.reviewed.exists() else {}
    old = older_than(stored, report, digest(run.answers)) if stored else ""
    return f"the review is older than {old}: run distill review" if old else ""


def verify(run: Run, task: Task, report: Mapping[str, Any]) -> bool:
    """Whether there is a review of these answers and verdicts, and every number of it follows from the
    decisions.

    Raises DataError where one does not.
    """
    stored = read_json(run.reviewed) if run.reviewed.exists() else {}
    if not stored or stale(run, report):
        return False
    seed = int(stored["made_from"].get("seed", 0))
    again = msgspec.to_builtins(Review(run, task, report, stored["against"]).estimate(seed))
    if wrong := list(differences({name: stored.get(name) for name in again}, again, "")):
        raise DataError(
            f"{len(wrong)} values of the review do not follow from the decisions: {wrong[0]}",
            where=str(run.reviewed),
            hint="run: distill review",
        )
    return True
