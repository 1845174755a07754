"""The truths of training, on a tiny real model: loss, gradients, parameters, checkpoint, curve."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from distill.config import FinetuneConfig
from distill.errors import DataError, DeviceError, UsageError
from tests.student.engines import curve, fitted, recipe_of, rows_of, weights_of
from tests.student.tiny import few_pairs, pair, tiny_model

pytestmark = pytest.mark.slow


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
    from distill.student.faster import faster
    from distill.student.loss import loss_sum

    wrapped, learner = learner_of()
    rows = rows_of(chat, 8)
    ids_BT, labels_BT = pad_right(rows, chat.pad)
    plain = wrapped(input_ids=ids_BT, labels=labels_BT).loss.item()
    targets = sum(row.target_tokens for row in rows)
    for net in (learner.net, replace(learner.net, head=None)):
        for way in (nullcontext(), faster(replace(learner, net=net))):
            with way:
                assert loss_sum(net, rows, chat.pad).item() / targets == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_changes_no_gradient(chat, learner_of, attention):
    wrapped, learner = learner_of()
    wrapped.set_attn_implementation(attention)
    shaken(learner)
    rows = rows_of(chat, 8)
    alone = sum(gradients(learner, [row]) for row in rows)
    plain = gradients(learner, rows)
    assert cosine(alone, plain) > 0.9999
    assert (alone - plain).abs().mean() < 1e-4 * alone.abs().mean()


def unequal(chat):
    """Eight rows whose answers have 2 to 37 tokens."""
    from distill.student.encode import encode

    answers = ["yes, very " * (n % 4) + "good"[: n % 3 + 1] for n in range(8)]
    return encode(chat, [pair("q" * (3 * n + 1), answer) for n, answer in enumerate(answers)], 256)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_one_pass_of_eight_is_eight_passes_of_one(chat, learner_of, optimizer):
    """Loss, gradient and step alike, though answers differ in length: no mean of means."""
    import torch

    from distill.student.guard import Passes
    from distill.student.loop import step_loss

    rows = unequal(chat)
    assert len({row.target_tokens for row in rows}) >= 6
    losses, gradients, weights = [], [], []
    for passes in (Passes(rows=8), Passes(rows=1)):
        _, learner = learner_of()
        shaken(learner)
        losses.append(step_loss(learner, rows, passes.cut))
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in learner.parameters]))
        # AdamW's default eps blows the rounding of gradients near 0 up to whole steps of the rate.
        settings = {"eps": 1e-3} if optimizer == "AdamW" else {}
        getattr(torch.optim, optimizer)(learner.parameters, lr=1e-2, **settings).step()
        weights.append(weights_of(learner))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert (gradients[0] - gradients[1]).abs().mean() < 1e-6
    assert (weights[0] - weights[1]).abs().mean() < 1e-6


def test_passes_keep_rows_and_order(chat):
    from distill.student.guard import Passes

    rows = unequal(chat)
    for passes in (Passes(), Passes(rows=3), Passes(tokens=150), Passes(tokens=1, rows=5)):
        assert [row for piece in passes.cut(rows) for row in piece] == rows
    assert list(map(len, Passes(rows=3).cut(rows))) == [3, 3, 2]
    assert list(map(len, Passes(tokens=1).cut(rows))) == [1] * 8


@pytest.mark.parametrize("fits", [1, 3, 7])
def test_out_of_memory_halves_the_pass_and_keeps_the_batch(chat, learner_of, fits):
    import torch

    from distill.student.fit import train
    from distill.student.guard import Passes
    from distill.student.loss import loss_sum
    from distill.student.session import Watch

    def tight(net, rows, pad):
        loss = loss_sum(net, rows, pad)
        if len(rows) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return loss

    rows, said, runs = rows_of(chat, 16), [], []
    for loss in (loss_sum, tight):
        _, learner = learner_of()
        records = []
        recipe = recipe_of(rows=16, batch_size=8)
        train(
            replace(learner, loss=loss),
            rows,
            rows[:8],
            recipe,
            Watch(records.append),
            Passes(say=said.append),
        )
        runs.append(records)
    assert curve(runs[0]) == pytest.approx(curve(runs[1]), abs=1e-5)
    assert len(runs[1]) == 4
    halves = [8 // 2**n for n in range(1, 4) if 8 // 2 ** (n - 1) > fits]
    assert [text.split("going on with ")[1].split(",")[0] for text in said] == [str(half) for half in halves]


def test_a_pass_that_does_not_fit_leaves_no_gradient_of_the_one_that_did(chat, learner_of):
    import torch

    from distill.student.guard import Passes
    from distill.student.loss import loss_sum

    rows, seen = rows_of(chat, 8), []

    def tight(net, batch, pad):
        seen.append(len(batch))
        if len(seen) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss_sum(net, batch, pad)

    found = []
    for loss in (loss_sum, tight):
        _, learner = learner_of()
        shaken(learner)
        Passes(rows=4).step_loss(replace(learner, loss=loss), rows)
        found.append(torch.cat([parameter.grad.flatten() for parameter in learner.parameters]))
    assert seen == [4, 4, 2, 2, 2, 2]
    assert (found[0] - found[1]).abs().max() < 1e-4 * found[0].abs().max()


def test_a_single_row_that_does_not_fit_is_named_and_other_errors_pass(chat, learner_of):
    from distill.student.guard import Passes

    rows = rows_of(chat, 4)

    def full(net, batch, pad):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory")

    def broken(net, batch, pad):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    _, learner = learner_of()
    with pytest.raises(DeviceError, match="single row") as caught:
        Passes().step_loss(replace(learner, loss=full), rows)
    assert caught.value.where == f"row {max(rows, key=lambda row: len(row.ids)).id}"
    with pytest.raises(RuntimeError, match="shapes"):
        Passes().step_loss(replace(learner, loss=broken), rows)


def test_what_a_pass_keeps_is_measured_and_bounds_it(chat, learner_of, monkeypatch):
    from distill.student import guard

    _, learner = learner_of()
    rows = unequal(chat)
    longest = max(rows, key=lambda row: len(row.ids))
    kept = guard.kept_bytes(learner, longest)
    # More than one state of width 64 for each of two layers, and no megabyte a token.
    assert 2 * 64 * 4 * len(longest.ids) < kept < 2**20 * len(longest.ids)
    assert guard.kept_bytes(learner, longest) == kept
    monkeypatch.setattr(guard, "free_bytes", lambda device: 6 * kept)
    said = []
    passes = guard.passes_for(learner, rows, None, said.append)
    assert 2.9 * len(longest.ids) <= passes.tokens <= 3.1 * len(longest.ids)
    assert "for its backward pass" in said[0]
    monkeypatch.setattr(guard, "free_bytes", lambda device: 1)
    assert guard.passes_for(learner, rows, None, said.append).tokens == len(longest.ids)


def test_a_row_without_a_target_stops_the_run_and_is_named(chat, learner_of):
    _, learner = learner_of()
    rows = rows_of(chat, 4)
    rows[2] = replace(rows[2], spans=())
    with pytest.raises(DataError, match="nothing of this row is trained") as caught:
        fitted(learner, rows, [], recipe_of())
    assert caught.value.where == f"row {rows[2].id}"


@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "full"])
def test_each_method_learns_and_changes_what_it_should(chat, float32, method):
    from distill.student import causal, forward, lora
    from distill.student.loop import Learner

    model = causal.prepare(tiny_model(), float32)
    recipe = recipe_of(method=method, epochs=6, learning_rate=1e-3 if method == "full" else 5e-3)
    wrapped = lora.attach(model, recipe.lora, 0)
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    learner = Learner(forward.open_net(model), lora.trainable(wrapped), chat.pad, float32, wrapped)
    trained, _ = fitted(learner, rows_of(chat, 8), [], recipe)
    assert trained.last_loss < 0.8 * trained.first_loss
    changed = {name for name, value in wrapped.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name in before if method == "full" or "lora_" in name}
    assert any("magnitude" in name for name in changed) == (method in ("dora",))


def test_lora_goes_where_it_is_sent(float32):
    from distill.student import causal, lora

    model = causal.prepare(tiny_model(), float32)
    wrapped = lora.attach(model, lora.LoraShape(4, 8, targets="q_proj, v_proj"), 0)
    trained = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[-4] for name in trained} == {"q_proj", "v_proj"}
    with pytest.raises(UsageError, match="no linear layer called qq_proj") as caught:
        lora.attach(causal.prepare(tiny_model(), float32), lora.LoraShape(4, 8, targets="q_proj,qq_proj"), 0)
    assert "down_proj, gate_proj" in caught.value.hint


def test_the_best_weights_are_in_at_the_end(chat, learner_of):
    """Validations are scripted, so that the third of six is the best: its weights are those that stay."""
    _, learner = learner_of()
    rows, seen = rows_of(chat, 12), []
    script = [5.0, 4.0, 1.0, 2.0, 3.0, 6.0]

    def judge(net, piece, pad):
        seen.append(weights_of(learner))
        return script[len(seen) - 1] * sum(row.target_tokens for row in piece), 0

    trained, records = fitted(replace(learner, judge=judge), rows[:8], rows[8:], recipe_of(epochs=3))
    assert len(seen) == 6
    assert [record["valid_loss"] for record in records] == pytest.approx(script)
    assert trained.best_step == 3
    assert trained.best_valid_loss == pytest.approx(1.0)
    assert trained.perplexity == pytest.approx(2.71828, abs=1e-4)
    assert weights_of(learner).equal(seen[2])
    assert not weights_of(learner).equal(seen[5])


def test_exact_answers_decide_beyond_chance_and_the_loss_within():
    from distill.student.loop import Measured
    from distill.student.session import is_better

    assert is_better(Measured(0.9, 0.80), Measured(0.5, 0.60), 100)
    assert not is_better(Measured(0.5, 0.60), Measured(0.9, 0.80), 100)
    assert is_better(Measured(0.5, 0.79), Measured(0.9, 0.80), 100)
    assert not is_better(Measured(0.9, 0.80), Measured(0.5, 0.79), 100)
    assert is_better(Measured(0.5, 0.0), Measured(0.9, 0.01), 100)  # free text: one lucky row says nothing


def test_exact_is_what_greedy_decoding_answers(chat, float32):
    """The share measured in one pass is that of generating and comparing."""
    from distill.student import causal, forward, lora
    from distill.student.causal import CausalStudent
    from distill.student.guard import Passes
    from distill.student.loop import Learner

    model = causal.prepare(tiny_model(), float32)
    wrapped = lora.attach(model, lora.LoraShape(8, 16), 0)
    net = forward.open_net(model)
    learner = Learner(net, lora.trainable(wrapped), chat.pad, float32)
    pairs, rows = few_pairs(40), rows_of(chat, 40)
    fitted(learner, rows[:24], [], recipe_of(epochs=3))
    student = CausalStudent("tiny", net, chat, float32, wrapped)
    answers = dict(student.answer([pair.messages for pair in pairs], max_new_tokens=8, batch_size=8))
    said = [answers[at].text if answers[at].finish_reason == "stop" else None for at in range(40)]
    right = sum(text == pair.answer for text, pair in zip(said, pairs, strict=True))
    assert Passes().measure(learner, rows, 8).exact == right / 40
    assert 0 < right < 40


def test_dropout_is_off_while_validating(chat, learner_of):
    from distill.student.guard import Passes

    _, learner = learner_of(dropout=0.5)
    shaken(learner)
    rows = rows_of(chat, 8)
    assert len({Passes().measure(learner, rows, 4).loss for _ in range(3)}) == 1
    assert len({Passes().step_loss(learner, rows) for _ in range(3)}) == 3


def test_one_seed_one_curve(chat, learner_of):
    curves = []
    for seed in (0, 0, 1):
        _, learner = learner_of(seed=seed, dropout=0.1)
        _, records = fitted(learner, rows_of(chat, 8), [], recipe_of(seed=seed))
        curves.append(curve(records))
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 0.756), ("cosine", 0.860)])
def test_the_rate_warms_up_and_falls_to_nothing(schedule, middle):
    from distill.student.recipe import plan

    made = plan(recipe_of(epochs=2, warmup_share=0.1, schedule=schedule), 50)
    rates = [made.rate(step) for step in range(1, 101)]
    assert made.steps == 100
    assert rates[9] == max(rates) == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert made.rate(101) == pytest.approx(0.0, abs=1e-9)
    assert rates[32] == pytest.approx(middle, abs=1e-3)  # 22 of 90 steps down
    assert plan(recipe_of(max_steps=1), 50).rate(1) == 1.0


@pytest.mark.parametrize(
    ("rows", "width", "changes", "expected"),
    [
        (640, 576, {}, (3, 5e-4, 16, 32)),  # the benchmarks' numbers
        (100, 576, {}, (5, 5e-4, 16, 32)),
        (30_000, 4096, {}, (1, 2.5e-4, 32, 64)),
        (640, 576, {"method": "full"}, (3, 5e-5, 16, 32)),
        (640, 576, {"method": "rslora"}, (3, 5e-4, 16, 8)),
        (640, 576, {"epochs": 2.0, "lora_rank": 8, "learning_rate": 1e-3, "lora_alpha": 5}, (2, 1e-3, 8, 5)),
    ],
)
def test_what_is_left_open_is_derived_with_its_reason(rows, width, changes, expected):
    from distill.student.recipe import derive

    recipe = derive(FinetuneConfig(**changes), rows, width)
    assert (recipe.epochs, recipe.learning_rate, recipe.lora.rank, recipe.lora.alpha) == expected
    told = " ".join(recipe.reasons)
    for flag, name in (
        ("--epochs", "epochs"),
        ("--learning-rate", "learning_rate"),
        ("--lora-rank", "lora_rank"),
    ):
        is_told = name not in changes and not (name == "lora_rank" and changes.get("method") == "full")
        assert (flag in told) == is_told


def test_work_is_counted_by_the_weights_tokens_go_through(chat, learner_of):
    from distill.student import shared
    from distill.student.speed import flops_of

    _, learner = learner_of()
    rows = rows_of(chat, 8)
    body = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)  # two layers: q and o, k and v, gate up and down
    adapters = sum(parameter.numel() for parameter in learner.parameters)
    targets = sum(row.target_tokens for row in rows)
    tokens = sum(len(row.ids) for row in rows)
    count, head = flops_of(learner.net), 4 * 64 * 259 * targets
    assert count(rows) == (4 * body + 6 * adapters) * tokens + head
    start = shared.start_of(rows)
    assert start > 20
    with shared.attention(learner.net.model):  # the last two tokens of each row: its last target, a newline
        assert count(rows) == (4 * body + 6 * adapters) * (tokens - 7 * start - 8 * 2) + head


def test_a_student_too_large_is_refused_before_it_is_loaded(tmp_path, float32, monkeypatch):
    from distill.student import need
    from distill.student.lora import LoraShape
    from distill.weights import student_weights

    tiny_model().config.save_pretrained(tmp_path)  # no weights: nothing can be loaded
    weights, said = student_weights(str(tmp_path)), []
    count = sum(parameter.numel() for parameter in tiny_model().parameters())
    sides = 2 * (2 * 128 + 2 * 96 + 3 * 192)
    assert need.estimate(weights, float32, LoraShape(4, 8)) == need.Need(4 * count, sides * 4 * 16)
    assert need.estimate(weights, float32, LoraShape(4, 8, method="full")) == need.Need(0, 16 * count)
    need.check_memory(weights, float32, LoraShape(4, 8), said.append)
    assert "are free" in said[0]
    monkeypatch.setattr(need, "free_bytes", lambda device: 4 * count)
    with pytest.raises(DeviceError, match="not enough memory"):
        need.check_memory(weights, float32, LoraShape(4, 8), said.append)
