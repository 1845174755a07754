"""`distill filters`: every rule of the chains is listed, on where it is in them."""

import pytest

from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.catalogue import catalogue
from distill.filters.chain import on_answers, on_inputs
from distill.types import Example, Label, Task

PLAIN = Task(name="t", kind="text", instruction="Fix it.")
FULL = Task(
    name="t",
    kind="text",
    instruction="How many are there?",
    examples=(Example("the box holds three apples and two pears, and there is a plum", "6"),),
    verify="number",
    rubric=("Is it right?",),
)
LABELS = Task(name="l", kind="label", instruction="Yes or no?", labels=(Label("yes"), Label("no")))


@pytest.mark.parametrize("task", [PLAIN, FULL, LABELS])
@pytest.mark.parametrize("config", [GenerateConfig(), GenerateConfig(language="de", judge="on")])
def test_what_is_listed_as_on_is_in_the_chains(task, config):
    listed = catalogue(task, config)
    ours = {
        rule.name for chain in (on_inputs(task, config), on_answers(task, config)) for rule in chain.rules
    }
    on = {each.name for each in listed if each.on}
    # The judge's rule is there always, for who judged before; corrections come from the run's folder.
    assert on - {"judge", "correction"} == ours - {"judge"}
    assert ("judge" in on) is (config.judge == "on" or bool(task.rubric))
    assert len({each.name for each in listed}) == len(listed)
    assert all(each.drops for each in listed)


def test_the_order_is_the_chains():
    names = [each.name for each in catalogue(FULL, GenerateConfig())]
    order = [rule.name for rule in on_inputs(FULL, GenerateConfig()).rules]
    assert [name for name in names if name in order] == order


def test_without_a_task():
    on = {each.name: each.on for each in catalogue(None, GenerateConfig())}
    assert on["format"]
    assert not on["language"]
    assert not on["semantic"]
    assert {each.name: each.on for each in catalogue(None, GenerateConfig(semantic=0.9))}["semantic"]


def test_own_rules_are_listed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('def short(input):\n    """inputs of one word"""\ndef odd(row):\n    pass\n')
    *_, short, odd = catalogue(PLAIN, GenerateConfig(check=path))
    assert (short.name, short.looks_at, short.drops) == ("check:short", "input", "inputs of one word")
    assert (odd.name, odd.looks_at, odd.drops) == ("check:odd", "input and answer", "what mine.py:3 drops")
    path.write_text("def short(input:\n")
    with pytest.raises(UsageError, match="SyntaxError"):
        catalogue(PLAIN, GenerateConfig(check=path))
