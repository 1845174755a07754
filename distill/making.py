"""Candidates on their way to becoming pairs: four stages, each an async generator in plan order.

    inputs (planned, given or logged)  ->  input rules  ->  answers (`Answering`)  ->  answer rules

Order is what makes a resumed run see the same candidates: the ledger then answers what was asked before. It
refuses to count a row it did not keep, and to end with fewer than N in silence.
"""

import itertools
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from distill.answering import Answering
from distill.ask import default_prompt, first_shots
from distill.config import GenerateConfig
from distill.errors import DistillError
from distill.filters.chain import Chain, on_answers, on_inputs
from distill.filters.correction import corrected, correction, read_corrections
from distill.given import imported_lines
from distill.planning import Cell, plan
from distill.probing import write_input
from distill.saturation import Saturation
from distill.store import jsonl
from distill.store.run import Run
from distill.teacher.flow import ordered
from distill.teacher.ledgered import Ledgered
from distill.teacher.protocol import Teacher
from distill.types import KEEP, Candidate, Example, Pair, Progress, Tally, Task, Verdict


class Making:
    """Candidates on their way: the stages, their rules and the counts the receipt is made of.

    `given` are candidates that bring their input (and perhaps a response); None: the teacher writes them.
    `imported` are pairs that count towards N, `known` ones that do not; nothing may be made that is like
    them, or like `protected` inputs: gold and seeds.
    `through` is asked in the teacher's place; `stages` says of election and revision whether and why.
    `answered` are the candidates that came to an answer, and whether each was kept.
    """

    def __init__(
        self,
        run: Run,
        task: Task,
        config: GenerateConfig,
        teacher: Ledgered,
        progress: Progress,
        *,
        seeds: Sequence[Example] = (),
        given: Sequence[Candidate] | None = None,
        protected: Sequence[str] = (),
        imported: Sequence[Pair] = (),
        known: Sequence[Pair] = (),
        through: Teacher | None = None,
        stages: Mapping[str, Any] | None = None,
    ) -> None:
        self.stages = stages or {}
        self.run, self.task, self.config, self.teacher, self.progress = run, task, config, teacher, progress
        self._asked = through or teacher
        self.seeds, self.given = seeds, given
        self.on_input = on_inputs(task, config, protected)
        self.corrections = read_corrections(run.corrections)
        self.on_answer = Chain([correction(run.corrections), *on_answers(task, config).rules])
        self.answering = Answering(task, config, self._asked, seeds, self.on_answer)
        self.saturation = Saturation(config.n, config.saturation)
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str | None] = Counter()
        self.lost: Counter[str | None] = Counter()
        self.answered: list[tuple[Candidate, bool]] = []
        self.imported = list(imported)
        for place, pair in enumerate((*imported, *known), 1):
            self.on_input.remember(
                Candidate(index=-place, input=pair.input, answer=pair.answer, origin=pair.origin)
            )
        # The user's own rows count towards N.
        self.kept.update(pair.answer if task.labels else None for pair in imported)

    def __enter__(self) -> "Making":
        return self

    def __exit__(self, *_: object) -> None:
        self.on_input.close()
        self.on_answer.close()

    async def accepted(self) -> list[Candidate]:
        """N kept candidates less the imported pairs; fewer only where the given inputs ran out.

        Writes candidates.jsonl.
        Raises DistillError where N is out of reach: the cap on candidates, or nothing new any more.
        """
        accepted: list[Candidate] = []
        self.progress.begin("generating", self.config.n)
        self.progress.advance(self.kept.total())
        jsonl.replace(self.run.candidates, imported_lines(self.run))
        if self.kept.total() >= self.config.n:
            return accepted
        with jsonl.Appender(self.run.candidates) as log:
            async with aclosing(self._judged(log)) as judged:
                async for candidate in judged:
                    accepted.append(candidate)
                    if self.kept.total() >= self.config.n:
                        return accepted
        if self.given is None or not self.kept.total():
            raise self._fell_short(self.kept.total())
        return accepted

    async def _judged(self, log: jsonl.Appender) -> AsyncGenerator[Candidate, None]:
        """Every candidate through all stages; written to `log` with its verdict, the kept ones handed on."""

        def drop(candidate: Candidate, verdict: Verdict) -> None:
            self.dropped[verdict.rule] += 1
            self.lost[candidate.asked] += 1
            log.append(msgspec.structs.replace(candidate, verdict=verdict))
            self._show(candidate, verdict)

        for source in self._sources():
            sieved = self.sieve(source, drop)
            async with aclosing(ordered(sieved, self.answering.answer, self.teacher.ahead)) as answered:
                async for found in answered:
                    candidate = corrected(found, self.corrections)
                    verdict = self._verdict(candidate)
                    self.answered.append((candidate, verdict.keep))
                    if not verdict.keep:
                        drop(candidate, verdict)
                        continue
                    log.append(candidate)
                    self.kept[candidate.answer if self.task.labels else None] += 1
                    self._show(candidate, KEEP)
                    yield candidate

    def _sources(self) -> Iterator[AsyncGenerator[Candidate, None]]:
        """Rounds of planned cells, or of the given candidates, until N are kept or there are no more.

        Rounds, not a stream: what is asked then depends on verdicts alone and never on timing, so that a
        resumed run asks the same again and finds it in the ledger, and no more is bought than N need.
        """
        if self.given is not None:
            rest = iter(self.given)
            while some := list(itertools.islice(rest, self._need_of_given())):
                yield _each(some)
            return
        cells = {asked: self._cells(asked) for asked in self.task.label_names or (None,)}
        while round_ := [
            cell for asked in cells for cell in itertools.islice(cells[asked], self._need(asked))
        ]:
            # The labels in turn again, so that what is in flight together is of every label.
            round_.sort(key=lambda cell: cell.index)
            yield ordered(round_, self.write, self.teacher.ahead)

    def _cells(self, asked: str | None) -> Iterator[Cell]:
        """The planned cells of one label, up to the hard cap on candidates."""
        most = int(self.config.max_tries * self.config.n)
        within = itertools.takewhile(lambda cell: cell.index < most, plan(self.task, self.config.seed))
        return (cell for cell in within if cell.asked == asked)

    def _need(self, asked: str | None) -> int:
        """Cells to ask for in the next round: what is missing of this label."""
        return next_round(self.quota(asked) - self.kept[asked], self.kept[asked], self.lost[asked])

    def _need_of_given(self) -> int:
        """Candidates to take in the next round, whatever they turn out to be."""
        kept = self.kept.total()
        return next_round(self.config.n - kept, kept, self.lost.total())

    def quota(self, asked: str | None) -> int:
        """How many of the N are to be of this label; the first labels take what does not divide."""
        names = self.task.label_names
        if asked is None:
            return self.config.n
        return self.config.n // len(names) + (names.index(asked) < self.config.n % len(names))

    async def write(self, cell: Cell) -> Candidate:
        """A candidate written for `cell`, without its answer yet."""
        text, finish = await write_input(
            self.task,
            self._asked,
            cell,
            temperature=self.config.temperature,
            seed=self.config.seed,
            shots=self.seeds,
        )
        return Candidate(
            index=cell.index,
            input=text,
            answer=cell.asked or "",
            asked=cell.asked,
            attributes=cell.attributes,
            origin="written",
            finish_reason=finish,
        )

    async def sieve(
        self, source: AsyncGenerator[Candidate, None], drop: Callable[[Candidate, Verdict], None]
    ) -> AsyncIterator[Candidate]:
        """Candidates whose input passes the input rules: only those are worth another call."""
        async with aclosing(source) as candidates:
            async for candidate in candidates:
                verdict = self.on_input.judge(candidate)
                if verdict.keep:
                    yield candidate
                else:
                    drop(candidate, verdict)

    def _verdict(self, candidate: Candidate) -> Verdict:
        """The answer rules, the quota of its label, then once more the duplicates of what was in flight."""
        verdict = self.judged(candidate)
        if verdict.keep and candidate.asked and self.kept[candidate.asked] >= self.quota(candidate.asked):
            return Verdict(keep=False, rule="surplus", why=f"there are enough of {candidate.asked!r}")
        whole = msgspec.structs.replace(candidate, input=candidate.said) if candidate.before else candidate
        return self.on_input.admit(whole) if verdict.keep else verdict

    def judged(self, candidate: Candidate) -> Verdict:
        """The answer rules' verdict, on each answer of a conversation."""
        answers = [message.content for message in candidate.before if message.role == "assistant"]
        for answer in answers:
            verdict = self.on_answer.judge(msgspec.structs.replace(candidate, answer=answer))
            if not verdict.keep:
                return verdict
        return self.on_answer.judge(candidate)

    @property
    def tried(self) -> int:
        """Candidates that came to a verdict."""
        return self.kept.total() + self.dropped.total()

    def tally(self) -> Tally:
        """How far it is, for the panel."""
        return Tally(
            accepted=self.kept.total(),
            wanted=self.config.n,
            tried=self.tried,
            dropped=self.dropped,
            by_answer={name: self.kept[name] for name in self.task.label_names},
            calls=self.teacher.bought,
            in_flight=self.teacher.in_flight,
            cost_usd=self.teacher.ledger.cost_usd,
            budget_usd=self.teacher.budget_usd,
        )

    def _show(self, candidate: Candidate, verdict: Verdict) -> None:
        """Tell the panel. Raises DistillError where the newest candidates are nearly all repeats."""
        self.progress.advance(int(verdict.keep))
        self.progress.tally(self.tally())
        if self.given is None and self.saturation.reached(candidate, verdict, self.kept.total()):
            raise self._fell_short(self.kept.total())

    def _fell_short(self, count: int) -> DistillError:
        worst = ", ".join(f"{number} {rule}" for rule, number in self.dropped.most_common(3))
        repeats = self.saturation.sentence()
        knob = "--near-duplicate" if repeats else "--max-tries"
        hint = f"more values under [attributes] in task.toml, {knob} or --agreement off help"
        if 2 * self.dropped["truncated"] > self.dropped.total():
            hint = (
                "most answers were cut or do not fit the teacher's context window: another "
                f"--max-answer-tokens (now {self.config.max_answer_tokens}) helps"
            )
        return DistillError(
            f"only {count} of {self.config.n} pairs after {self.tried} candidates "
            f"({'; '.join(filter(None, [repeats, worst])) or 'no answers'})",
            where=str(self.run.candidates),
            hint=f"{hint}; --n {count} takes what there is. Nothing bought is lost, and every dropped row is "
            "there with its reason: distill rows",
        )

    def receipt(self, accepted: int) -> dict[str, Any]:
        """Counts for receipt.json."""
        return {
            "accepted": accepted,
            "asked_for": self.config.n,
            "imported": len(self.imported),
            "tried": self.tried,
            "dropped": dict(self.dropped.most_common()),
            "by_answer": {name: self.kept[name] for name in self.task.label_names},
            "prompt": default_prompt(self.task),
            "shots": msgspec.to_builtins(first_shots(self.task, self.seeds)),
            "agreement": {"used": self.answering.agreeing, "why": self.answering.agreeing_why},
            "judge": {"used": self.answering.judging, "unscored": self.answering.unscored},
            "election": self.stages.get("election", {"on": self.answering.electing}),
            "revision": self.stages.get("revision", {"on": self.answering.revising}),
            "worst_leak": msgspec.to_builtins(worst) if (worst := self.on_input.worst_leak) else None,
        }


def next_round(missing: int, kept: int, lost: int) -> int:
    """How many to try for `missing` more, at the rate they were kept so far; one in ten at the worst."""
    rate = (kept + 1) / (kept + lost + 1)
    return math.ceil(missing / max(rate, 0.1)) if missing > 0 else 0


async def _each(candidates: Sequence[Candidate]) -> AsyncGenerator[Candidate, None]:
    for candidate in candidates:
        yield candidate
