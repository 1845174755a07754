"""Out-of-fold scores by real, tiny models: mislabelled rows stand out, and no model sees its own row."""

import json

import pytest
from click.testing import CliRunner

from distill.cli import cli
from distill.config import FinetuneConfig, SuspectsConfig
from distill.errors import DataError, UsageError
from distill.steps.suspects import find
from distill.store import jsonl
from distill.store.taskfile import write_task
from distill.types import Label, Message, Pair, Quiet, Task
from tests.student.engines import QUICK
from tests.student.tiny import few_pairs
from tests.student.tiny_encoder import labelled, save_encoder

pytestmark = pytest.mark.slow

RATE = Task("rate", "label", "Rate it.", labels=tuple(map(Label, ("good", "bad", "so so"))))


def flipped(pairs, places):
    other = {"good": "bad", "bad": "so so", "so so": "good"}
    return [
        Pair.make(pair.messages, other[pair.answer], "test") if place in places else pair
        for place, pair in enumerate(pairs)
    ]


def fill(run, pairs, task=RATE):
    write_task(run.task, task)
    jsonl.replace(run.pairs, pairs)
    for name, path in run.splits.items():
        jsonl.replace(path, pairs if name == "train" else [])
    run.finish("generate", {"tried": len(pairs), "dropped": {}, "splits": {}}, {})


def nobody(*_):
    raise AssertionError("a frozen model is not trained")


def test_folds_are_even_and_deal_out_each_answer():
    from distill.student.folds import assign

    answers = ["a"] * 20 + ["b"] * 10 + ["c"] * 3
    fold = assign(answers, 5, 0)
    assert sorted(map(fold.count, range(5))) == [6, 6, 7, 7, 7]
    assert [fold[:20].count(number) for number in range(5)] == [4] * 5
    assert fold == assign(answers, 5, 0) != assign(answers, 5, 1)


def test_a_head_is_the_minimum_of_its_loss():
    import torch

    from distill.student.folds import RIDGE, head

    torch.manual_seed(0)
    states_NH, given_N = torch.randn(40, 5), torch.randint(0, 3, (40,))
    weight_KH, bias_K = head(states_NH, given_N, 3)
    weight_KH.requires_grad_(True)
    bias_K.requires_grad_(True)
    logits_NK = states_NH.double() @ weight_KH.T + bias_K
    loss = torch.nn.functional.cross_entropy(logits_NK, given_N, reduction="sum")
    (loss + RIDGE / 2 * weight_KH.square().sum()).backward()
    assert max(weight_KH.grad.abs().max(), bias_K.grad.abs().max()) < 1e-2


def test_a_rows_own_label_changes_nothing_of_its_probabilities():
    import torch

    from distill.student.folds import head_probabilities

    torch.manual_seed(0)
    states_NH = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
    fold = [place % 3 for place in range(30)]
    given = [place % 2 for place in range(30)]
    before = head_probabilities(states_NH, given, 2, fold)
    given[4] = 1 - given[4]
    after = head_probabilities(states_NH, given, 2, fold)
    assert [before[place] == after[place] for place in range(30)] == [
        fold[place] == fold[4] for place in range(30)
    ]
    assert all(sum(row) == pytest.approx(1) for row in before)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_planted_flips_are_found_by_a_head_on_a_frozen_model(run, tmp_path, student_folder, kind):
    places = {3, 11, 20}
    pairs = flipped(labelled(60), places)
    fill(run, pairs)
    folder = save_encoder(tmp_path / "encoder") if kind == "encoder" else student_folder
    config = SuspectsConfig(student=str(folder))
    found, how = find(run, RATE, config, FinetuneConfig(), nobody, Quiet())
    wrong = {pairs[place].id for place in places}
    sure = 3 if kind == "causal" else 2  # the encoder's random states tell less
    assert {each.id for each in found[:sure]} <= wrong
    by_input = {pair.input: pair.answer for pair in labelled(60)}
    assert all(each.suggested == by_input[each.input] for each in found[:sure])
    assert (how["kind"], how["rows"], how["suspect"]) == ("head", 60, len(found))


