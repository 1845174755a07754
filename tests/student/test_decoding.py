"""Rows that are done make room for rows that wait; confidence is a probability; LoRA is merged to answer."""

import math

import pytest

from tests.student.test_answer import conversations, weights_of
from tests.student.tiny import tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture
def student(student_folder, float32):
    from distill.student.causal import open_student

    return open_student(weights_of(student_folder), float32)


def decoding(student, asked, *, width, room=12):
    from distill.student.decode import Decoding, shared_start, stop_ids

    prompts = sorted((student.chat.prompt(each) for each in asked), key=len, reverse=True)
    start = shared_start(student.net, prompts)
    stops = stop_ids(student.net.model, student.chat)
    return Decoding(student.net, prompts, start, stops, student.chat.pad, room=room, width=width)


def run_out(one):
    """(every row as it ended, how many were under way at each pass)."""
    import torch

    ended, under_way = [], []
    with torch.inference_mode():
        while one.going:
            ended += one.step()
            under_way.append(len(one.flight.rows) if one.flight else 0)
    return sorted(ended, key=lambda row: row.index), under_way


def test_rows_that_wait_take_the_places_of_rows_that_are_done(student):
    asked = conversations(30)
    alone, _ = run_out(decoding(student, asked, width=1))
    together, under_way = run_out(decoding(student, asked, width=8))
    assert [row.ids for row in together] == [row.ids for row in alone]
    assert len({len(row.ids) for row in alone}) > 1  # some end before others, else nothing is tried here
    assert max(under_way) == 8
    # Passes: one a token of the longest chain of rows, far fewer than rows in batches would take.
    assert len(under_way) < sum(len(row.ids) for row in alone) / 4
    assert [row.logprob for row in together] == pytest.approx([row.logprob for row in alone], abs=1e-3)


def test_a_pass_on_a_cpu_holds_few_tokens_and_the_places_fill_up(student, monkeypatch):
    from distill.student import decode

    monkeypatch.setattr(decode, "PASS_TOKENS", (60, 60))
    asked = conversations(20)
    one = decoding(student, asked, width=12)
    _, under_way = run_out(one)
    assert under_way[0] < under_way[1] < under_way[2]
    assert [row.ids for row in run_out(decoding(student, asked, width=12))[0]] == [
        row.ids for row in run_out(decoding(student, asked, width=1))[0]
    ]


def test_a_model_whose_state_cannot_be_padded_ends_a_batch_before_the_next(student):
    one = decoding(student, conversations(12), width=4)
    one.joins = False
    _, under_way = run_out(one)
    assert under_way.count(0) == 3


def test_confidence_is_the_probability_of_the_answer(student):
    import torch

    asked = conversations(5)
    rows, _ = run_out(decoding(student, asked, width=5))
    prompts = sorted((student.chat.prompt(each) for each in asked), key=len, reverse=True)
    for row in rows:
        whole = torch.tensor([[*prompts[row.index], *row.ids]])
        with torch.inference_mode():
            sure_TV = student.net.model(whole).logits[0].log_softmax(-1)
        begin = len(prompts[row.index])
        known = sum(sure_TV[begin + at - 1, token].item() for at, token in enumerate(row.ids))
        assert row.logprob == pytest.approx(known, abs=1e-3)
    said = dict(student.answer(asked, max_new_tokens=12, batch_size=5))
    sures = sorted(answer.confidence**answer.tokens for answer in said.values())
    assert sures == pytest.approx(sorted(math.exp(row.logprob) for row in rows), rel=1e-3)


def test_merged_layers_answer_as_the_adapter_does_and_leave_it_alone():
    import torch

    from distill.student import lora
    from distill.student.merged import in_force, merged

    wrapped = lora.attach(tiny_model(), lora.LoraShape(4, 8), 0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    ids_BT = torch.arange(24).view(2, 12)
    with torch.inference_mode():
        before = wrapped(input_ids=ids_BT).logits
        layers = merged(wrapped)
        assert len(layers) == 14  # seven in each of two
        with in_force(layers):
            inside = wrapped(input_ids=ids_BT).logits
            assert (inside - before).abs().max() < 1e-4
            layers[next(iter(layers))].zero_()
            assert (wrapped(input_ids=ids_BT).logits - before).abs().max() > 1e-2
        assert torch.equal(wrapped(input_ids=ids_BT).logits, before)
        with wrapped.disable_adapter():
            assert (wrapped(input_ids=ids_BT).logits - before).abs().max() > 1e-2


def test_an_adapter_that_is_more_than_a_sum_stays_as_it_is():
    from distill.student import lora
    from distill.student.merged import merged

    assert not merged(lora.attach(tiny_model(), lora.LoraShape(4, 8, method="dora"), 0))
