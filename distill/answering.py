"""How a candidate gets its answer: read back, voted on, chosen, talked out, then bettered and judged.

    label it was written for  ->  read back by the best prompt
    conversation              ->  the teacher plays both sides
    everything else           ->  several samples: the first one's answer, or the best by vote or judge
    then, where asked for     ->  one round of critique and revision, and a judge's verdict

Refuses to decide: it fills in a candidate, and the rules keep or drop it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from distill import judge, prompts
from distill.ask import (
    answer_request,
    default_prompt,
    format_line,
    phrased,
    response_format,
    student_messages,
    voting_prompts,
)
from distill.config import GenerateConfig
from distill.filters.chain import Chain
from distill.parse import parse_answer, schema_problem
from distill.score.same import same
from distill.teacher.protocol import Teacher
from distill.types import Candidate, Completion, Example, Message, PromptChoice, Request, Task
from distill.wording import language_of

Stage = Literal["chosen", "revised", "judged"]
READS_WELL = 0.6
"""Share of its own writing that the best prompt must read as it was meant, for agreement to be a filter."""
TURN_TOKENS = 96
FREE = ("text", "chat")
UNUSABLE = ("length", "content_filter", "context_length")
"""Finish reasons of what is no answer."""


def reads_well(task: Task, config: GenerateConfig) -> tuple[bool, str]:
    """Whether agreement filters here, and why: a reader that is mostly wrong throws out good rows."""
    if task.kind == "chat":
        return False, "a conversation is asked for once"
    if config.inputs is not None or config.from_logs is not None or not task.labels:
        return True, f"an answer needs {config.min_agreement:.0%} of {votes(config)} votes"
    if config.agreement != "auto":
        return config.agreement != "off", f"--agreement {config.agreement}"
    prompt = task.prompt or PromptChoice(default_prompt(task))
    share = prompt.score or 0.0
    says = f"'{prompt.name}' reads {share:.0%} of {prompt.n} probes as meant; the bar is {READS_WELL:.0%}"
    return share >= READS_WELL, says


def votes(config: GenerateConfig) -> int:
    """Answers asked for to each input that has none by construction."""
    return config.best_of or config.samples


class Answering:
    """What `task` and `config` ask of an answer, and how many calls one takes.

    `agreeing` tells whether a label written for is read back, `judging` and `revising` what is on here.
    """

    def __init__(
        self, task: Task, config: GenerateConfig, teacher: Teacher, shots: Sequence[Example], rules: Chain
    ) -> None:
        self.task, self.config, self.teacher, self.shots, self.rules = task, config, teacher, shots, rules
        self.agreeing, self.agreeing_why = reads_well(task, config)
        self.judging = config.judge == "on" or (config.judge == "auto" and bool(task.rubric))
        # What "auto" stands for is settled before, on rows with a known answer.
        self.electing, self.revising = config.elect == "on", config.revise == "on"
        # A judge can choose among answers that differ; labels and facts are better voted on.
        self.choosing = self.electing and config.best_of is not None and task.kind in FREE and self.judging
        self.unscored = 0

    async def answer(self, candidate: Candidate) -> Candidate:
        """The candidate with its answer, bettered and judged where the rules have nothing against it yet."""
        async for _, at_last in self.stages(candidate):
            candidate = at_last
        return candidate

    async def stages(self, candidate: Candidate) -> AsyncIterator[tuple[Stage, Candidate]]:
        """The candidate after each stage that is on here, whether or not it changed anything."""
        if candidate.asked is not None:
            candidate = await self._read_back(candidate)
        elif self.task.kind == "chat":
            candidate = await self._converse(candidate)
        else:
            candidate = await self._elected(candidate)
        yield "chosen", candidate
        if self.revising:
            if candidate.answer and self.rules.judge(candidate).keep:
                candidate = await self._revised(candidate)
            yield "revised", candidate
        if self.judging:
            if candidate.answer and self.rules.judge(candidate).keep:
                candidate = await self._judged(candidate)
            yield "judged", candidate

    def request(self, candidate: Candidate, sample: int = 0) -> Request:
        """The one that `sample` of the candidate's answers is asked with.

        Samples differ in the kind of prompt, then in the order of examples. Labels are read greedily: heat
        costs a small reader 10 points. Free answers have to vary to vote.
        """
        voters = voting_prompts(self.task)
        return answer_request(
            self.task,
            voters[sample % len(voters)],
            candidate.input,
            max_tokens=self.config.max_answer_tokens,
            temperature=0.0 if self.task.labels or sample == 0 else self.config.vote_temperature,
            shots=self.shots,
            rotation=sample // len(voters),
            before=candidate.before,
            top_logprobs=self.config.logprobs,
        )

    async def ask(self, candidate: Candidate, sample: int = 0) -> tuple[str | None, Completion]:
        """(the answer that sample gives, None where it gives none; what the teacher said).

        JSON that does not fit gets one turn to be mended.
        """
        request = self.request(candidate, sample)
        completion = await self.teacher.complete(request, sample)
        answer = self._parsed(completion)
        if answer is None and self.task.kind == "json" and completion.finish_reason not in UNUSABLE:
            completion = await self.teacher.complete(self._repair(request, completion), sample)
            answer = self._parsed(completion)
        return answer, completion

    def _parsed(self, completion: Completion) -> str | None:
        cut = completion.finish_reason in UNUSABLE
        return None if cut else parse_answer(self.task, completion.text)

    def _repair(self, request: Request, completion: Completion) -> Request:
        schema: dict[str, Any] = (response_format(self.task) or {})["json_schema"]["schema"]
        wrong = schema_problem(schema, completion.text)
        turn = prompts.render("repair", problem=wrong, format=format_line(self.task))
        said = (*request.messages, Message("assistant", completion.text), *turn)
        return msgspec.structs.replace(request, messages=said)

    async def _read_back(self, candidate: Candidate) -> Candidate:
        """A label by construction: read again, where the reader is good enough to have a say."""
        if not self.agreeing and self.config.logprobs is None:
            return msgspec.structs.replace(candidate, raw=candidate.asked)
        read, completion = await self.ask(candidate)
        candidate = msgspec.structs.replace(candidate, raw=candidate.asked, logprobs=completion.logprobs)
        if not self.agreeing:
            return candidate
        return msgspec.structs.replace(candidate, answer=read or "", agreement=float(read == candidate.asked))

    async def _elected(self, candidate: Candidate) -> Candidate:
        """Several samples, and one of their answers; a response from a log is the first of them."""
        asked = range(1 if candidate.raw is not None else 0, votes(self.config))
        answered = await asyncio.gather(*(self.ask(candidate, sample) for sample in asked))
        answers = [answer for answer, _ in answered]
        logprobs = [completion.logprobs for _, completion in answered]
        if candidate.raw is not None:
            answers, logprobs = [parse_answer(self.task, candidate.raw), *answers], [None, *logprobs]
        place = self.elect(answers) if self.electing else first_said(answers)
        agreement: float | None
        margin: float | None
        agreement, margin = self.support(answers, place)
        if self.choosing:
            distinct = list(dict.fromkeys(answer for answer in answers if answer))
            asked_of = judge.transcript(candidate.before, candidate.input)
            best = await judge.best_of(self.teacher, self.task, asked_of, distinct)
            # A judge chose; how many other samples happen to say the same is then no reason to drop.
            if best is not None:
                place, agreement, margin = answers.index(distinct[best]), None, None
        ended = [completion.finish_reason for _, completion in answered]
        cut = ended[0] if ended and not any(answers) and ended[0] in UNUSABLE else candidate.finish_reason
        return msgspec.structs.replace(
            candidate,
            answer=answers[place] or "",
            raw=candidate.raw if candidate.raw is not None else answers[0] or "",
            agreement=agreement,
            margin=margin,
            logprobs=logprobs[place],
            finish_reason=cut,
        )

    def elect(self, answers: Sequence[str | None]) -> int:
        """The place of the answer that most others agree with, the first of such."""
        return max(range(len(answers)), key=lambda place: self._votes(answers, place))

    def support(self, answers: Sequence[str | None], place: int) -> tuple[float, float]:
        """(share of all votes that the answer at `place` has, its lead over the next: below 0 if behind)."""
        own, chosen = self._votes(answers, place), answers[place]
        others = [
            self._votes(answers, other)
            for other, answer in enumerate(answers)
            if chosen is None or not same(self.task, chosen, answer)
        ]
        return own / len(answers), (own - max(others, default=0)) / len(answers)

    def _votes(self, answers: Sequence[str | None], place: int) -> int:
        answer = answers[place]
        return sum(other is not None and same(self.task, answer, other) for other in answers) if answer else 0

    async def _converse(self, candidate: Candidate) -> Candidate:
        """The conversation from its first message on; a turn that is cut ends it, without an answer."""
        before: list[Message] = []
        user = candidate.input
        for turn in range(1, self.task.turns + 1):
            now = msgspec.structs.replace(candidate, before=tuple(before), input=user)
            answer, completion = await self.ask(now)
            if answer is None:
                return msgspec.structs.replace(now, answer="", finish_reason=completion.finish_reason)
            if turn == self.task.turns:
                break
            before += [Message("user", user), Message("assistant", answer)]
            said = await self.teacher.complete(self._next_turn(candidate, before))
            user = said.text.strip()
            if said.finish_reason in UNUSABLE or not user:
                return msgspec.structs.replace(now, answer="", finish_reason=said.finish_reason)
        return msgspec.structs.replace(now, answer=answer, raw=answer, logprobs=completion.logprobs)

    def _next_turn(self, candidate: Candidate, before: Sequence[Message]) -> Request:
        """Ask the teacher, now in the user's place, for the user's next message."""
        role = prompts.render(
            "next-turn",
            language_of(self.task),
            instruction=self.task.instruction,
            attributes=phrased(candidate.attributes, language_of(self.task)),
        )
        swapped = [
            Message("assistant" if message.role == "user" else "user", message.content) for message in before
        ]
        # A conversation starts with a user's turn in every chat template.
        opening = Message("user", "Hello.")
        return Request(
            messages=(*role, opening, *swapped),
            temperature=self.config.temperature,
            max_tokens=TURN_TOKENS,
            seed=candidate.index,
        )

    async def _revised(self, candidate: Candidate) -> Candidate:
        """One round of critique and revision; the old answer stays where the new one is none."""
        asked = judge.transcript(candidate.before, candidate.input)
        found = await judge.critique(self.teacher, self.task, asked, candidate.answer)
        if not found:
            return candidate
        turns = prompts.render(
            "revise",
            instruction=self.task.instruction,
            format=format_line(self.task),
            input=asked,
            answer=candidate.answer,
            critique=found,
        )
        completion = await self.teacher.complete(
            Request(
                messages=turns,
                max_tokens=self.config.max_answer_tokens,
                response_format=response_format(self.task) if self.task.kind == "json" else None,
            )
        )
        better = self._parsed(completion)
        return msgspec.structs.replace(candidate, answer=better) if better else candidate

    async def _judged(self, candidate: Candidate) -> Candidate:
        asked = judge.transcript(candidate.before, candidate.input)
        against = await judge.objection(self.teacher, self.task, asked, candidate.answer)
        self.unscored += against is None
        return msgspec.structs.replace(candidate, judge=against or "")

    async def explain(self, candidate: Candidate) -> str:
        """The reason for an accepted answer, in a sentence; "" where the teacher gives none."""
        *_, shown = student_messages(self.task, candidate.input)
        turns = prompts.render(
            "explain",
            language_of(self.task),
            instruction=self.task.instruction,
            input=shown.content,
            answer=candidate.answer,
        )
        completion = await self.teacher.complete(Request(messages=turns, max_tokens=TURN_TOKENS))
        whole = completion.finish_reason not in UNUSABLE
        return " ".join(completion.text.split()) if whole else ""


def first_said(answers: Sequence[str | None]) -> int:
    """The place of the first answer that is one: the best prompt's own, where that said anything."""
    return next((place for place, answer in enumerate(answers) if answer), 0)
