"""A second opinion on what is trained: the chat template's {% generation %} marks, written in if it has none.

The marks are transformers' way for a template to say which text an assistant wrote. They are read from
characters, the spans of `encode` from ids; the two must name the same tokens. Refuses to decide anything:
what is trained stays what `encode` proved, and a disagreement is told.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from distill.student.chat import Chat
from distill.student.encode import Examined, Row, TrainOn, named
from distill.types import Message, Pair

OWN = re.compile(r"\{%-?\s*generation\b")
# A turn is what the template writes beyond the prompt that asks for it, up to what closes it.
EXTENSION = """{% macro distill_turns(messages, add_generation_prompt) %}
@TEMPLATE@{% endmacro %}
{%- set told = namespace(text='', rest='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{%- set asked = distill_turns(messages[:loop.index0], true) -%}
{%- set given = distill_turns(messages[:loop.index], false) -%}
{%- if not asked.startswith(told.text) or not given.startswith(asked) -%}
{{- raise_exception('the template writes earlier turns anew') -}}
{%- endif -%}
{%- set end = given | length - (@TAIL@ if given.endswith(@TAIL@) else '') | length -%}
{{- asked[told.text | length:] -}}
{%- generation -%}{{- given[asked | length:end] -}}{%- endgeneration -%}
{%- set told.text = given[:end] -%}
{%- set told.rest = given[end:] -%}
{%- endif -%}
{%- endfor -%}
{{- told.rest -}}"""
PROBE = (Message("user", "Hello"), Message("assistant", "yes"))


class Marks(NamedTuple):
    """How the marks of `checked` rows compare: `differing` names the rows in which they mark other tokens.

    `own`: the marks are the template's own. `why_not`: why there is nothing to compare.
    """

    checked: int = 0
    differing: tuple[str, ...] = ()
    own: bool = False
    why_not: str = ""

    def sentence(self) -> str:
        """What is said of it."""
        if self.why_not:
            return f"the template's {{% generation %}} marks cannot be compared: {self.why_not}"
        whose = "own {% generation %} marks" if self.own else "{% generation %} marks, written in,"
        if not self.differing:
            return f"the chat template's {whose} name the trained tokens in all {self.checked:,} rows"
        instead = "answers and their ends of turn are trained all the same" if self.own else "see mask.txt"
        return (
            f"the chat template's {whose} name other tokens in {len(self.differing):,} of {self.checked:,}"
            f" rows ({named(self.differing)}): {instead}"
        )


def extended(chat: Chat, template: str) -> str:
    """`template` with each assistant turn, its end-of-turn token included, between marks."""
    tail = chat.text(chat.closing if chat.rides else chat.closing[1:])
    quoted = jinja2.Template("{{ tail | tojson }}").render(tail=tail)
    return EXTENSION.replace("@TAIL@", quoted).replace("@TEMPLATE@", template.removesuffix("\n"))


def compare(chat: Chat, pairs: Sequence[Pair], found: Examined, train_on: TrainOn) -> Marks:
    """The marks against the rows made of `pairs`; those trimmed or split are other conversations."""
    if train_on == "all":
        return Marks(why_not="prompts are trained too")
    given = chat.tokenizer.get_chat_template()
    is_own = bool(OWN.search(given))
    template = given if is_own else extended(chat, given)
    try:
        chat.marked(PROBE, template)
    except (jinja2.TemplateError, NotImplementedError, ValueError) as error:
        return Marks(own=is_own, why_not=str(error))
    rows, changed = {row.id: row for row in found.rows}, {*found.trimmed, *found.split}
    checked, differing = 0, []
    for pair in pairs:
        if pair.id not in rows or pair.id in changed:
            continue
        checked += 1
        turns = (*pair.messages, Message("assistant", pair.answer))
        if not agrees(chat, template, turns, rows[pair.id], every=train_on == "answers"):
            differing.append(pair.id)
    return Marks(checked, tuple(differing), is_own, "" if checked else "there is no row")


def agrees(chat: Chat, template: str, turns: Sequence[Message], row: Row, *, every: bool) -> bool:
    """Whether the marks are on all of the row's targets and, where `every` answer is one, on nothing else.

    What closes a turn counts for neither: own marks may leave it out, and it is trained all the same.
    """
    try:
        ids, mask = chat.marked(turns, template)
    except jinja2.TemplateError:
        return False
    end = row.spans[-1][1]
    if tuple(ids[:end]) != row.ids[:end]:
        return False
    answers: set[int] = set()
    closings: set[int] = set()
    for start, end in row.spans:
        last = end if chat.rides else end - 1
        answers.update(range(start, last))
        closings.update(range(part_of_a_character(chat, row, start, last), last + len(chat.closing)))
    first = 0 if every else row.spans[-1][0]
    return all(
        (place in answers) == is_marked
        for place, is_marked in enumerate(mask)
        if place >= first and place not in closings
    )


def part_of_a_character(chat: Chat, row: Row, start: int, end: int) -> int:
    """Where the tokens before `end` begin that are no whole character: of those transformers marks the first.

    `end` where the last token is one; those of several characters in a row count together.
    """
    first = end
    while first > start and "\ufffd" in chat.text(row.ids[first - 1 : first]):
        first -= 1
    return min(first + 1, end)