def test_the_list_is_as_long_as_asked(run, student_folder):
    fill(run, flipped(labelled(60), {3, 11, 20}))
    folder = str(student_folder)
    for limits, most in (({"n": 2}, 2), ({"share": 0.05}, 3), ({"n": 1, "share": 0.05}, 1)):
        found, how = find(
            run, RATE, SuspectsConfig(student=folder, **limits), FinetuneConfig(), nobody, Quiet()
        )
        assert len(found) == most
        assert how["suspect"] >= 3


def test_trained_classifiers_of_the_other_folds_find_them_too(run, tmp_path):
    from distill.steps.finetune import finetune

    places = {3, 11, 20}
    pairs = flipped(labelled(45), places)
    fill(run, pairs)
    folder = str(save_encoder(tmp_path / "encoder"))
    tuning = FinetuneConfig(**{**QUICK, "student": folder, "student_kind": "classifier", "epochs": 6})
    config = SuspectsConfig(student=folder, kind="classifier", folds=3)
    found, how = find(run, RATE, config, tuning, finetune, Quiet())
    assert {pairs[place].id for place in places} <= {each.id for each in found[:5]}
    assert how["kind"] == "classifier"
    assert not run.adapter.exists(), "the run's own student was replaced"


def test_a_language_model_finds_the_free_answer_that_does_not_belong(run, student_folder):
    from distill.steps.finetune import finetune

    pairs = few_pairs(40)
    odd = Pair.make(pairs[7].messages, "zebra!", "test")
    pairs[7] = odd
    text = Task("say", "text", "Say it.")
    fill(run, pairs, text)
    tuning = FinetuneConfig(**{**QUICK, "student": str(student_folder), "epochs": 12})
    found, how = find(run, text, SuspectsConfig(folds=2), tuning, finetune, Quiet())
    assert (found[0].id, found[0].suggested) == (odd.id, "")
    assert "robust standard deviations" in found[0].why
    assert how["kind"] == "causal"


def test_a_language_models_label_probabilities_are_those_of_whole_answers(chat, learner_of, float32):
    from types import SimpleNamespace

    from distill.student.encode import encode
    from distill.student.folds import label_probabilities
    from distill.student.loss import loss_sum

    _, learner = learner_of()
    student = SimpleNamespace(net=learner.net, chat=chat, device=float32)
    (pair, *_) = few_pairs(1)
    found = label_probabilities(["good", "bad"])(student, [pair])
    totals = []
    for answer in ("good", "bad"):
        rows = encode(chat, [Pair.make(pair.messages, answer, "test")], 256)
        totals.append(-loss_sum(learner.net, rows, chat.pad).item())
    import torch

    assert found[0] == pytest.approx(torch.tensor(totals).softmax(-1).tolist(), abs=1e-5)


def test_long_texts_are_read_as_far_as_the_model_goes(tmp_path, float32):
    from distill.student.states import states
    from distill.weights import student_weights

    weights = student_weights(str(save_encoder(tmp_path / "encoder")))
    found = states(weights, float32, [(Message("user", "a" * 500),), (Message("user", "b"),)], Quiet())
    assert found.shape == (2, 32)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_what_cannot_be_looked_at_is_refused(run, tmp_path):
    fill(run, labelled(8))
    with pytest.raises(UsageError, match="8 rows are too few for 5 folds"):
        find(run, RATE, SuspectsConfig(), FinetuneConfig(), nobody, Quiet())
    fill(run, [*labelled(20), Pair.make((Message("user", "x"),), "never heard", "test")])
    with pytest.raises(UsageError, match="no labels of the task"):
        find(run, RATE, SuspectsConfig(), FinetuneConfig(), nobody, Quiet())


