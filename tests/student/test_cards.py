"""The card beside a student: who wrote the pairs, whose licence, and code that runs as it stands there."""

import re

import pytest

from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student import card
from distill.types import Label, Quiet, Task
from distill.weights import Weights
from tests.student.test_classifier import TASK
from tests.student.tiny import SYSTEM, few_pairs
from tests.student.tiny_encoder import labelled, save_encoder

LETTERS = Task("letters", "label", "Say if it is good or bad.", labels=(Label("good"), Label("bad")))
IMPORTED = {"file": "mine.jsonl", "digest": "x", "tried": 26, "accepted": 24, "dropped": {"empty": 2}}
WROTE = {"n": 24, "teacher": "gpt-x @ https://example.com/v1"}


def test_what_was_imported_is_nobodys_whoever_was_asked_since(tmp_path):
    """explore, compare and suspects write into run.json whom they asked."""
    run = Run.open(tmp_path, "r", create=True)
    run.finish("generate", {"accepted": 24, "tried": 26, "imports": [IMPORTED]}, {"imports": ["x"]})
    run.record("teacher", {"teacher": "gpt-x"})
    text = "\n".join(card.data_lines(run.summary("generate")))
    assert "brought in" in text
    assert "gpt-x" not in text


def test_what_a_teacher_wrote_is_its_own_also_beside_imports(tmp_path):
    run = Run.open(tmp_path, "r", create=True)
    run.finish("generate", {"accepted": 48, "tried": 60, "imports": [IMPORTED]}, WROTE)
    run.record("teacher", {"teacher": "another"})
    text = "\n".join(card.data_lines(run.summary("generate")))
    assert "Written by the teacher gpt-x." in text
    assert "not written by the teacher: 24" in text
    assert "example.com" not in text


def test_a_hub_models_licence_is_read_from_the_cache_alone(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    readme = tmp_path / "models--a--b" / "snapshots" / "c1" / "README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("---\nlanguage: en\nlicense: mit\n---\n# B\n")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("c1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", asked)
    assert card.licence_of(Weights("a/b", None, "a/b")) == "mit"
    assert card.licence_of(Weights("a/c", None, "a/c")) == card.UNKNOWN


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def student_of(tmp_path, folder, kind, **flags):
    """A trained and saved `Student`."""
    from distill import Student

    task, pairs = (TASK, labelled(24)) if kind == "classifier" else (LETTERS, few_pairs(24))
    flags = {"device": "cpu", "dtype": "float32", "max_steps": 2, "batch_size": 4, **flags}
    student = Student(str(folder), task, run=tmp_path / "runs" / "r", student_kind=kind, **flags)
    write_task(student.run.task, task)
    jsonl.replace(student.run.splits["train"], pairs[:16])
    jsonl.replace(student.run.splits["valid"], pairs[16:])
    finetune(student.run, student.config, Quiet())
    student.save(tmp_path / "saved")
    return student


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rate"), [("lora", 1e-2), ("full", 1e-3)])
def test_the_code_on_a_language_models_card_runs(tmp_path, student_folder, capsys, method, rate):
    student = student_of(tmp_path, student_folder, "causal", method=method, learning_rate=rate, max_steps=100)
    text = (tmp_path / "saved" / "adapter" / "README.md").read_text()
    ours, plain = blocks(text)
    assert "from distill import Student" in ours
    assert ("import peft" in plain) == (method == "lora")
    for code in (ours, plain):
        code = code.replace("FOLDER", str(tmp_path / "saved")).replace(
            'base = "tiny"', f'base = "{student_folder}"'
        )
        exec(code, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(student.predict(["an input"]))
    assert first == str([second])
    assert second
    assert SYSTEM in plain


@pytest.mark.slow
def test_a_classifier_has_a_card_and_its_code_runs(tmp_path, capsys):
    folder = save_encoder(tmp_path / "encoder")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    student = student_of(tmp_path, folder, "classifier")
    text = (tmp_path / "saved" / "adapter" / "README.md").read_text()
    assert text == (student.run.adapter / "README.md").read_text()
    assert "license: mit" in text
    assert "labels good, bad, so so" in text
    assert re.search(r"validation loss [\d.]+ nats a label, [\d.]+% of 8 labels right", text)
    assert "brought in" in text
    (code,) = blocks(text)
    exec(code.replace("FOLDER", str(tmp_path / "saved")), {})
    assert capsys.readouterr().out.strip() == str(student.predict(["an input"]))
