"""What is trained is the answer and its end of turn: nothing less, nothing more, or a loud error."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.errors import DataError, UsageError
from distill.student.encode import IGNORED
from distill.types import Message, Pair
from tests.student.tiny import CHATML, byte_tokenizer, few_pairs, pair

pytestmark = pytest.mark.slow


def trained(chat, row):
    return chat.text([label for label in row.labels if label != IGNORED])


def encode(chat, pairs, limit=10_000, **how):
    from distill.student.encode import encode

    return encode(chat, pairs, limit, **how)


def open_chat(tokenizer, **how):
    from distill.student.chat import open_chat

    return open_chat(tokenizer, **how)


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


def test_a_system_turn_the_template_leaves_out_is_put_before_the_users():
    chat = open_chat(
        byte_tokenizer("{% set messages = messages | rejectattr('role', 'eq', 'system') %}" + CHATML)
    )
    (row,) = encode(chat, [pair("x", "good")])
    assert chat.folds_system
    assert chat.text(row.ids).startswith("<|im_start|>user\nSay if it is good or bad.\n\nx<|im_end|>")


def test_a_template_that_writes_todays_date_writes_the_same_on_every_day():
    chat = open_chat(byte_tokenizer("{{ strftime_now('%d %b %Y') }}" + CHATML))
    (row,) = encode(chat, [pair("x", "good")])
    assert chat.text(row.ids).startswith("26 Jul 2024<|im_start|>system")


def test_pad_has_an_embedding():
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert open_chat(tokenizer).pad == 259
    assert open_chat(tokenizer, vocabulary=260).pad == 259
    assert open_chat(tokenizer, vocabulary=259).pad < 259


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
    from distill.student.mask import mask_text

    (text,) = mask_text(chat, encode(chat, [pair("red \x1b[31m ⟦not⟧ \u202e", "good")]))
    assert "⟦good⟧⟦<|im_end|>⟧" in text
    assert text.count("⟦") == 2
    assert "\x1b" not in text
    assert "\\u001b[31m" in text
    assert "\\u202e" in text


WORDS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C",)), max_size=20)
TALKS = st.lists(st.tuples(WORDS, WORDS.filter(str.strip)), min_size=1, max_size=4)


@given(talk=TALKS, system=st.booleans())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_any_conversation_the_answers_and_their_ends_are_trained(chat, talk, system):
    turns = [Message("system", "s")] if system else []
    for asked, answer in talk:
        turns += [Message("user", asked), Message("assistant", answer)]
    (row,) = encode(chat, [Pair.make(tuple(turns[:-1]), turns[-1].content, "test")])
    assert trained(chat, row) == "".join(f"{answer}<|im_end|>" for _, answer in talk)
    assert row.target_tokens == sum(label != IGNORED for label in row.labels)
    assert row.target_tokens == sum(row.answer_tokens)


TURNS = (Message("system", "s"), Message("user", "a"), Message("assistant", "one"), Message("user", "b"))


@pytest.mark.parametrize(
    ("train_on", "reads"),
    [
        ("answers", "one<|im_end|>two<|im_end|>"),
        ("last-answer", "two<|im_end|>"),
    ],
)
def test_what_is_trained_is_what_was_asked_for(chat, train_on, reads):
    (row,) = encode(chat, [Pair.make(TURNS, "two", "test")], train_on=train_on)
    assert trained(chat, row) == reads
    assert row.answer_tokens == (4, 4)


def test_all_trains_every_token_but_the_first(chat):
    (row,) = encode(chat, [Pair.make(TURNS, "two", "test")], train_on="all")
    end = row.spans[0][1]
    assert row.labels[1:end] == list(row.ids[1:end])
    assert row.labels[0] == IGNORED
    assert chat.text(row.ids[:end]).endswith("two<|im_end|>")


def test_without_the_system_prompt_the_student_is_asked_and_trained_alike():
    chat = open_chat(byte_tokenizer(), drops_system=True)
    (row,) = encode(chat, [pair("x", "good")])
    assert chat.text(row.ids) == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\ngood<|im_end|>\n"
    assert list(row.ids[: row.spans[0][0]]) == chat.prompt(pair("x", "good").messages)


PLAIN_TURNS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def test_efficient_eos_rides_on_the_next_turn():
    from distill.student.mask import marked

    chat = open_chat(byte_tokenizer(PLAIN_TURNS), efficient_eos=True)
    (row,) = encode(chat, [Pair.make(TURNS[1:], "two", "test")])
    assert chat.text(row.ids) == "user: a\nassistant: one\nuser: b\nassistant: two<|endoftext|>"
    assert trained(chat, row) == "one<|endoftext|>two<|endoftext|>"
    assert row.ids.count(chat.stop) == 1  # no token more per turn
    assert row.labels[row.spans[0][1]] == chat.stop
    assert marked(chat, row) == (
        "user: a\nassistant: ⟦one⟧⟦<|endoftext|>⟧\nuser: b\nassistant: ⟦two⟧⟦<|endoftext|>⟧"
    )
    assert row.target_tokens == sum(label != IGNORED for label in row.labels)


def test_with_efficient_eos_every_answer_has_its_stop_where_all_is_trained():
    """Not the next turn: an answer that was trained to run on into it would never end."""
    from distill.student.mask import marked

    chat = open_chat(byte_tokenizer(PLAIN_TURNS), efficient_eos=True)
    (row,) = encode(chat, [Pair.make(TURNS[1:], "two", "test")], train_on="all")
    assert trained(chat, row) == "ser: a\nassistant: one<|endoftext|>user: b\nassistant: two<|endoftext|>"
    assert marked(chat, row) == (
        "u⟦ser: a\nassistant: one⟧⟦<|endoftext|>⟧\n⟦user: b\nassistant: two⟧⟦<|endoftext|>⟧"
    )
    assert row.target_tokens == sum(label != IGNORED for label in row.labels)


def test_efficient_eos_is_not_for_templates_that_end_turns():
    with pytest.raises(UsageError, match="ends turns itself"):
        open_chat(byte_tokenizer(), efficient_eos=True)


def test_where_earlier_thoughts_are_taken_out_every_answer_has_a_row_of_its_own():
    """As Qwen3's template does: an empty thought before the last answer, none before the earlier ones."""
    thinks = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' and loop.last %}{{ 'T\n' }}{% endif %}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\nT\n' }}{% endif %}"
    )
    chat, talk = open_chat(byte_tokenizer(thinks)), Pair.make(TURNS, "two", "test")
    first, last = encode(chat, [talk])
    assert [trained(chat, row) for row in (first, last)] == ["one<|im_end|>", "two<|im_end|>"]
    assert list(first.ids[: first.spans[0][0]]) == chat.prompt(TURNS[:2])
    assert list(last.ids[: last.spans[0][0]]) == chat.prompt(TURNS)
    assert (first.id, last.id) == (f"{talk.id}.1", talk.id)


