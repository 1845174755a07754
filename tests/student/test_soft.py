"""Soft targets: the divergence by hand, which rows can use them, what they change and what they must not."""

import json
import math

import msgspec
import pytest

from distill.config import FinetuneConfig
from distill.errors import DataError
from tests.student.engines import QUICK, rows_of
from tests.student.tiny import few_pairs, pair

pytestmark = pytest.mark.slow


def logprobs(answer, tops, *, end=None, token=""):
    """As `teacher/wire.py` stores them: one byte a token, `end` the top at the end of turn."""
    tokens = [*answer, *([token] if end is not None else [])]
    top = [[[text, math.log(share)] for text, share in each.items()] for each in tops]
    if end is not None:
        top.append([[text, math.log(share)] for text, share in end])
    chosen = [dict(map(tuple, each)).get(text, -9.0) for text, each in zip(tokens, top, strict=True)]
    return {"tokens": tokens, "logprobs": chosen, "top": top}


def told(answer="bad", **changes):
    tops = [{letter: 0.7, "x": 0.2} for letter in answer]
    return logprobs(answer, tops, **{"end": [("", 0.9), ("\n", 0.05)], **changes})


def encoded(chat, *pairs):
    from distill.student.encode import encode

    return encode(chat, pairs, 256)


def matched(chat, given, answer="bad"):
    from distill.student.soft import targets

    one = msgspec.structs.replace(pair("xxb", answer), logprobs=given)
    found = targets(chat, encoded(chat, one), [one])
    return found.tops.get(one.id), found.hard


def test_divergence_is_the_sum_over_top_and_tail_by_hand():
    import torch

    from distill.student.soft import Top, divergence

    logits_MV = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0, 3.0]])
    tops = [Top(0, (0, 3), (0.6, 0.3)), Top(1, (4,), (0.5,))]
    student = [math.exp(x) for x in (2.0, 1.0, 0.0, -1.0, 0.5)]
    q0, q3 = student[0] / sum(student), student[3] / sum(student)
    by_hand = 0.6 * math.log(0.6 / q0) + 0.3 * math.log(0.3 / q3) + 0.1 * math.log(0.1 / (1 - q0 - q3))
    q4 = math.exp(3) / (math.exp(3) + 4)
    second = 0.5 * math.log(0.5 / q4) + 0.5 * math.log(0.5 / (1 - q4))
    assert divergence(logits_MV, tops).tolist() == pytest.approx([by_hand, second], abs=1e-6)


def test_a_teacher_that_is_sure_gives_the_cross_entropy_and_its_gradient():
    import torch

    from distill.student.soft import Top, divergence

    torch.manual_seed(0)
    logits = torch.randn(3, 9, requires_grad=True)
    tops = [Top(at, (label,), (1.0,)) for at, label in enumerate((4, 0, 8))]
    soft = divergence(logits, tops).sum()
    hard = torch.nn.functional.cross_entropy(logits, torch.tensor([4, 0, 8]), reduction="sum")
    assert soft.item() == pytest.approx(hard.item(), abs=1e-5)
    (left,) = torch.autograd.grad(soft, logits)
    (right,) = torch.autograd.grad(hard, logits)
    assert torch.allclose(left, right, atol=1e-6)


def test_it_is_zero_and_flat_where_the_student_agrees():
    import torch

    from distill.student.soft import Top, divergence

    logits = torch.tensor([[1.0, 0.2, -0.3, 0.0]], requires_grad=True)
    shares = logits.softmax(-1)[0].tolist()
    loss = divergence(logits, [Top(0, (0, 2), (shares[0], shares[2]))])
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


def test_the_gradient_is_that_of_finite_differences():
    import torch

    from distill.student.soft import Top, divergence

    torch.manual_seed(2)
    logits = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    tops = [Top(0, (1, 5), (0.5, 0.2)), Top(1, (0, 2, 6), (0.3, 0.3, 0.4))]
    assert torch.autograd.gradcheck(lambda x: divergence(x, tops), (logits,), atol=1e-5)


def test_a_row_in_the_students_tokens_gets_tops_at_its_answer_and_end_of_turn(chat):
    tops, hard = matched(chat, told())
    assert hard == {}
    assert [top.at for top in tops] == [0, 1, 2, 3]
    b, x = (chat.tokenizer.convert_tokens_to_ids(letter) for letter in "bx")
    assert dict(zip(tops[0].ids, tops[0].probabilities, strict=True)) == pytest.approx({b: 0.7, x: 0.2})
    assert tops[3].ids[0] == chat.stop
    assert tops[3].probabilities[0] == pytest.approx(0.9)