def test_a_classifier_refuses_soft_targets(run, tmp_path):
    from distill.steps.finetune import finetune

    fill(run, labelled(20))
    folder = str(save_encoder(tmp_path / "encoder"))
    with pytest.raises((UsageError, DataError)) as caught:
        finetune(run, FinetuneConfig(student=folder, student_kind="classifier", kd_weight=0.5), Quiet())
    assert caught.value.where == "--kd-weight"


def test_the_command_lists_and_applies(run, student_folder):
    places = {3, 11, 20}
    pairs = flipped(labelled(60), places)
    fill(run, pairs)
    folder = str(student_folder)
    command = ["--runs-dir", str(run.root.parent), "--json", "suspects", "--student", folder, "--n", "3"]
    summary = json.loads(CliRunner().invoke(cli, [*command, "--apply"]).stdout)
    assert summary["applied"]["dropped"] == 3
    left = {pair.id for _, pair in jsonl.read(run.splits["train"], Pair)}
    assert left == {pair.id for pair in pairs} - {pairs[place].id for place in places}
    table = CliRunner().invoke(cli, [part for part in command if part != "--json"])
    assert table.exit_code == 0, table.output
    assert "training rows are suspect" in table.output


@pytest.mark.parametrize("kind", ["text", "label"])
def test_students_taught_reasons_are_scored_on_reason_and_answer(
    run, chat, learner_of, float32, monkeypatch, kind
):
    """What `find` has them scored by, on a row: the very target that they were trained on."""
    from types import SimpleNamespace

    import msgspec
    import torch

    from distill.student import folds
    from distill.student.encode import encode
    from distill.student.loss import loss_sum

    labels = tuple(map(Label, ("good", "bad"))) if kind == "label" else ()
    task = Task("say", kind, "Say it.", labels=labels, rationale=True)
    pairs = [msgspec.structs.replace(pair, rationale=f"it says {pair.input}") for pair in few_pairs(20)]
    fill(run, pairs, task)
    _, learner = learner_of()
    student = SimpleNamespace(net=learner.net, chat=chat, device=float32)
    given = []

    def by_students(task, pairs, fold, tuning, fit, score, progress):
        given.append(score(student, pairs))
        return given[0]

    monkeypatch.setattr(folds, "by_students", by_students)
    find(run, task, SuspectsConfig(folds=2, kind="causal"), FinetuneConfig(), nobody, Quiet())

    def target(answer):
        text = f"it says {pairs[0].input}\nAnswer: {answer}"
        (row,) = encode(chat, [Pair.make(pairs[0].messages, text, "test")], 256)
        return loss_sum(learner.net, [row], chat.pad).item(), row.target_tokens

    if kind == "label":
        totals = torch.tensor([-target(label)[0] for label in ("good", "bad")])
        assert given[0][0] == pytest.approx(totals.softmax(-1).tolist(), abs=1e-4)
    else:
        total, count = target(pairs[0].answer)
        assert given[0][0] == pytest.approx(total / count, abs=1e-4)


def test_a_share_of_less_than_a_row_lists_one(run, student_folder):
    fill(run, flipped(labelled(60), {3, 11, 20}))
    config = SuspectsConfig(student=str(student_folder), share=0.001)
    found, how = find(run, RATE, config, FinetuneConfig(), nobody, Quiet())
    assert len(found) == 1
    assert how["suspect"] >= 3


def test_an_interrupted_fold_promises_nothing(run, student_folder):
    from distill.errors import Interrupted

    fill(run, few_pairs(20), Task("say", "text", "Say it."))

    def interrupted(*_):
        raise Interrupted("interrupted after step 3 of 9; it is kept")

    task = Task("say", "text", "Say it.")
    with pytest.raises(Interrupted, match="has to be done anew") as caught:
        find(run, task, SuspectsConfig(folds=2), FinetuneConfig(), interrupted, Quiet())
    assert "kept" not in caught.value.message