def test_long_rows_are_dropped_or_lose_of_their_prompt_only(chat):
    from distill.student.encode import examine

    pairs = [pair("x", "good"), pair("x" * 300, "bad")]
    dropped = examine(chat, pairs, 120, on_long="drop")
    assert (len(dropped.passed()), dropped.dropped) == (1, [pairs[1].id])
    assert "1 of 2 rows are longer than 120 tokens and were dropped" in dropped.sentences()[0]
    found = examine(chat, pairs, 120, on_long="trim-prompt")
    kept = found.passed()[1]
    assert len(kept.ids) == 120
    assert trained(chat, kept) == "bad<|im_end|>"
    assert "Say if it is good or bad." in chat.text(kept.ids)
    assert found.trimmed == [pairs[1].id]
    talk = Pair.make(
        (Message("user", "a" * 90), Message("assistant", "one"), Message("user", "b")), "two", "test"
    )
    (row,) = encode(chat, [talk], 80, on_long="trim-prompt")
    assert chat.text(row.ids) == "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
    with pytest.raises(DataError, match="answers are never cut"):
        encode(chat, [pair("x", "good" * 50)], 120, on_long="trim-prompt")
    with pytest.raises(DataError, match="every row is longer"):
        encode(chat, pairs[1:], 120, on_long="drop")


def test_a_token_without_an_embedding_is_found(chat):
    from distill.student.encode import examine

    with pytest.raises(DataError, match="embeddings for 100 only"):
        examine(chat, [pair("x", "good")], 500, vocabulary=100).passed()


def test_all_rows_at_fault_are_counted(chat):
    pairs = [pair("x", "good<|im_end|>"), pair("y", "good"), pair("z", "bad<|im_end|>")]
    with pytest.raises(DataError, match=r"end-of-turn token \(and 1 more rows") as caught:
        encode(chat, pairs)
    assert pairs[0].id in caught.value.where
    assert pairs[2].id in caught.value.message
