"""A task put into words: what a teacher is asked and what a student is shown. Pure; it sends nothing.

It refuses to choose: which prompt of the menu a task is asked with is measured elsewhere.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from distill import prompts
from distill.menu import MENU, YOURS, PromptSpec, find_prompt
from distill.types import Example, Label, Message, PromptChoice, Request, Task
from distill.wording import language_of, marks

EXAMPLES_TO_WRITE_LIKE = 3
STARTING_SHOTS = 2
INPUT_PLACE = "{input}"
"""Where the input goes in a prompt of the user's own; without it, the prompt is the system message."""
ANSWER_HOLES = ("instruction", "described", "format", "noun", "cue", "input")
"""What every prompt that asks for an answer may hold."""


def prompt_names(task: Task) -> tuple[str, ...]:
    """The prompts for short answers worth trying on `task`: without examples few-shot would repeat zero-shot.

    What asks for reasons first costs ten times the tokens: `starters` has those too.
    """
    return tuple(spec.name for spec in _fitting(task) if not spec.reasons)


def starters(task: Task) -> tuple[str, ...]:
    """The prompts to start a search with, at most two orders of each kind: `variants` has their kin."""
    shots = min(STARTING_SHOTS, _most_shots(task))
    starting = [spec for spec in _fitting(task) if spec.strict or spec.shots in (0, shots)]
    return tuple(spec.name for spec in starting if spec.order != "reversed")


def _fitting(task: Task) -> list[PromptSpec]:
    """The prompts of the menu that say something of their own for `task`."""
    most = _most_shots(task)
    # Without labels there is no order of labels to turn; without descriptions or schema nothing to say.
    return [
        spec
        for spec in MENU
        if (spec.shots <= most or (spec.strict and most == 0))
        and (task.labels or spec.order != "turned")
        and (described(task) or spec.template != "answer-described")
        and (response_format(task) or not spec.strict)
    ]


def _most_shots(task: Task) -> int:
    return max((len(group) for group in shot_groups(task, ())), default=0)


def default_prompt(task: Task) -> str:
    """The measured prompt of the task, else the fullest few-shot its examples allow."""
    if task.prompt is not None:
        return find_prompt(task.prompt.name).name
    most = _most_shots(task)
    return f"few-shot-{min(most, 3)}" if most else "zero-shot"


def voting_prompts(task: Task) -> tuple[str, ...]:
    """The prompts whose answers vote, the best first."""
    others = task.prompt.others if task.prompt else ()
    return (default_prompt(task), *(find_prompt(name).name for name in others))


def answer_request(
    task: Task,
    prompt: str,
    input: str,
    *,
    max_tokens: int,
    temperature: float = 0.0,
    shots: Sequence[Example] = (),
    rotation: int = 0,
    before: Sequence[Message] = (),
    top_logprobs: int | None = None,
) -> Request:
    """Ask the teacher to answer `input` with the prompt of that name.

    `before` are the turns of the conversation ahead of it. `shots` are gold examples that come before the
    task's own; `rotation` turns the order in which the examples are shown, so that several samples do not
    share one order's bias. Where `task.prompt` is that prompt, its own instruction and examples go before the
    task's.
    """
    spec = find_prompt(prompt)
    own = task.prompt if task.prompt is not None and task.prompt.name == prompt else PromptChoice(prompt)
    language = language_of(task)
    holes = {
        "instruction": own.instruction or task.instruction,
        "described": described(task),
        "format": format_line(task),
        "noun": task.input_noun[:1].upper() + task.input_noun[1:],
        "cue": task.name.replace("-", " ").replace("_", " ").capitalize(),
    }
    *system, asked = prompts.render(spec.template, language, **holes, input=input)
    if spec.template == YOURS and INPUT_PLACE in own.instruction:
        system, asked = [], Message("user", own.instruction.replace(INPUT_PLACE, input))
    if own.shots:
        shown = turned([example for example in own.shots if example.input != input], rotation)
    else:
        shown = examples_shown(task, spec.shots, shots, rotation, order=spec.order, leave_out=input)
    turns: list[Message] = []
    for example in shown:
        turns.append(prompts.render(spec.template, language, **holes, input=example.input)[-1])
        turns.append(Message("assistant", example.output))
    return Request(
        messages=(*system, *turns, *before, asked),
        temperature=temperature,
        max_tokens=max_tokens,
        response_format=response_format(task) if spec.strict or task.kind == "json" else None,
        top_logprobs=top_logprobs,
    )


def examples_shown(
    task: Task,
    per_label: int,
    shots: Sequence[Example],
    rotation: int = 0,
    *,
    order: str = "",
    leave_out: str = "",
) -> list[Example]:
    """`per_label` examples of each answer, interleaved; never the input: it would give the answer away.

    `rotation` turns the examples within each answer and keeps the answers where they are: a small teacher
    leans to the answer it saw last, and a prompt measured with one order of answers is another with another.
    """
    groups = [
        rotated([example for example in group if example.input != leave_out], rotation)[:per_label]
        for group in (shot_groups(task, shots)[::-1] if order == "turned" else shot_groups(task, shots))
    ]
    shown = [example for row in itertools.zip_longest(*groups) for example in row if example is not None]
    return shown[::-1] if order == "reversed" else shown


