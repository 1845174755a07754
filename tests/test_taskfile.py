"""task.toml: what a person may write, and what they are told when it is wrong."""

import msgspec
import pytest

from distill.errors import UsageError
from distill.store.taskfile import check_task, read_task, update_prompt, write_task
from distill.types import AnswerField, Example, Label, PromptChoice, Task

GOOD = """# mine
name = "mood"
kind = "label"
instruction = "Decide the mood."

[[labels]]
name = "happy"
description = "glad"
examples = ["yay"]

[[labels]]
name = "sad"

[attributes]
topic = ["work", "home"]
"""


def test_hand_written_task_is_read(tmp_path):
    path = tmp_path / "task.toml"
    path.write_text(GOOD)
    task = read_task(path)
    assert task.label_names == ("happy", "sad")
    assert task.attributes == {"topic": ("work", "home")}
    assert task.input_noun == "text"


def test_labels_that_no_answer_can_tell_apart_are_refused_and_others_are_not():
    for one, other in (("C", "c"), ("A-1", "A 1"), ("not_spam", "not spam")):
        task = Task("t", "label", "Do.", labels=(Label("x"), Label(one), Label(other)))
        with pytest.raises(UsageError, match=f"'{one}' and '{other}'"):
            check_task(task, where="task.toml")
    fine = Task("t", "label", "Do.", labels=tuple(map(Label, ("C", "C++", "C#", "+", "-", "A-1", "A1"))))
    assert check_task(fine, where="task.toml") == fine


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "label"', 'kind = "ranking"'), "ranking"),
        (('name = "mood"', 'name = "../../x"'), "letters, digits"),
        (('instruction = "Decide the mood."', 'instruction = " "'), "instruction is empty"),
        (('name = "sad"', 'name = "happy"'), "two labels or more"),
        (('kind = "label"', 'kind = "text"'), "has no labels"),
        (('topic = ["work", "home"]', "topic = []"), "no values"),
        (("[attributes]", "[attribute]"), "attribute"),
        (('name = "sad"', 'name = "Happy"'), "'happy' and 'Happy' are told apart by case or signs"),
        (('name = "happy"', 'name = "sad."'), "'sad.' and 'sad' are told apart by case or signs"),
        (('name = "mood"', 'name = "mood'), "not TOML"),
        (('kind = "label"\n', ""), "kind"),
    ],
)
def test_wrong_task_says_what_and_where(tmp_path, change, says):
    path = tmp_path / "task.toml"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    with pytest.raises(UsageError, match=says) as caught:
        read_task(path)
    assert str(path) in caught.value.where
    assert caught.value.hint


def test_absent_and_undecodable_files_are_errors(tmp_path):
    with pytest.raises(UsageError, match="no such task file"):
        read_task(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(UsageError, match="cannot be read"):
        read_task(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    "task",
    [
        Task("a", "label", "Do.", labels=(Label("x", "d", ("e", 'q"\\')), Label("y"))),
        Task("b", "json", "Do.", fields=(AnswerField("f", "integer"), AnswerField("g", choices=("1", "2")))),
        Task(
            "c",
            "text",
            "Zeile\nzwei ✓ 中文",
            examples=(Example("i", "o"),),
            prompt=PromptChoice("zero-shot", 0.5, 0.2, 0.8, 9),
        ),
        Task("d", "text", "Do.", prompt=PromptChoice("zero-shot"), attributes={"my topic": ("a", "b")}),
    ],
)
def test_written_task_is_read_back_the_same(tmp_path, task):
    write_task(tmp_path / "t.toml", task)
    assert read_task(tmp_path / "t.toml") == task


def test_prompt_is_recorded_and_the_authors_words_stay(tmp_path):
    path = tmp_path / "task.toml"
    path.write_text(GOOD)
    task = msgspec.structs.replace(read_task(path), prompt=PromptChoice("cued-2", 0.75, 0.6, 0.85, 40))
    update_prompt(path, task)
    update_prompt(path, task)
    assert path.read_text().startswith("# mine\n")
    assert read_task(path) == task
