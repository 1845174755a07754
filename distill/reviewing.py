"""Commands that look at rows: `rows` reads candidates, `audit` has kept ones judged, `filters` lists rules.

`audit` refuses to guess an answer where nobody is there to give one, and keeps each as it is given.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from distill import views_rows
from distill.config import GenerateConfig
from distill.console import Console
from distill.errors import UsageError
from distill.filters.correction import Correction, read_corrections, wrong_with
from distill.keys import Keys
from distill.options import fill
from distill.parse import parse_answer
from distill.steps.audit import Audit, Drawn, apply_corrections, write_receipt
from distill.steps.rows import Wanted, read_rows
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import Pair, Split, Task
from distill.workflow import Shown
from distill.workplace import Context, terminal, workplace

ANSWERS = "y, n, e, s or q"
KEYS = "y right   n wrong   e edit the answer   s skip   q stop (what is judged is kept)"
WHICH = "text that their inputs hold, or /regular expression/; Enter: this row alone; -: leave the rows be"


def rows(context: Context, wanted: Wanted) -> Shown:
    """`distill rows`."""
    if wanted.kept and wanted.dropped is not None:
        raise UsageError("kept or dropped, not both", where="--kept, --dropped", hint="give one of them")
    run = Run.open(context.runs_dir, context.run_name)
    found = read_rows(run.candidates, wanted)
    summary = {"run": run.name, "by_verdict": found.by_verdict, "matching": found.matching}
    shown = [msgspec.to_builtins(row) for row in found.rows]
    return {**summary, "rows": shown}, views_rows.rows_table(terminal(context), found, wanted)


def filters(context: Context) -> Shown:
    """`distill filters`: those of the run's task and settings, or, where there is no run, as they come."""
    from distill.filters.catalogue import catalogue

    task, config, whose = None, GenerateConfig(), "of any task"
    if context.run_name or (context.runs_dir / "current").is_file():
        run = Run.open(context.runs_dir, context.run_name)
        config = fill(GenerateConfig, {}, run.settings().get("generate", {}))
        if run.task.exists():
            task = read_task(run.task)
            whose = f"of task '{task.name}' in run '{run.name}'"
    named = ("name", "looks_at", "on", "drops")
    listed = [{name: getattr(each, name) for name in named} for each in catalogue(task, config)]
    return {"task": task.name if task else None, "filters": listed}, views_rows.filters_table(
        terminal(context), listed, whose
    )


def audit(context: Context, n: int, seed: int, split: Split | None) -> Shown:
    """`distill audit`."""
    with workplace(context) as place:
        run, task = place.run, read_task(place.run.task)
        if not run.pairs.exists():
            raise UsageError(
                "there are no pairs to audit yet", where=str(run.pairs), hint="run: distill generate --n 1000"
            )
        review = Audit(run, task, split, checked_rules(run, task))
        changed = apply_corrections(run, task, review.rules)
        review.read()
        dialogue = Dialogue(
            place.console, review, Keys(place.console, "audit", ANSWERS, no_input=context.no_input)
        )
        changed += dialogue.judge(n, seed)
        estimate = {"split": split, **review.estimate()}
        write_receipt(run, task, estimate)
        summary = {"run": run.name, **estimate, "corrections_saved": dialogue.saved, "rows_changed": changed}
        summary["sentence"] = views_rows.audit_sentence(estimate)
        return summary, views_rows.audited(estimate, dialogue.saved, changed)


def checked_rules(run: Run, task: Task) -> tuple[Correction, ...]:
    """The run's corrections. Raises UsageError where one sets what is no answer of the task."""
    rules = read_corrections(run.corrections)
    for number, rule in enumerate(rules, 1):
        if rule.action == "answer" and parse_answer(task, rule.answer) != rule.answer:
            raise UsageError(
                f"rule {number}: {rule.answer!r} is not an answer of '{task.name}' as it is written there",
                where=str(run.corrections),
                hint="mend or delete the rule",
            )
    return rules


