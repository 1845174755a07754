"""A student limited to labels: never off-label, what it would have said where that is one, and faster."""

import math

import pytest

from distill.errors import DataError
from tests.student.test_answer import conversations, weights_of
from tests.student.test_decoding import run_out
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow
LABELS = ("good", "bad", "good enough", "no_label")


@pytest.fixture
def student(student_folder, float32):
    from distill.student.causal import open_student

    return open_student(weights_of(student_folder), float32)


@pytest.fixture
def trained(student_folder, float32, chat, tmp_path):
    """A student that has learned to say "good" and "bad" to half of what it is asked."""
    from distill.student import causal, forward, loop, lora
    from distill.student.encode import encode
    from tests.student.engines import fitted, recipe_of

    model, _ = causal.load(weights_of(student_folder), float32)
    wrapped = lora.attach(model, lora.LoraShape(8, 16), 0)
    learner = loop.Learner(forward.open_net(model), lora.trainable(wrapped), chat.pad, float32)
    recipe = recipe_of(batch_size=8, learning_rate=1e-2, epochs=4)
    fitted(learner, encode(chat, few_pairs(32), 256), [], recipe)
    lora.save(wrapped, tmp_path / "adapter", "tiny")
    return causal.open_student(weights_of(student_folder), float32, tmp_path / "adapter")


def said(student, asked, *, size=8):
    answers = dict(student.answer(asked, max_new_tokens=12, batch_size=size))
    return [answers[place] for place in range(len(asked))]


def test_an_untrained_student_is_off_label_until_it_is_limited(student):
    asked = conversations(30)
    assert not {answer.text for answer in said(student, asked)} & set(LABELS)
    limited = said(student.limited_to(LABELS), asked)
    assert {answer.text for answer in limited} <= set(LABELS)
    assert {answer.finish_reason for answer in limited} == {"stop"}
    assert said(student.limited_to(()), asked)[0].text == said(student, asked)[0].text


def test_batched_and_alone_it_chooses_the_same(student):
    limited, asked = student.limited_to(LABELS), conversations(30)
    alone, together = said(limited, asked, size=1), said(limited, asked, size=7)
    assert [one.text for one in together] == [one.text for one in alone]
    sures = [one.confidence**one.tokens for one in alone]
    assert [one.confidence**one.tokens for one in together] == pytest.approx(sures, abs=1e-3)


def test_where_a_free_answer_is_a_label_the_limited_one_is_it(trained):
    asked = conversations(30)
    free, limited = said(trained, asked), said(trained.limited_to(("bad", "good")), asked)
    on_label = [place for place, answer in enumerate(free) if answer.text in ("bad", "good")]
    assert len(on_label) > 10
    assert [limited[place].text for place in on_label] == [free[place].text for place in on_label]
    assert {answer.text for answer in limited} <= {"bad", "good"}


def test_its_base_is_limited_too(trained):
    base = trained.limited_to(LABELS).base()
    assert {answer.text for answer in said(base, conversations(8))} <= set(LABELS)


def test_its_probability_is_the_answers_among_all_and_no_pass_is_run_for_what_is_settled(student):
    import torch

    from distill.student.choices import choices_of
    from distill.student.decode import Decoding, shared_start, stop_ids

    asked = conversations(6)
    prompts = sorted((student.chat.prompt(each) for each in asked), key=len, reverse=True)
    choices = choices_of(student.chat, LABELS)
    start, stops = shared_start(student.net, prompts), stop_ids(student.net.model, student.chat)
    rows, under_way = run_out(
        Decoding(student.net, prompts, start, stops, student.chat.pad, choices.longest, 6, choices)
    )
    # "bad" and "no_label" are settled by a letter; where "good" ends takes one pass more.
    assert len(under_way) <= 1 + len("good")
    for row in rows:
        sures = {}
        for path in choices.answers:
            whole = torch.tensor([[*prompts[row.index], *path]])
            with torch.inference_mode():
                logits_TV = student.net.model(whole).logits[0]
            begin, sures[path] = len(prompts[row.index]), 0.0
            for at, token in enumerate(path):
                open_ = sorted({other[at] for other in choices.answers if other[:at] == path[:at]})
                sure_V = logits_TV[begin + at - 1, open_].log_softmax(-1)
                sures[path] += sure_V[open_.index(token)].item()
        assert row.logprob == pytest.approx(sures[tuple(row.ids)], abs=1e-3)
        assert math.fsum(map(math.exp, sures.values())) == pytest.approx(1, abs=1e-3)


def test_answers_that_read_the_same_to_the_student_are_refused(student):
    with pytest.raises(DataError, match="same tokens"):
        said(student.limited_to(("good", "good")), conversations(2))
