"""The plan: a balanced grid, and attributes that the teacher proposes where the task has none."""

import asyncio

from distill.planning import has_attributes, propose_attributes
from distill.store.taskfile import read_task, update_attributes, write_task
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Completion, Label, Quiet, Task
from distill.wording import FIXED
from tests.conftest import MOOD

PLAIN = Task("mood", "label", "Decide the mood.", "note", labels=(Label("happy"), Label("sad")))


def proposed(script, n=10, task=PLAIN):
    return asyncio.run(propose_attributes(task, ScriptedTeacher(script), n, seed=1, progress=Quiet()))


def lists(request, _):
    text = request.messages[-1].content
    if "narrower" in text:
        topic = text.split("'")[1]
        return "\n".join(f"{number}. {topic} part {number}" for number in range(1, 7))
    if "people" in text:
        return "- a nurse\n- a teacher\n- a driver\n- a student\n- A nurse"
    return "Here are some:\n1. the weather\n2. a birthday\n3) work\n* travel\n5. happy news\n6. food."


def test_topics_and_writers_are_read_from_any_list_and_none_gives_the_label_away():
    found = proposed(lists)
    assert found["about"] == ("the weather", "a birthday", "work", "travel", "food")
    assert found["as written by"] == ("a nurse", "a teacher", "a driver", "a student")
    assert FIXED.items() <= found.items()


def test_many_rows_take_each_topic_apart():
    found = proposed(lists, n=1000)
    assert len(found["about"]) == 30
    assert "the weather part 3" in found["about"]


def test_teacher_that_answers_in_prose_leaves_the_fixed_attributes():
    assert proposed(lambda request, sample: "I am not sure what you mean by that.") == FIXED


def test_list_that_was_cut_loses_its_last_entry():
    cut = Completion(text="1. one\n2. two\n3. three\n4. four\n5. fi", finish_reason="length", cost_usd=0.0)
    assert proposed(lambda request, sample: cut)["about"] == ("one", "two", "three", "four")


def test_proposals_are_written_into_the_file_without_touching_the_rest(tmp_path):
    path = tmp_path / "task.toml"
    write_task(path, PLAIN)
    path.write_text(path.read_text() + "\n# mine\n")
    update_attributes(path, {"about": ("rain", "sun")})
    assert read_task(path).attributes == {"about": ("rain", "sun")}
    assert "# mine" in path.read_text()
    assert has_attributes(read_task(path))
    assert has_attributes(MOOD)
    assert not has_attributes(PLAIN)