class Dialogue:
    """The questions of `audit`; every answer is on disk before the next question."""

    def __init__(self, console: Console, review: Audit, keys: Keys) -> None:
        self.console, self.review, self.keys = console, review, keys
        self.saved = 0

    def judge(self, n: int, seed: int) -> int:
        """Ask about the rows still to look at, of `n` in all; returns how many pairs corrections changed."""
        changed, waiting, done = 0, self.review.to_show(n, seed), len(self.review.standing())
        if waiting:
            self.console.ask(f"{self.review.task.instruction}\n{KEYS}")
        for number, drawn in enumerate(waiting, done + 1):
            if self.review.ruled(drawn.pair):
                self.review.decide(drawn, "ruled")
                continue
            self.console.ask(views_rows.card(drawn.pair, number, done + len(waiting)))
            more = self._row(drawn)
            if more is None:
                break
            changed += more
        return changed

    def _row(self, drawn: Drawn) -> int | None:
        """Have one row judged; how many pairs that changed, or None to stop."""
        while True:
            match self.keys.key():
                case "y":
                    self.review.decide(drawn, "right")
                    self.console.ask("right")
                    return 0
                case "s":
                    self.review.decide(drawn, "skip")
                    self.console.ask("skipped")
                    return 0
                case "q":
                    return None
                case "n":
                    return self._wrong(drawn)
                case "e":
                    if (answer := self._edited(drawn.pair)) is not None:
                        return self._edit(drawn, answer)
            self.console.ask(KEYS)

    def _wrong(self, drawn: Drawn) -> int:
        was = drawn.pair.answer if self.review.task.labels else ""
        whose = f" answered {was!r}" if was else ""
        rule = self._rule(drawn.pair, f"wrong. Drop rows{whose}: {WHICH}", action="drop", was=was)
        self.review.decide(drawn, "wrong")
        return self._save(rule)

    def _edit(self, drawn: Drawn, answer: str) -> int:
        rule = self._rule(drawn.pair, f"Give rows this answer: {WHICH}", action="answer", answer=answer)
        self.review.decide(drawn, "edit", answer)
        return self._save(rule)

    def _edited(self, pair: Pair) -> str | None:
        """The answer it should have had, in the task's form; None where none is typed."""
        names = ", ".join(self.review.task.label_names)
        while typed := self.keys.line(f"the right answer ({names or 'Enter: none'})"):
            answer = parse_answer(self.review.task, typed)
            if answer not in (None, pair.answer):
                return answer
            what = "not an answer of this task" if answer is None else "that is the answer it has"
            self.console.ask(f"{what}: {typed}")
        return None

    def _rule(self, pair: Pair, question: str, **action: Any) -> Correction | None:
        """The correction a person wants made, having seen how many rows it is about; None for none."""
        while (typed := self.keys.line(question)) not in (None, "-"):
            rule = typed_rule(str(typed), pair, **action)
            if problem := wrong_with(rule):
                self.console.ask(problem)
            elif not rule.matches(pair.input, pair.answer):
                self.console.ask("this row is not among them")
            elif self._agreed(rule):
                return rule
        return None

    def _agreed(self, rule: Correction) -> bool:
        """Whether a person, told how many rows change, wants that; of a single row nobody is asked."""
        answers = self.review.would_change(rule)
        rows = answers.total()
        if rows == 1:
            return True
        split_up = ", ".join(f"{count} {answer}" for answer, count in answers.most_common(5))
        whose = f" ({split_up})" if self.review.task.labels and rows else ""
        verb = "drops" if rule.action == "drop" else f"answers {rule.answer!r} in"
        return (self.keys.line(f"{verb} {rows:,} rows{whose}: {rule.says}. Do it? y/n") or "n")[:1] in "yY"

    def _save(self, rule: Correction | None) -> int:
        if rule is None:
            return 0
        self.saved += 1
        changed = self.review.correct(rule)
        self.console.ask(f"saved in {self.review.run.corrections}; rows changed: {changed:,}")
        return changed


def typed_rule(typed: str, pair: Pair, **action: Any) -> Correction:
    """What was typed as a rule: "" is this row alone, "/…/" a regular expression, else text to be held."""
    make: Callable[..., Correction] = Correction
    if not typed:
        return make(match="is", text=pair.input, **action)
    if pattern := re.fullmatch(r"/(.+)/", typed, re.DOTALL):
        return make(match="regex", text=pattern[1], **action)
    return make(match="contains", text=typed, **action)