def first_shots(task: Task, shots: Sequence[Example]) -> list[Example]:
    """Of gold `shots` the first of each answer: no prompt shows more, the input itself left out or not."""
    most = max(spec.shots for spec in MENU) + 1
    if not task.labels:
        return list(shots[:most])
    return [shot for name in task.label_names for shot in [s for s in shots if s.output == name][:most]]


def turned(shots: Sequence[Example], rotation: int) -> list[Example]:
    """Chosen `shots` in their order of answers; `rotation` turns those of one answer among themselves."""
    pools = {
        output: iter(rotated([example for example in shots if example.output == output], rotation))
        for output in {example.output for example in shots}
    }
    return [next(pools[example.output]) for example in shots]


def rotated(examples: list[Example], by: int) -> list[Example]:
    """`examples` from place `by` on, and then from the start."""
    turn = by % len(examples) if examples else 0
    return examples[turn:] + examples[:turn]


def shot_groups(task: Task, shots: Sequence[Example]) -> list[list[Example]]:
    """The examples there are, one group a label; tasks without labels have one group."""
    own = [Example(text, label.name) for label in task.labels for text in label.examples] + list(
        task.examples
    )
    known = [*shots, *own]
    if not task.labels:
        return [known] if known else []
    return [[example for example in known if example.output == name] for name in task.label_names]


def described(task: Task) -> str:
    """The labels or fields with their descriptions, a line each."""
    parts = [(label.name, label.description) for label in task.labels]
    parts += [(field.name, field.description) for field in task.fields]
    return "\n".join(f"{name}: {text}" for name, text in parts if text)


def format_line(task: Task) -> str:
    """What the answer must look like, in a sentence; "" for free text."""
    language = language_of(task)
    listed = marks(language).listed
    if task.kind == "label":
        return prompts.sentence("format-label", language, labels=listed.join(task.label_names))
    if task.kind == "json":
        keys = listed.join(f'"{field.name}"' for field in task.fields)
        return prompts.sentence("format-json", language, keys=keys)
    return ""


def response_format(task: Task) -> dict[str, Any] | None:
    """The answer's JSON schema, as OpenAI's `response_format` takes it; None for free text."""
    if task.kind in ("text", "chat"):
        return None
    if task.kind == "label":
        properties: dict[str, Any] = {"label": {"type": "string", "enum": list(task.label_names)}}
    else:
        properties = {
            field.name: {"type": field.type, **({"enum": list(field.choices)} if field.choices else {})}
            for field in task.fields
        }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def write_request(
    task: Task,
    asked: str | None,
    attributes: Mapping[str, str],
    *,
    temperature: float,
    seed: int,
    max_tokens: int,
    shots: Sequence[Example] = (),
) -> Request:
    """Ask the teacher to write one input, for the label `asked` (None: any) and with these attributes.

    Writing for a label is a far stronger skill of a small teacher than reading one: the label is right
    by construction.
    """
    label = next((label for label in task.labels if label.name == asked), None)
    groups = shot_groups(task, shots)
    shown = (
        groups[task.label_names.index(asked)] if asked is not None else [e for group in groups for e in group]
    )
    shown = rotated(shown, seed)[:EXAMPLES_TO_WRITE_LIKE]
    holes = {"what": what(task, label), "noun": task.input_noun, "instruction": task.instruction}
    # Shown examples say what to write better than an instruction does: a small teacher keeps to neither both.
    template, language = "write-like" if shown else "write-input", language_of(task)
    *system, asking = prompts.render(template, language, **holes, attributes=phrased(attributes, language))
    plainly = prompts.render(template, language, **holes, attributes="")[-1]
    turns = [message for example in shown for message in (plainly, Message("assistant", example.input))]
    return Request(
        messages=(*system, *turns, asking), temperature=temperature, max_tokens=max_tokens, seed=seed
    )


def what(task: Task, label: Label | None) -> str:
    """What is to be written: "negative review (the critic dislikes the film)"."""
    if label is None:
        return task.input_noun
    language = language_of(task)
    meaning = marks(language).brackets.format(label.description) if label.description else ""
    return prompts.sentence("written-for", language, label=label.name, noun=task.input_noun, meaning=meaning)


def phrased(attributes: Mapping[str, str], language: str = "") -> str:
    """The attributes as the rest of the sentence: each name leads to its value ("about" "the acting").

    A name that starts with a capital letter starts a sentence of its own ("Use the words:").
    """
    signs, parts = marks(language), []
    for name, value in attributes.items():
        apart = name[:1].isupper() or not signs.spaced
        colon = signs.colon if apart and not name.endswith((":", "：")) else " "
        parts.append(f"{signs.leads if apart else ' '}{name}{colon}{value}")
    return "".join(parts)


def student_messages(task: Task, input: str) -> tuple[Message, ...]:
    """What the student is shown: the instruction, the format and the input, no examples.

    Always in the shipped words, whatever `--prompts` says: it is asked by commands that do not have it.
    """
    with prompts.overlaid(None):
        return prompts.render(
            "student", language_of(task), instruction=task.instruction, format=format_line(task), input=input
        )
