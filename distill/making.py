"""Candidates on their way to becoming pairs: four stages, each an async generator in plan order.

    inputs (planned or the user's)  ->  cheap rules  ->  answers (read back, or voted)  ->  answer rules

Order is what makes a resumed run see the same candidates: the ledger then answers what was asked before. It
refuses to count a row it did not keep, and to end with fewer than N in silence.
"""

import itertools
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from distill.ask import answer_request, default_prompt, voting_prompts
from distill.config import GenerateConfig
from distill.errors import DistillError
from distill.filters.chain import Chain, on_answers, on_inputs
from distill.parse import parse_answer
from distill.probing import Cell, plan, same, write_input
from distill.store import jsonl
from distill.store.run import Run
from distill.teacher.flow import ordered
from distill.teacher.ledgered import Ledgered
from distill.types import Candidate, Example, Progress, PromptChoice, Task, Verdict

AHEAD = 32
READS_WELL = 0.6
"""Share of its own writing that the best prompt must read as it was meant, for agreement to be a filter."""


def reads_well(task: Task, config: GenerateConfig) -> tuple[bool, str]:
    """Whether agreement filters here, and why: a reader that is mostly wrong throws out good rows."""
    if config.inputs is not None or not task.labels:
        return True, f"an answer needs {config.min_agreement:.0%} of {config.samples} votes"
    if config.agreement != "auto":
        return config.agreement != "off", f"--agreement {config.agreement}"
    prompt = task.prompt or PromptChoice(default_prompt(task))
    share = prompt.score or 0.0
    says = f"'{prompt.name}' reads {share:.0%} of {prompt.n} probes as meant; the bar is {READS_WELL:.0%}"
    return share >= READS_WELL, says


