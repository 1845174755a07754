"""Rules in order: the first that drops a candidate names the reason, and is counted for the receipt.

Refuses to let two candidates in flight be one: `admit` asks the rules with a memory once more.
"""

from collections import Counter
from collections.abc import Sequence

from distill.config import GenerateConfig
from distill.filters.agreement import agreement
from distill.filters.checks import checks
from distill.filters.echo import echo
from distill.filters.exact import exact
from distill.filters.format import format_
from distill.filters.judge import judge
from distill.filters.label_set import label_set
from distill.filters.language import expected, language
from distill.filters.leak import Closest, Leaks, leak
from distill.filters.length import length
from distill.filters.near_duplicates import near_duplicates
from distill.filters.refusal import refusal
from distill.filters.rule import Rule
from distill.filters.semantic import semantic
from distill.filters.truncated import truncated
from distill.filters.verify import verify
from distill.store.near import Sketcher
from distill.types import KEEP, Candidate, Task, Verdict


class Chain:
    """Rules in order, what they remember, and how many candidates each dropped."""

    def __init__(self, rules: Sequence[Rule], leaks: Leaks | None = None) -> None:
        self.rules = tuple(rules)
        self.counts: Counter[str] = Counter()
        self._leaks = leaks

    @property
    def worst_leak(self) -> Closest | None:
        """The candidate that came nearest to a protected row, with that row; None where none came near."""
        return self._leaks.worst if self._leaks else None

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

    def close(self) -> None:
        """Let go of what the rules hold open."""
        for rule in self.rules:
            rule.close()

    def _first(self, rules: Sequence[Rule], candidate: Candidate) -> Verdict:
        for rule in rules:
            verdict = rule(candidate)
            if not verdict.keep:
                self.counts[verdict.rule] += 1
                return verdict
        return KEEP


def on_inputs(task: Task, config: GenerateConfig, protected: Sequence[str] = ()) -> Chain:
    """Every rule that looks at inputs and asks no model; `protected` are inputs no pair may be like.

    The cheap ones come first. Raises UsageError where --check, --language or --semantic cannot be used.
    """
    sketcher = Sketcher(config.near_duplicate, config.seed)
    leaks = Leaks(protected, sketcher)
    rules = [
        truncated(),
        format_(task),
        length(config.min_chars, config.max_chars),
        refusal(),
        exact(),
        echo(task, sketcher),
        leak(leaks),
        near_duplicates(sketcher),
    ]
    if code := expected(task, config):
        rules.insert(4, language(code))
    if config.semantic is not None:
        rules.append(semantic(config.semantic))
    if config.check is not None:
        rules += checks(config.check, config.check_timeout_s, "input")
    return Chain(rules, leaks)


def on_answers(task: Task, config: GenerateConfig) -> Chain:
    """Every rule that looks at answers and asks no model. Raises UsageError where --check cannot be used."""
    rules = [truncated(), agreement(config.min_agreement), label_set(task), refusal()]
    if task.verify:
        rules.append(verify(task))
    rules.append(judge())
    if config.check is not None:
        rules += checks(config.check, config.check_timeout_s, "answer")
    return Chain(rules)
