"""Rules in order: the first that drops a candidate names the reason, and is counted for the receipt.

Refuses to let two candidates in flight be one: `admit` asks the rules with a memory once more.
"""

from collections import Counter
from collections.abc import Sequence

from distill.config import GenerateConfig
from distill.filters.agreement import agreement
from distill.filters.echo import echo
from distill.filters.exact import exact
from distill.filters.format import format_
from distill.filters.label_set import label_set
from distill.filters.leak import leak
from distill.filters.length import length
from distill.filters.near_duplicates import near_duplicates
from distill.filters.refusal import refusal
from distill.filters.rule import Rule
from distill.filters.truncated import truncated
from distill.types import KEEP, Candidate, Task, Verdict


class Chain:
    """Rules in order, what they remember, and how many candidates each dropped."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.counts: Counter[str] = Counter()

    def judge(self, candidate: Candidate) -> Verdict:
        """The first rule's verdict that drops `candidate`, or KEEP; remembers nothing."""
        return self._first(self.rules, candidate)

    def admit(self, candidate: Candidate) -> Verdict:
        """Accept `candidate` and remember it, unless one accepted since it was judged is too like it."""
        verdict = self._first([rule for rule in self.rules if rule.has_memory], candidate)
        if verdict.keep:
            self.remember(candidate)
        return verdict

    def remember(self, candidate: Candidate) -> None:
        """Know `candidate` as accepted without judging it: what a resumed run kept before."""
        for rule in self.rules:
            rule.admit(candidate)

    def _first(self, rules: Sequence[Rule], candidate: Candidate) -> Verdict:
        for rule in rules:
            verdict = rule(candidate)
            if not verdict.keep:
                self.counts[verdict.rule] += 1
                return verdict
        return KEEP


def on_inputs(task: Task, config: GenerateConfig, protected: Sequence[str] = ()) -> Chain:
    """Every rule that looks at inputs and asks no model; `protected` are inputs no pair may be like."""
    seed, near = config.seed, config.near_duplicate
    return Chain(
        [
            truncated(),
            format_(task),
            length(config.min_chars, config.max_chars),
            refusal(),
            exact(),
            echo(task, near, seed),
            leak(protected, near, seed),
            near_duplicates(near, seed),
        ]
    )


def on_answers(task: Task, config: GenerateConfig) -> Chain:
    """Every rule that looks at answers and asks no model."""
    return Chain([agreement(config.min_agreement), label_set(task), refusal()])
