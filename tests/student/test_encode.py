"""What is trained is the answer and its end of turn: nothing less, nothing more, or a loud error."""

import pytest

from distill.errors import DataError, UsageError
from distill.student.encode import IGNORED
from distill.types import Message, Pair
from tests.student.tiny import CHATML, byte_tokenizer, few_pairs, pair

pytestmark = pytest.mark.slow


def trained(chat, row):
    return chat.text([label for label in row.labels if label != IGNORED])


def encode(chat, pairs, limit=10_000):
    from distill.student.encode import encode

    return encode(chat, pairs, limit)


def open_chat(tokenizer):
    from distill.student.chat import open_chat

    return open_chat(tokenizer)


def test_labels_read_the_answer_and_the_end_of_turn(chat):
    for row, source in zip(encode(chat, few_pairs(8)), few_pairs(8), strict=True):
        assert trained(chat, row) == f"{source.answer}<|im_end|>"
        assert chat.text(row.ids).endswith(f"{source.answer}<|im_end|>\n")
        assert row.labels[-1] == IGNORED  # the line break after the turn
        assert row.target_tokens == len(source.answer) + 1


def test_every_assistant_turn_is_a_target(chat):
    turns = (Message("user", "a"), Message("assistant", "one"), Message("user", "b"))
    (row,) = encode(chat, [Pair.make(turns, "two", "test")])
    assert trained(chat, row) == "one<|im_end|>two<|im_end|>"


def test_a_tokenizer_without_template_gets_the_plain_one():
    chat = open_chat(byte_tokenizer(template=None))
    (row,) = encode(chat, [pair("hm", "good")])
    assert chat.text(row.ids) == "System: Say if it is good or bad.\nUser: hm\nAssistant: good<|endoftext|>\n"
    assert trained(chat, row) == " good<|endoftext|>"


def test_pad_is_never_what_ends_an_answer():
    for tokenizer in (
        byte_tokenizer(),
        byte_tokenizer(pad="<|im_end|>"),
        byte_tokenizer(pad="<|endoftext|>"),
    ):
        chat = open_chat(tokenizer)
        assert chat.stop == 2
        assert chat.pad != chat.stop
        (row,) = encode(chat, [pair("x", "good")])
        assert row.labels.count(chat.stop) == 1


def test_without_template_and_end_there_is_no_way_to_stop():
    with pytest.raises(UsageError, match="neither a chat template nor an end-of-text"):
        open_chat(byte_tokenizer(template=None, eos=None))


def test_a_template_that_never_ends_a_turn_is_refused():
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    with pytest.raises(UsageError, match="no special token"):
        open_chat(byte_tokenizer(template))


def test_a_system_turn_the_template_refuses_is_put_before_the_users():
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    chat = open_chat(byte_tokenizer(refuses))
    (row,) = encode(chat, [pair("x", "good")])
    assert chat.folds_system
    assert chat.text(row.ids).startswith("<|im_start|>user\nSay if it is good or bad.\n\nx<|im_end|>")


def test_an_empty_thought_of_a_reasoning_template_is_not_trained():
    template = CHATML.replace("assistant\\n", "assistant\n").replace(
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and not enable_thinking %}{{ 'T\n' }}{% endif %}{% endif %}",
    )
    template = template.replace(
        "m['role'] + '\n' + m['content']",
        "m['role'] + '\n' + ('T\n' if m['role'] == 'assistant' else '') + m['content']",
    )
    chat = open_chat(byte_tokenizer(template))
    (row,) = encode(chat, [pair("x", "good")])
    assert "assistant\nT\ngood" in chat.text(row.ids)
    assert trained(chat, row) == "good<|im_end|>"


@pytest.mark.parametrize(
    ("template", "answer", "says"),
    [
        (CHATML, "", "answer is empty"),
        (CHATML, " ", "answer is empty"),
        (CHATML, "good<|im_end|>bad", "holds the end-of-turn token"),
        (CHATML.replace("assistant", "bot"), "good", "do not begin"),
        (CHATML.replace("m['content'] +", "m['content'] | upper +"), "good", "not the answer"),
    ],
)
def test_a_bad_row_is_named(template, answer, says):
    bad = pair("x", answer)
    with pytest.raises(DataError, match=says) as caught:
        encode(
            open_chat(byte_tokenizer(template)), [pair("y", "GOOD" if "upper" in template else "ok"), bad][1:]
        )
    assert bad.id in caught.value.where


def test_two_bos_tokens_are_refused():
    tokenizer = byte_tokenizer("{{ '<|endoftext|><|endoftext|>' }}" + CHATML)
    tokenizer.bos_token = "<|endoftext|>"
    with pytest.raises(DataError, match="two BOS"):
        encode(open_chat(tokenizer), [pair("x", "good")])


def test_rows_too_long_are_counted_and_named_and_never_cut(chat):
    rows = [pair("x", "good"), pair("x" * 300, "good"), pair("y" * 400, "good")]
    with pytest.raises(DataError, match="2 of 3 rows are longer than 200 tokens") as caught:
        encode(chat, rows, 200)
    assert rows[1].id in caught.value.message
    assert rows[2].id in caught.value.message


def test_the_mask_shows_what_is_trained_and_interprets_nothing(chat):
    from distill.student.encode import mask_text

    (text,) = mask_text(chat, encode(chat, [pair("red \x1b[31m ⟦not⟧ \u202e", "good")]))
    assert "⟦good⟧⟦<|im_end|>⟧" in text
    assert text.count("⟦") == 2
    assert "\x1b" not in text
    assert "\\u001b[31m" in text
    assert "\\u202e" in text
