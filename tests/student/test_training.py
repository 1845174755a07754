"""The truths of training, on a tiny real model: loss, gradients, parameters, checkpoint, curve."""

from dataclasses import replace

import pytest

from distill.config import FinetuneConfig
from distill.errors import DistillError
from tests.student.tiny import few_pairs

pytestmark = pytest.mark.slow

CONFIG = FinetuneConfig(batch_size=4, learning_rate=5e-3, epochs=4)


def rows_of(chat, count):
    from distill.student.encode import encode

    return encode(chat, few_pairs(count), 256)


def gradients(learner, rows):
    import torch

    from distill.student.loss import loss_sum

    for parameter in learner.parameters:
        parameter.grad = None
    loss_sum(learner.net, rows, learner.pad).backward()
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters])


def shaken(learner):
    """B is zero at the start, which hides errors in A's gradient."""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters:
            parameter.add_(0.05 * torch.randn_like(parameter))
    return learner


def cosine(left, right):
    import torch

    return torch.nn.functional.cosine_similarity(left.double(), right.double(), dim=0).item()


def test_loss_equals_the_plain_full_logits_loss(chat, learner_of):
    from distill.student.batches import pad_right
    from distill.student.loss import loss_sum, prefix_of

    wrapped, learner = learner_of()
    rows = rows_of(chat, 8)
    ids_BT, labels_BT = pad_right(rows, chat.pad)
    plain = wrapped(input_ids=ids_BT, labels=labels_BT).loss.item()
    targets = sum(row.target_tokens for row in rows)
    assert learner.net.shares_prefix
    assert prefix_of(rows) > 20
    for net in (learner.net, replace(learner.net, shares_prefix=False), replace(learner.net, head=None)):
        assert loss_sum(net, rows, chat.pad).item() / targets == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_shared_start_padding_and_pieces_change_no_gradient(chat, learner_of, attention):
    wrapped, learner = learner_of()
    wrapped.set_attn_implementation(attention)
    shaken(learner)
    rows = rows_of(chat, 8)
    alone = sum(gradients(learner, [row]) for row in rows)  # no padding, no sharing
    plain = gradients(replace(learner, net=replace(learner.net, shares_prefix=False)), rows)
    shared = gradients(learner, rows)
    assert cosine(alone, plain) > 0.9999
    assert cosine(alone, shared) > 0.9999
    assert (alone - shared).abs().mean() < 1e-4 * alone.abs().mean()


def test_a_batch_in_pieces_takes_the_same_step(chat, learner_of, monkeypatch):
    import torch

    from distill.student import loop

    after = []
    for tokens in (100_000, 1):  # whole, then a row at a time
        monkeypatch.setattr(loop, "MICRO_TOKENS", tokens)
        _, learner = learner_of()
        shaken(learner)
        loss = loop.update(learner, torch.optim.SGD(learner.parameters, lr=0.1), rows_of(chat, 8))
        after.append((loss, torch.cat([parameter.detach().flatten() for parameter in learner.parameters])))
    assert after[0][0] == pytest.approx(after[1][0], abs=1e-5)
    assert (after[0][1] - after[1][1]).abs().max() < 1e-5


def test_training_changes_lora_and_nothing_else(chat, learner_of):
    from distill.student.loop import train

    wrapped, learner = learner_of()
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    train(learner, rows_of(chat, 8), [], CONFIG, lambda record: None)
    changed = {name for name, value in wrapped.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert all(parameter.requires_grad for parameter in learner.parameters)
    assert sum(p.numel() for p in learner.parameters) == sum(
        value.numel() for name, value in before.items() if "lora_" in name
    )


def test_the_best_weights_are_in_at_the_end(chat, learner_of):
    from distill.student.loop import mean_loss, train

    _, learner = learner_of()
    rows, valid = rows_of(chat, 12)[:8], rows_of(chat, 12)[8:]
    records = []
    config = replace(CONFIG, learning_rate=0.05, epochs=8)  # too fast on purpose: the last is not the best
    trained = train(learner, rows, valid, config, records.append)
    measured = {r["step"]: r["valid_loss"] for r in records if r["valid_loss"] is not None}
    assert trained.best_valid_loss == min(measured.values())
    assert measured[trained.best_step] == trained.best_valid_loss
    assert mean_loss(learner, valid, 4) == pytest.approx(trained.best_valid_loss, abs=1e-6)
    assert trained.steps in measured


def test_one_seed_one_curve(chat, learner_of):
    from distill.student.loop import train

    curves = []
    for seed in (0, 0, 1):
        _, learner = learner_of(seed=seed, dropout=0.1)
        records = []
        train(learner, rows_of(chat, 8), [], replace(CONFIG, seed=seed), records.append)
        curves.append([record["loss"] for record in records])
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_the_rate_warms_up_and_falls_to_nothing():
    from distill.student.loop import plan

    schedule = plan(FinetuneConfig(epochs=2, batch_size=10, warmup_share=0.1), 500)
    rates = [schedule.rate(step) for step in range(1, 101)]
    assert schedule.steps == 100
    assert rates[9] == max(rates) == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert plan(FinetuneConfig(max_steps=1), 500).rate(1) == 1.0


def test_a_loss_that_is_not_finite_stops_and_names_the_rows(chat, learner_of):
    import torch

    from distill.student.loop import train

    _, learner = learner_of()
    with torch.no_grad():
        learner.parameters[0].fill_(float("nan"))
    rows = rows_of(chat, 4)
    with pytest.raises(DistillError, match="training loss is not finite") as caught:
        train(learner, rows, [], CONFIG, lambda record: None)
    assert all(row.id in caught.value.where for row in rows)
    assert "--learning-rate" in caught.value.hint
