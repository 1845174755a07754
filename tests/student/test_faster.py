"""What a CPU does faster is the same training: rows behind their shared start, LoRA as one product."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from distill.student.encode import IGNORED, Row
from tests.student.engines import curve, fitted, recipe_of, rows_of
from tests.student.test_packing import gradients, shaken

pytestmark = pytest.mark.slow


def cosine(left, right):
    import torch

    return torch.nn.functional.cosine_similarity(left.double(), right.double(), dim=0).item()


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("scores", [1 << 16, 0], ids=["own", "torch"])
def test_rows_behind_their_start_give_the_gradients_of_rows_alone(
    chat, learner_of, monkeypatch, count, scores
):
    """Gradients of all rows reach the start, and no row sees another."""
    from distill.student import shared
    from distill.student.faster import faster

    monkeypatch.setattr(shared, "MOST_SCORES", scores)
    _, learner = learner_of()
    shaken(learner)
    rows = rows_of(chat, count)
    assert len({len(row.ids) for row in rows}) > 1 or count == 1
    alone = [gradients(learner, [row]) for row in rows]
    with faster(learner):
        assert shared.is_on(learner.net.model)
        loss, together = gradients(learner, rows)
    assert not shared.is_on(learner.net.model)
    assert loss == pytest.approx(sum(one[0] for one in alone), rel=1e-5)
    expected = sum(one[1] for one in alone)
    assert cosine(expected, together) > 0.9999
    assert (expected - together).abs().mean() < 1e-4 * expected.abs().mean()


def test_rows_of_one_length_or_without_a_start(chat, learner_of):
    from distill.student.faster import faster

    _, learner = learner_of()
    shaken(learner)
    like = [Row(str(at), (1, 2, 3, 7 + at, 8, 9 + at), ((4, 6),)) for at in range(4)]
    apart = [Row(str(at), (7 + at, 8, 9 + at), ((1, 3),)) for at in range(4)]
    stops = [Row(str(at), (1, 2, 7 + at, 8, 5), ((3, 4),), 5) for at in range(2)]
    for rows in (like, apart, stops, [like[0], apart[1]]):
        alone = [gradients(learner, [row]) for row in rows]
        with faster(learner):
            loss, together = gradients(learner, rows)
        assert loss == pytest.approx(sum(one[0] for one in alone), rel=1e-5)
        assert cosine(sum(one[1] for one in alone), together) > 0.9999


def test_a_line_holds_the_start_once_and_stops_before_the_last_target():
    from distill.student import shared

    rows = [Row("a", (1, 2, 3, 4, 5, 0), ((3, 5),)), Row("b", (1, 2, 9, 6, 0), ((3, 4),))]
    line = shared.line_of(rows)
    assert line.start == shared.start_of(rows) == 2
    assert line.ids_1T.tolist() == [[1, 2, 3, 4, 9]]
    assert line.positions_1T.tolist() == [[0, 1, 2, 3, 2]]
    assert line.labels_N.tolist() == [4, 5, 6]
    assert line.at_N.tolist() == [2, 3, 4]
    labels = [label for row in rows for label in row.labels if label != IGNORED]
    assert line.labels_N.tolist() == labels
    trained_early = [Row("c", (1, 2, 3), ((1, 3),)), Row("d", (1, 2, 3), ((1, 3),))]
    assert shared.start_of(trained_early) == 0  # never into a position that predicts a target


@pytest.mark.parametrize("engine", ["trainer", "loop"])
def test_the_curve_is_that_of_the_plain_way(chat, learner_of, monkeypatch, engine):
    from distill.student import fit

    curves = []
    for way in (fit.faster, lambda learner: nullcontext()):
        monkeypatch.setattr(fit, "faster", way)
        _, learner = learner_of()
        rows = rows_of(chat, 22)
        _, records = fitted(learner, rows[:16], rows[16:], recipe_of(engine=engine))
        curves.append((curve(records), [value for value in curve(records, "valid_loss") if value]))
    assert curves[0][0] == pytest.approx(curves[1][0], abs=1e-5)
    assert curves[0][1] == pytest.approx(curves[1][1], abs=1e-5)


def test_a_model_that_mixes_rows_is_run_the_plain_way(learner_of, monkeypatch):
    from distill.student import faster, shared

    _, learner = learner_of()
    assert faster.shares(learner)
    real = shared.behind

    def leaking(part, line):  # every row behind the first row's rest
        whole = real(part, line)
        return whole[:, :1].expand_as(whole)

    monkeypatch.setattr(shared, "behind", leaking)
    assert not faster.shares(learner)
    with faster.faster(learner):
        assert not shared.is_on(learner.net.model)
    monkeypatch.setattr(shared, "behind", real)
    with faster.faster(replace(learner, net=replace(learner.net, shares_prefix=False))):
        assert not shared.is_on(learner.net.model)


def test_dropout_does_not_decide_how_rows_are_run(learner_of):
    """A run that is taken up, its B no longer zero, is run as it was begun."""
    from distill.student import faster

    _, learner = learner_of(dropout=0.5)
    assert faster.shares(learner)
    shaken(learner)
    assert faster.shares(learner)


def test_soft_caps_and_windows_are_refused():
    import torch

    from distill.student import shared

    line = shared.line_of([Row("a", (1, 2, 3), ((1, 3),))])
    part = torch.zeros(1, 2, 2, 4)
    for more in ({"softcap": 30.0}, {"sliding_window": 2}, {"dropout": 0.1}, {"s_aux": part}):
        with pytest.raises(NotImplementedError):
            shared.attend(torch.nn.Module(), part, part, part, None, line=line, **more)


@pytest.mark.parametrize(
    ("changes", "fuses"), [({}, 14), ({"dropout": 0.1}, 0), ({"attention_bias": True}, 14)], ids=str
)
def test_lora_as_one_product_is_pefts(chat, learner_of, changes, fuses):
    import torch

    from distill.student.fused import is_plain, products

    wrapped, learner = learner_of(**changes)
    shaken(learner)
    rows = rows_of(chat, 5)
    assert sum(map(is_plain, wrapped.modules())) == fuses
    if not fuses:
        return
    before = gradients(learner, rows)
    with products(learner.net.model, torch.float32):
        after = gradients(learner, rows)
        with torch.no_grad(), wrapped.disable_adapter():  # what it does not know is peft's
            base = wrapped(input_ids=torch.tensor([rows[0].ids])).logits
    assert not any("forward" in vars(module) for module in wrapped.modules())
    with torch.no_grad(), wrapped.disable_adapter():
        assert wrapped(input_ids=torch.tensor([rows[0].ids])).logits.equal(base)
    assert after[0] == pytest.approx(before[0], rel=1e-5)
    assert (before[1] - after[1]).abs().mean() < 1e-4 * before[1].abs().mean()
