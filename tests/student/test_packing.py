"""Rows packed into lines: each once, whole, within capacity, and none sees another."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.student.encode import IGNORED, Row
from distill.student.packing import best_fit, joined, lay, like_lengths, packed, separated
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow


def row_of(length, name="r", stop=None):
    return Row(
        name, tuple(range(length)), ((1, length - (stop is not None)),), stop, answer_tokens=(length - 1,)
    )


@given(lengths=st.lists(st.integers(1, 60), max_size=80), capacity=st.integers(1, 64))
@settings(deadline=None, max_examples=80)
def test_every_row_once_in_lines_that_hold(lengths, capacity):
    lines = best_fit(lengths, capacity)
    assert sorted(index for line in lines for index in line) == list(range(len(lengths)))
    for line in lines:
        assert sum(lengths[index] for index in line) <= capacity or len(line) == 1


def test_the_fit_is_the_best():
    assert sorted(map(sorted, best_fit([6, 5, 4, 3, 2], 10))) == [[0, 2], [1, 3, 4]]


@given(lengths=st.lists(st.integers(2, 30), min_size=1, max_size=12), stop=st.sampled_from([None, 7]))
@settings(deadline=None, max_examples=50)
def test_joining_keeps_labels_and_can_be_undone(lengths, stop):
    rows = [row_of(length, str(number), stop) for number, length in enumerate(lengths)]
    whole = joined(rows)
    assert whole.labels == [label for row in rows for label in row.labels]
    assert [(part.ids, part.spans, part.stop) for part in separated(whole)] == [
        (row.ids, row.spans, row.stop) for row in rows
    ]
    assert sorted(index for group in like_lengths(rows) for index in group) == list(range(len(rows)))
    assert sum(len(row.starts) for row in packed(rows, 40)) == len(rows)


def test_a_layout_begins_anew_with_each_row_and_keeps_their_order():
    rows = [row_of(3), row_of(5), joined([row_of(2), row_of(2)])]
    layout = lay(rows, 99, 8)
    assert layout.ids_LT.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 0, 1, 99, 99, 99, 99]]
    assert layout.positions_LT.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 0, 1, 0, 1, 2, 3]]
    assert layout.begins == (0, 5, 8, 10, 12, 16)
    assert layout.labels_N.tolist() == [label for row in rows for label in row.labels if label != IGNORED]
    assert layout.at_N.tolist() == [5, 6, 0, 1, 2, 3, 8, 10]


def gradients(learner, rows):
    import torch

    from distill.student.loss import loss_sum

    for parameter in learner.parameters:
        parameter.grad = None
    loss = loss_sum(learner.net, rows, learner.pad)
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in learner.parameters])


def shaken(learner):
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters:
            parameter.add_(0.05 * torch.randn_like(parameter))
    return learner


def reference_varlen(query, key, value, begins, _, most, __, *, scale, window_size, enable_gqa):
    """What the CUDA kernel computes, row by row (there is none on a CPU)."""
    import torch

    assert most == int(begins.diff().max())
    assert window_size == (-1, 0)
    parts = []
    for start, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        q, k, v = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=enable_gqa
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("way", ["sdpa", "eager", "varlen", "joined", "apart"])
def test_no_row_sees_another(chat, learner_of, monkeypatch, way):
    """Gradients packed against each row alone; without the block mask the cosine is far below."""
    import torch
    import torch.nn.attention.varlen

    from distill.student import varlen
    from distill.student.encode import encode

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", reference_varlen)
    varlen.register()
    wrapped, learner = learner_of()
    shaken(learner)
    rows = encode(chat, few_pairs(12), 256)
    alone = [gradients(learner, [row]) for row in rows]
    loss, gradient = sum(one[0] for one in alone), sum(one[1] for one in alone)
    wrapped.set_attn_implementation({"varlen": varlen.NAME, "eager": "eager"}.get(way, "sdpa"))
    net = learner.net if way == "apart" else replace(learner.net, packs=220)
    if way in ("joined", "apart"):
        rows = packed(rows, 250)
        assert any(len(row.starts) > 1 for row in rows)
    together = gradients(replace(learner, net=net), rows)
    cosine = torch.nn.functional.cosine_similarity(gradient.double(), together[1].double(), dim=0).item()
    assert together[0] == pytest.approx(loss, abs=2e-3)
    assert cosine > 0.9999
    assert (gradient - together[1]).abs().mean() < 1e-4 * gradient.abs().mean()


def test_targets_stay_with_their_rows(chat, learner_of):
    from distill.student.encode import encode
    from distill.student.loss import predicted

    _, learner = learner_of()
    rows = encode(chat, few_pairs(9), 256)
    plain, labels = predicted(learner.net, rows, chat.pad)
    lines, same = predicted(replace(learner.net, packs=250), rows, chat.pad)
    assert labels.equal(same)
    assert (plain - lines).abs().max() < 1e-3


def test_packing_is_given_up_where_rows_would_mix(learner_of, float32, monkeypatch):
    from distill.errors import UsageError
    from distill.student import lines

    _, learner = learner_of()
    said = []
    assert lines.choose_packing(learner.net, float32, "auto", said.append).packs == 0
    assert lines.choose_packing(learner.net, float32, "on", said.append).packs == lines.LINE
    real = lines.lay

    def leaking(*args):  # positions that never begin anew: one row, as the model sees it
        layout = real(*args)
        return replace(
            layout, positions_LT=layout.positions_LT[0].new_tensor(range(layout.ids_LT.numel()))[None]
        )

    monkeypatch.setattr(lines, "lay", leaking)
    assert not lines.keeps_apart(learner.net, float32)
    with pytest.raises(UsageError, match="see each other"):
        lines.choose_packing(learner.net, float32, "on", said.append)


def test_a_decoder_that_takes_no_positions_is_not_packed(learner_of, float32, monkeypatch):
    from distill.errors import UsageError
    from distill.student import lines

    def refuses(*_):
        raise TypeError("forward() got an unexpected keyword argument 'position_ids'")

    _, learner = learner_of()
    cuda, said = replace(float32, name="cuda"), []
    monkeypatch.setattr(lines, "line_logits", refuses)
    assert lines.choose_packing(learner.net, cuda, "auto", said.append) is learner.net
    assert said == ["packing: off, since this student's architecture lets packed rows see each other"]
    with pytest.raises(UsageError, match="see each other"):
        lines.choose_packing(learner.net, float32, "on", said.append)


def test_attention_that_cannot_be_set_is_not_taken_for_varlen(learner_of, float32, monkeypatch):
    import torch.nn.attention.varlen

    from distill.student import lines

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", reference_varlen)
    _, learner = learner_of()
    assert lines.sets_varlen(learner.net, float32)
    learner.net.model.set_attn_implementation("sdpa")
    own = classmethod(lambda kind: False)
    monkeypatch.setattr(type(learner.net.model), "_can_set_attn_implementation", own)
    assert not lines.sets_varlen(learner.net, float32)
