"""A user's own folder of templates: it goes before the shipped one, and a mistake is named by its file."""

from pathlib import Path

import pytest

from distill import prompts
from distill.ask import ANSWER_HOLES, answer_request
from distill.errors import UsageError
from distill.types import Task
from tests.conftest import MOOD


def put(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_own_templates_go_before_the_shipped_ones_while_it_lasts(tmp_path):
    own = put(tmp_path / "own", "answer", "### system\nMine: $instruction $described\n### user\n$input\n")
    before = answer_request(MOOD, "zero-shot", "x", max_tokens=8)
    with prompts.overlaid(own, ANSWER_HOLES):
        mine = answer_request(MOOD, "zero-shot", "x", max_tokens=8)
        other = answer_request(MOOD, "cued-2", "x", max_tokens=8)
    assert mine.messages[0].content.startswith("Mine: Decide the mood of a note. happy: glad")
    assert other == answer_request(MOOD, "cued-2", "x", max_tokens=8)
    assert answer_request(MOOD, "zero-shot", "x", max_tokens=8) == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("answer", "### user\n$inptu\n", "a hole nobody fills: $inptu"),
        ("answer", "### user\n$input for $5\n", "'$' that starts no hole"),
        ("propose-tasks", "### user\n$input\n", "a hole nobody fills: $input"),
        ("answr", "### user\n$input\n", "the name 'answr' is no template's"),
        ("student", "### user\n$input\n", "must stay as shipped"),
    ],
)
def test_a_mistake_is_named_by_its_file_before_anything_is_asked(tmp_path, name, text, said):
    own = put(tmp_path / "own", name, text)
    holes = ANSWER_HOLES if name != "propose-tasks" else ()
    with pytest.raises(UsageError) as caught, prompts.overlaid(own, holes, fixed=("student",)):
        pass
    assert said in caught.value.message
    assert caught.value.where == str(own / f"{name}.txt")


@pytest.mark.parametrize("own_files", [("zh/answer",), ("answer",), ("zh/answer", "answer")])
def test_own_templates_of_a_language_go_before_own_english_and_those_before_the_shipped(tmp_path, own_files):
    for file in own_files:
        put(tmp_path / "own" / Path(file).parent, "answer", f"### user\n{file} $input\n")
    chinese = Task("t", "text", "判断影评作者是否喜欢这部电影。")
    with prompts.overlaid(tmp_path / "own", ANSWER_HOLES):
        (asked,) = answer_request(chinese, "zero-shot", "x", max_tokens=8).messages
        english = answer_request(MOOD, "zero-shot", "x", max_tokens=8).messages[-1]
        assert prompts.path_of("role", "zh") == prompts.folder() / "zh" / "role.txt"
        assert prompts.path_of("role", "ru") == prompts.folder() / "role.txt"
    assert asked.content == f"{own_files[0]} x"
    assert english.content == ("answer x" if "answer" in own_files else "x")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("zh/answer", "### user\n$inptu\n", "a hole nobody fills: $inptu"),
        ("zh/answr", "### user\n$input\n", "the name 'answr' is no template's"),
        ("zh/student", "### user\n$input\n", "must stay as shipped"),
        ("german/answer", "### user\n$input\n", "'german' is no language"),
        ("de/format-label", "### user\n$labels\n", "a sentence has no '### ' lines"),
        ("format-label", "One of $labels for $input\n", "a hole nobody fills: $input"),
    ],
)
def test_a_mistake_in_a_language_or_a_sentence_is_named_too(tmp_path, file, text, said):
    path = tmp_path / f"{file}.txt"
    put(path.parent, path.stem, text)
    with pytest.raises(UsageError) as caught, prompts.overlaid(tmp_path, ANSWER_HOLES, fixed=("student",)):
        pass
    assert said in caught.value.message
    assert caught.value.where == str(path.parent if "no language" in said else path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no such folder"), prompts.overlaid(tmp_path / "absent"):
        pass