class Making:
    """Candidates on their way: the stages, their rules and the counts the receipt is made of."""

    def __init__(
        self,
        run: Run,
        task: Task,
        config: GenerateConfig,
        teacher: Ledgered,
        progress: Progress,
        seeds: Sequence[Example],
        inputs: Sequence[str] | None,
    ) -> None:
        self.run, self.task, self.config, self.teacher, self.progress = run, task, config, teacher, progress
        self.seeds, self.inputs = seeds, inputs
        self.agreeing, self.agreeing_why = reads_well(task, config)
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str | None] = Counter()
        self.lost: Counter[str | None] = Counter()

    async def accepted(self) -> list[Candidate]:
        """Exactly N kept candidates (fewer only where the user's inputs ran out); writes candidates.jsonl."""
        on_input = on_inputs(self.task, self.config, [example.input for example in self.seeds])
        on_answer = on_answers(self.task, self.config)
        accepted: list[Candidate] = []
        self.progress.begin("generating", self.config.n)
        jsonl.replace(self.run.candidates, [])
        with jsonl.Appender(self.run.candidates) as log:

            def drop(candidate: Candidate, verdict: Verdict) -> None:
                self.dropped[verdict.rule] += 1
                self.lost[candidate.asked] += 1
                log.append(msgspec.structs.replace(candidate, verdict=verdict))
                self._show()

            for source in self._sources():
                async with aclosing(self._answered(source, on_input, drop)) as answered:
                    async for candidate in answered:
                        verdict = self._verdict(candidate, on_input, on_answer)
                        if not verdict.keep:
                            drop(candidate, verdict)
                            continue
                        log.append(candidate)
                        accepted.append(candidate)
                        self.kept[candidate.answer if self.task.labels else None] += 1
                        self._show(kept=1)
                        if len(accepted) == self.config.n:
                            return accepted
        if self.inputs is None or not accepted:
            raise self._fell_short(len(accepted))
        return accepted

    def _sources(self) -> Iterator[AsyncGenerator[Candidate, None]]:
        """The user's inputs once, or rounds of planned cells until N are kept or the cap is reached."""
        if self.inputs is not None:
            yield _given(self.inputs)
            return
        cells = {asked: self._cells(asked) for asked in self.task.label_names or (None,)}
        while round_ := [
            cell for asked in cells for cell in itertools.islice(cells[asked], self._need(asked))
        ]:
            # The labels in turn again, so that what is in flight together is of every label.
            round_.sort(key=lambda cell: cell.index)
            yield ordered(round_, self._write, AHEAD)

    def _cells(self, asked: str | None) -> Iterator[Cell]:
        """The planned cells of one label, up to the hard cap on candidates."""
        most = int(self.config.max_tries * self.config.n)
        within = itertools.takewhile(lambda cell: cell.index < most, plan(self.task, self.config.seed))
        return (cell for cell in within if cell.asked == asked)

    def _need(self, asked: str | None) -> int:
        """Cells to ask for in the next round: what is missing of this label, at the rate it was kept so far.

        Rounds, not a stream: what is asked then depends on verdicts alone and never on timing, so that a
        resumed run asks the same again and finds it in the ledger.
        """
        missing = self.quota(asked) - self.kept[asked]
        rate = (self.kept[asked] + 1) / (self.kept[asked] + self.lost[asked] + 1)
        return math.ceil(missing / max(rate, 0.1)) if missing > 0 else 0

    def quota(self, asked: str | None) -> int:
        """How many of the N are to be of this label; the first labels take what does not divide."""
        names = self.task.label_names
        if asked is None:
            return self.config.n
        return self.config.n // len(names) + (names.index(asked) < self.config.n % len(names))

    def _answered(
        self,
        source: AsyncGenerator[Candidate, None],
        rules: Chain,
        drop: Callable[[Candidate, Verdict], None],
    ) -> AsyncGenerator[Candidate, None]:
        """Stages two and three on a source: the cheap rules, then the answers."""
        return ordered(self._sieve(source, rules, drop), self._answer, AHEAD)

    async def _write(self, cell: Cell) -> Candidate:
        text, finish = await write_input(
            self.task,
            self.teacher,
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

    async def _sieve(
        self,
        source: AsyncGenerator[Candidate, None],
        rules: Chain,
        drop: Callable[[Candidate, Verdict], None],
    ) -> AsyncIterator[Candidate]:
        """Candidates whose input passes the cheap rules: only those are worth another call."""
        async with aclosing(source) as candidates:
            async for candidate in candidates:
                verdict = rules.judge(candidate)
                if verdict.keep:
                    yield candidate
                else:
                    drop(candidate, verdict)

    async def _answer(self, candidate: Candidate) -> Candidate:
        """The candidate with its answer: read back where one was asked for, else voted on."""
        if candidate.asked is None:
            return await self._vote(candidate)
        if not self.agreeing:
            return candidate
        request = answer_request(
            self.task,
            default_prompt(self.task),
            candidate.input,
            max_tokens=self.config.max_answer_tokens,
            shots=self.seeds,
        )
        read = parse_answer(self.task, (await self.teacher.complete(request)).text)
        return msgspec.structs.replace(candidate, answer=read or "", agreement=float(read == candidate.asked))

    async def _vote(self, candidate: Candidate) -> Candidate:
        """Several samples, from the best prompt of each kind and with the examples in another order.

        Labels are read greedily: heat costs a small reader 10 points. Free answers have to vary to vote.
        """
        answers: list[str | None] = []
        voters = voting_prompts(self.task)
        for sample in range(self.config.samples):
            request = answer_request(
                self.task,
                voters[sample % len(voters)],
                candidate.input,
                max_tokens=self.config.max_answer_tokens,
                temperature=0.0 if self.task.labels or sample == 0 else self.config.vote_temperature,
                shots=self.seeds,
                rotation=sample // len(voters),
            )
            completion = await self.teacher.complete(request, sample)
            cut = completion.finish_reason == "length"
            answers.append(None if cut else parse_answer(self.task, completion.text))
        answer, share = self.elect(answers)
        return msgspec.structs.replace(candidate, answer=answer, agreement=share)

    def elect(self, answers: Sequence[str | None]) -> tuple[str, float]:
        """(the answer that agrees with most others, the share of all votes that agree with it)."""
        votes = [
            sum(other is not None and same(self.task, answer, other) for other in answers) if answer else 0
            for answer in answers
        ]
        best = max(range(len(answers)), key=lambda number: votes[number])
        return answers[best] or "", votes[best] / len(answers)

    def _verdict(self, candidate: Candidate, on_input: Chain, on_answer: Chain) -> Verdict:
        """The answer rules, the quota of its label, then once more the duplicates of what was in flight."""
        verdict = on_answer.judge(candidate)
        if verdict.keep and candidate.asked and self.kept[candidate.asked] >= self.quota(candidate.asked):
            return Verdict(keep=False, rule="surplus", why=f"there are enough of {candidate.asked!r}")
        return on_input.admit(candidate) if verdict.keep else verdict

    @property
    def tried(self) -> int:
        """Candidates that came to a verdict."""
        return self.kept.total() + self.dropped.total()

    def _show(self, kept: int = 0) -> None:
        cost = self.teacher.cost_usd
        worst = ", ".join(f"{count} {rule}" for rule, count in self.dropped.most_common(2))
        money = "cost unknown" if cost is None else f"${cost:.2f}"
        self.progress.advance(kept, note=f"of {self.tried} tried; {worst or 'none dropped'}; {money}")

    def _fell_short(self, count: int) -> DistillError:
        worst = ", ".join(f"{number} {rule}" for rule, number in self.dropped.most_common(3))
        return DistillError(
            f"only {count} of {self.config.n} pairs after {self.tried} candidates ({worst or 'no answers'})",
            where=str(self.run.candidates),
            hint="look at the dropped rows there; more values under [attributes] in task.toml, "
            "--max-tries or --agreement off help. Nothing bought is lost",
        )

    def receipt(self, accepted: int) -> dict[str, Any]:
        """Counts for receipt.json."""
        return {
            "accepted": accepted,
            "asked_for": self.config.n,
            "tried": self.tried,
            "dropped": dict(self.dropped.most_common()),
            "by_answer": {name: self.kept[name] for name in self.task.label_names},
            "prompt": default_prompt(self.task),
            "agreement": {"used": self.agreeing, "why": self.agreeing_why},
        }


async def _given(inputs: Sequence[str]) -> AsyncGenerator[Candidate, None]:
    for index, text in enumerate(inputs):
        yield Candidate(index=index, input=text, answer="", origin="given")