def test_two_tokens_that_read_as_nothing_are_told_apart_by_the_chosen_logprob(chat):
    given = told(end=[("", 0.6), ("", 0.3)])
    given["logprobs"][-1] = math.log(0.6)
    tops, _ = matched(chat, given)
    assert (tops[3].ids, tops[3].probabilities) == ((chat.stop,), pytest.approx((0.6,)))


def test_an_end_of_turn_told_by_name_counts_too(chat):
    tops, _ = matched(chat, told(end=[("<|im_end|>", 0.8)], token="<|im_end|>"))
    assert (tops[3].ids, tops[3].probabilities) == ((chat.stop,), pytest.approx((0.8,)))


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"tokens": ["bad"], "top": [[["bad", -0.1]]], "logprobs": [-0.1]},
        told("Bad"),
        told("ba", end=None),
    ],
)
def test_other_tokens_keep_the_hard_label(chat, given):
    tops, hard = matched(chat, given)
    assert tops is None
    assert sum(hard.values()) == 1


def test_a_teacher_that_went_on_says_nothing_of_the_end(chat):
    tops, _ = matched(chat, told("bad, as I said", end=None))
    assert [top.at for top in tops] == [0, 1, 2]


def test_numbers_that_are_no_probabilities_are_left_out(chat):
    tops, _ = matched(chat, logprobs("bad", [{"b": 0.9, "x": 0.9}, {"a": 1.0}, {"d": 0.5, "\ufffd": 0.4}]))
    assert [(top.at, len(top.ids)) for top in tops] == [(1, 1), (2, 1)]


def test_weights_mix_the_losses_and_rows_without_tops_are_as_before(chat, learner_of):
    from distill.student.loss import loss_sum, predicted
    from distill.student.soft import divergence, loss_with, targets

    pairs = few_pairs(6)
    pairs = [msgspec.structs.replace(each, logprobs=told(each.answer)) for each in pairs[:3]] + pairs[3:]
    rows = encoded(chat, *pairs)
    _, learner = learner_of()
    soft = targets(chat, rows, pairs)
    assert (len(soft.tops), soft.hard) == (3, {"no logprobs stored": 3})
    hard = loss_sum(learner.net, rows, chat.pad).item()
    logits_NV, labels_N = predicted(learner.net, rows[:3], chat.pad)
    tops = [top for row in rows[:3] for top in soft.tops[row.id]]
    assert len(tops) == len(labels_N)
    pulled = divergence(logits_NV, tops).sum().item()
    rest = loss_sum(learner.net, rows[3:], chat.pad).item()
    for weight in (0.25, 1.0):
        mixed = loss_with(soft, weight)(learner.net, rows, chat.pad).item()
        by_hand = (1 - weight) * (hard - rest) + weight * pulled + rest
        assert mixed == pytest.approx(by_hand, rel=1e-5)
    backwards = loss_with(soft, 0.5)(learner.net, rows[::-1], chat.pad).item()
    assert backwards == pytest.approx(loss_with(soft, 0.5)(learner.net, rows, chat.pad).item(), rel=1e-5)


def test_without_a_weight_it_is_the_very_same_loss(chat):
    from distill.student.loss import loss_sum
    from distill.student.soft import loss_with, targets_for

    rows = rows_of(chat, 4)
    assert targets_for(0.0, chat, rows, few_pairs(4), print) is None
    assert loss_with(None, 0.0) is loss_sum


def test_no_row_that_can_use_them_is_an_error(chat):
    from distill.student.soft import targets_for

    with pytest.raises(DataError, match="no row can use") as caught:
        targets_for(0.5, chat, rows_of(chat, 4), few_pairs(4), print)
    assert caught.value.where == "--kd-weight"


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_finetune_learns_from_the_teacher_under_both_engines(run, student_folder, engine):
    from distill.steps.finetune import finetune
    from distill.store import jsonl
    from distill.types import Quiet

    # A teacher that is of two minds: the student must end less sure than by hard labels.
    pairs = [
        msgspec.structs.replace(each, logprobs=logprobs(each.answer, [{c: 0.5} for c in each.answer]))
        for each in few_pairs(24)
    ]
    jsonl.replace(run.splits["train"], pairs)
    jsonl.replace(run.splits["valid"], few_pairs(40)[24:])
    plain = {**QUICK, "student": str(student_folder), "engine": engine, "epochs": 10.0}
    hard = finetune(run, FinetuneConfig(**plain), Quiet())
    soft = finetune(run, FinetuneConfig(**plain, kd_weight=1.0), Quiet())
    assert "soft_targets" not in hard
    assert soft["soft_targets"] == {"rows": 24, "hard": {}}
    assert soft["best_valid_loss"] > hard["best_valid_loss"] + 0.1
    assert json.loads(run.summary_path("finetune").read_text())["made_from"]["kd_weight"] == 1.0
