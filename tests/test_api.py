"""The three-line API on real parts: rows in, a student trained, answers, scores, saved and opened again."""

import json
import subprocess
import sys

import pytest

from distill.errors import DataError, GateFailed, UsageError
from distill.store import jsonl
from distill.store.run import Run
from distill.types import Message, Pair, content_id
from tests.student.tiny import byte_tokenizer, few_pairs, tiny_model
from tests.student.tiny_encoder import labelled, save_encoder

pytestmark = pytest.mark.slow
QUICK = {"device": "cpu", "dtype": "float32", "engine": "loop", "batch_size": 8}


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    # What follows the letters keeps the rows from being near-duplicates, which go to one split together.
    noise = [content_id(place)[:12].translate(str.maketrans("abc", "xyz")) for place in range(51)]
    lines = [
        {"input": f"{pair.messages[-1].content[0] * 6} {tail}", "output": pair.answer}
        for pair, tail in zip(labelled(51), noise, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def encoder(tmp_path):
    return save_encoder(tmp_path / "encoder")


@pytest.fixture
def language_model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "lm")
    byte_tokenizer().save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def student_of(base, **flags):
    from distill import Student

    return Student(str(base), **{**QUICK, **flags})


def test_importing_distill_loads_nothing_heavy():
    code = "import sys, distill; assert 'Student' in distill.__all__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "click", "msgspec", "rich", "openai", "distill.api"} & {*done.stdout.split()}


def test_distill_has_no_other_lazy_name():
    import distill

    with pytest.raises(AttributeError, match="Teacher"):
        _ = distill.Teacher


def test_a_classifier_in_three_lines(encoder, rows, tmp_path):
    student = student_of(encoder, student_kind="classifier", epochs=12, learning_rate=1e-2)
    sizes = student.load_jsonl(rows)
    assert sum(sizes.values()) == 51
    assert min(sizes.values()) >= 3
    summary = student.train()
    assert summary["student_kind"] == "classifier"
    assert "one label" in summary["stops"]["skipped"]
    assert student.predict(["aaaaaa 1f2e", "bbbbbb 9", "cccccc 77"]) == ["good", "bad", "so so"]
    scores = student.evaluate()
    assert (scores["split"], scores["metric"], scores["tuned"]["n"]) == ("test", "accuracy", sizes["test"])
    assert scores["tuned"]["value"] > scores["base"]["value"]
    assert scores["difference"]["value"] == pytest.approx(scores["tuned"]["value"] - scores["base"]["value"])
    assert scores["tuned"]["low"] <= scores["tuned"]["value"] <= scores["tuned"]["high"]
    from distill import Student

    student.save(tmp_path / "saved")
    again = Student.load(tmp_path / "saved")
    assert again.predict(["aaaaaa 1f2e", "bbbbbb 9"]) == ["good", "bad"]
    again.save(tmp_path / "copy")
    assert Student.load(tmp_path / "copy").predict(["cccccc 77"]) == ["so so"]
    assert not list((tmp_path / "saved").rglob("*.jsonl"))
    with pytest.raises(UsageError, match="not empty"):
        student.save(tmp_path / "saved")
    with pytest.raises(UsageError, match="no rows are held out"):
        again.evaluate()


def test_a_language_model_in_three_lines(language_model, rows, tmp_path):
    student = student_of(language_model, max_steps=30, learning_rate=1e-2)
    student.load_jsonl(rows)
    summary = student.train()
    assert summary["last_loss"] < summary["first_loss"]
    said = student.predict(["aaaa", [Message("user", "bb")], [{"role": "user", "content": "cc"}]])
    assert len(said) == 3
    student.save(tmp_path / "saved")
    from distill import Student

    assert Student.load(tmp_path / "saved").predict(["aaaa", "bbbb"]) == student.predict(["aaaa", "bbbb"])
    assert set(student.evaluate()) == {"split", "metric", "base", "tuned", "difference"}


def test_a_text_is_asked_as_the_training_rows_were(language_model, rows, monkeypatch):
    student = student_of(language_model, max_steps=1)
    student.load_jsonl(rows)
    with pytest.raises(GateFailed, match=r"of the answers to \d+ valid rows end by themselves"):
        student.train()  # one step teaches no one to stop; what was trained is kept
    assert student.run.summary("finetune")["stops"]["share"] < 0.95
    assert student.predict(["aaaa"]) != []
    trained_on = [pair for _, pair in jsonl.read(student.run.splits["train"], Pair)]
    assert student._conversation("aaaa")[:-1] == trained_on[0].messages[:-1]
    assert student._conversation("aaaa")[0].role == "system"


def test_pairs_of_a_run_keep_their_split(language_model, tmp_path):
    before = Run.open(tmp_path / "runs", "before", create=True)
    pairs = few_pairs(40)
    pairs = list({pair.id: pair for pair in pairs}.values())
    parts = {"train": pairs[:20], "valid": pairs[20:24], "test": pairs[24:]}
    jsonl.replace(before.pairs, pairs)
    for name, part in parts.items():
        jsonl.replace(before.splits[name], part)
    student = student_of(language_model)
    sizes = student.load_jsonl(before.pairs)
    assert sizes == {name: len(part) for name, part in parts.items()}
    assert student.task.label_names == ("bad", "good")
    assert student.load_jsonl(before.pairs) == sizes


def test_a_run_folder_of_ones_own_is_used(language_model, rows, tmp_path):
    student = student_of(language_model, run=tmp_path / "runs" / "mine")
    student.load_jsonl(rows)
    assert (tmp_path / "runs" / "mine" / "2-generate" / "train.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "says", "where"),
    [
        ({"epoch": 2}, "no flag 'epoch'", "epoch"),
        ({"epochs": -1}, "not in the range", "--epochs"),
        ({"method": "lorra"}, "lora", "--method"),
    ],
)
def test_flags_are_checked_as_on_the_command_line(flags, says, where):
    with pytest.raises(UsageError, match=says) as caught:
        student_of("local", **flags)
    assert where in caught.value.where


def test_nothing_loaded_nothing_trained_nothing_saved(language_model, tmp_path):
    from distill import Student

    student = student_of(language_model)
    with pytest.raises(UsageError, match="nothing is trained"):
        student.predict(["x"])
    with pytest.raises(UsageError, match="nothing is trained"):
        student.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with pytest.raises(UsageError):
        student.train()
    with pytest.raises(UsageError, match="no saved student"):
        Student.load(tmp_path)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="empty"):
        student.load_jsonl(empty)
