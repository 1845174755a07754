"""The template's marks against what is trained: written in where there are none, told where they differ."""

import pytest
from hypothesis import HealthCheck, given, settings

from distill.types import Message, Pair
from tests.student.test_encode import TALKS, open_chat
from tests.student.tiny import CHATML, byte_tokenizer, few_pairs

pytestmark = pytest.mark.slow

LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|im_start|>[INST] ' + m['content'] "
    "+ ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' <|im_end|>' }}"
    "{% else %}{{ raise_exception('no system turn') }}{% endif %}{% endfor %}"
)
# As Phi-3's: the end of text follows the last turn alone.
PHI3 = CHATML + "{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}"
# With a macro, a namespace and messages assigned anew, as templates that take tools have.
BUSY = (
    "{%- macro turn(m) -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{%- endmacro %}\n"
    "{%- set ns = namespace(n=0) %}\n{%- set messages = messages | list %}\n"
    "{%- for m in messages %}{% set ns.n = ns.n + 1 %}{{- turn(m) -}}{% endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' -}}{% endif %}\n"
)
TEMPLATES = {"chatml": CHATML, "plain": None, "llama2": LLAMA2, "phi3": PHI3, "busy": BUSY}
OWN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


MARKS = "the chat template's {{% generation %}} marks, written in, name the trained tokens in all {} rows"


def talk(*turns, answer="two 漢"):
    roles = ("user", "assistant")
    return Pair.make(tuple(Message(roles[at % 2], text) for at, text in enumerate(turns)), answer, "test")


PAIRS = [talk("a", "one 😀", "b"), talk("é", " yes\n\nno ", "c", "<b>", "d", answer="last"), *few_pairs(6)]


def marks(tokenizer, pairs=PAIRS, *, train_on="answers", **how):
    from distill.student.encode import examine
    from distill.student.marking import compare

    chat = open_chat(tokenizer, **how)
    found = examine(chat, pairs, 4096, train_on=train_on)
    found.passed()
    return compare(chat, pairs, found, train_on)


@pytest.mark.parametrize("name", TEMPLATES)
def test_marks_written_into_a_template_name_the_tokens_that_are_trained(name):
    found = marks(byte_tokenizer(TEMPLATES[name]))
    assert (found.checked, found.differing, found.own, found.why_not) == (len(PAIRS), (), False, "")
    assert found.sentence().endswith(f"name the trained tokens in all {len(PAIRS)} rows")


def test_the_extended_template_renders_as_the_template_does_and_marks_the_stop_token():
    from distill.student.marking import extended

    chat = open_chat(byte_tokenizer(BUSY))
    turns = (*PAIRS[0].messages, Message("assistant", PAIRS[0].answer))
    ids, mask = chat.marked(turns, extended(chat, BUSY))
    assert ids == chat.whole(turns)
    marked = chat.text([number for number, is_marked in zip(ids, mask, strict=True) if is_marked])
    assert marked == "one 😀<|im_end|>two 漢<|im_end|>"


@given(said=TALKS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_any_conversation_marks_and_rows_agree(said):
    turns = [text for both in said for text in both]
    assert marks(byte_tokenizer(), [talk(*turns[:-1], answer=turns[-1])]).differing == ()


def test_with_efficient_eos_the_answers_are_marked():
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    found = marks(byte_tokenizer(template), efficient_eos=True)
    assert (found.checked, found.differing) == (len(PAIRS), ())


def test_the_templates_own_marks_are_read_and_may_leave_the_stop_token_out():
    without_stop = OWN.replace("m['content'] + '<|im_end|>' }}{% endgen", "m['content'] }}{% endgen").replace(
        "{{ '\n' }}", "{{ '<|im_end|>\n' }}"
    )
    for template in (OWN, without_stop):
        found = marks(byte_tokenizer(template))
        assert (found.checked, found.differing, found.own) == (len(PAIRS), (), True)


def test_marks_that_name_other_tokens_are_told_with_the_rows():
    """As in templates whose marks begin before the line break that the prompt ends with."""
    early = OWN.replace("{{ '<|im_start|>' + m['role'] + '\n' }}", "{{ '<|im_start|>' + m['role'] }}")
    early = early.replace("{% generation %}{{ m", "{% generation %}{{ '\n' + m").replace(
        "{% else %}{{ m", "{% else %}{{ '\n' + m"
    )
    found = marks(byte_tokenizer(early))
    assert found.differing == tuple(pair.id for pair in PAIRS)
    assert "name other tokens in 8 of 8 rows" in found.sentence()
    assert PAIRS[0].id in found.sentence()


def test_an_answer_left_unmarked_is_found():
    second_only = OWN.replace("{% if m['role'] == 'assistant' %}", "{% if m['content'] == 'two 漢' %}")
    assert marks(byte_tokenizer(second_only), PAIRS[:1]).differing == (PAIRS[0].id,)
    assert marks(byte_tokenizer(second_only), PAIRS[:1], train_on="last-answer").differing == ()


def test_where_there_is_nothing_to_compare_it_is_said(monkeypatch):
    assert "prompts are trained too" in marks(byte_tokenizer(), train_on="all").sentence()
    tokenizer = byte_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    assert "which characters" in marks(tokenizer).sentence()


def test_finetune_and_inspect_data_say_it(run, student_folder):
    from distill.config import FinetuneConfig
    from distill.steps.inspecting import inspect_data
    from distill.types import Quiet

    run.finish("generate", {}, {})
    config = FinetuneConfig(student=str(student_folder), device="cpu", dtype="float32")
    (said,) = inspect_data(run, config, 0, Quiet())["changed"]
    assert said == MARKS.format(16)
