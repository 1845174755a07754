"""Drops inputs that give back what the teacher was shown: the instruction, or an example of the task."""

from distill.filters.rule import Rule, excerpt
from distill.score.text import normalised
from distill.store.near import NearIndex, Sketcher
from distill.types import Candidate, Task

SHORTEST = 20
"""An instruction shorter than this may stand in an honest input by chance."""


def echo(task: Task, sketcher: Sketcher) -> Rule:
    """Drop an input that holds the instruction, or is nearly one of the examples that prompts show."""
    instruction = normalised(task.instruction)
    index = NearIndex(sketcher.threshold, sketcher=sketcher)
    for text in dict.fromkeys(shown(task)):
        index.add(text, text)

    def why(candidate: Candidate) -> str:
        if len(instruction) >= SHORTEST and instruction in normalised(candidate.input):
            return "repeats the instruction"
        found = index.nearest(candidate.input) if len(index) else None
        return f"repeats an example: {excerpt(found)!r}" if found is not None else ""

    return Rule("echo", why)


def shown(task: Task) -> list[str]:
    """The instruction and every example input that the teacher may see in a prompt."""
    examples = [example.input for example in task.examples]
    return [task.instruction, *examples, *(text for label in task.labels for text in label.examples)]
