"""Tasks out of a brief: in rounds, of several kinds, none twice, out of whatever a model says."""

import asyncio
import json

import pytest

from distill.errors import TeacherError, UsageError
from distill.proposing import BRIEF_CHARS, alike, brief_parts, propose
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Label, Quiet, Task


def entry(name, instruction, labels=("a", "b"), kind="label"):
    return {"name": name, "kind": kind, "instruction": instruction, "labels": list(labels), "fields": ["f"]}


def proposed(script, brief="a bank", count=3):
    teacher = ScriptedTeacher(script)
    return asyncio.run(propose(teacher, brief, count, seed=0, progress=Quiet())), teacher.requests


def test_the_same_task_in_other_words_is_proposed_once():
    rounds = [
        [
            entry("intent", "Classify the intent of a customer's message.", ("loan", "card")),
            entry("intent-2", "Classify the customer message's intent.", ("x", "y")),
            entry("topic", "Say what an email is about.", ("Card", "loan")),
        ],
        [entry("reply", "Write a short reply to a complaint.", kind="text")],
    ]
    script = iter(rounds)
    tasks, requests = proposed(lambda r, s: json.dumps({"tasks": next(script)}), count=2)
    assert [task.name for task in tasks] == ["intent", "reply"]
    assert "of the kinds json, text, chat first" in requests[1][0].messages[-1].content
    assert "do not repeat: intent" in requests[1][0].messages[-1].content


def test_tasks_that_share_a_word_or_a_label_are_not_the_same():
    one = Task("a", "label", "Decide the mood of a note.", labels=(Label("yes"), Label("no")))
    other = Task("b", "label", "Is this note about money?", labels=(Label("money"), Label("no")))
    assert not alike(one, other)
    assert alike(one, Task("c", "label", "Anything else here", labels=(Label("no"), Label("yes"))))


def test_a_conversation_may_be_proposed():
    tasks, _ = proposed(
        lambda r, s: json.dumps({"tasks": [entry("help", "Help a customer to log in.", kind="chat")]}),
        count=1,
    )
    assert tasks[0].kind == "chat"


def test_a_teacher_that_writes_prose_is_asked_plainly_at_last():
    def script(request, sample):
        if "name; instruction" in request.messages[-1].content:
            return "Sure!\n1. mood; Decide the mood of a note; note; happy, sad\n2. nothing to see"
        return "I would suggest to look at the mood of your notes, which is always worth it."

    tasks, requests = proposed(script)
    assert [(task.name, task.label_names) for task in tasks] == [("mood", ("happy", "sad"))]
    assert len(requests) == 4


def test_what_a_useless_teacher_said_is_shown():
    with pytest.raises(TeacherError, match=r"its last answer: 'Moods are nice\.'"):
        proposed(lambda r, s: "Moods are nice.")


def test_a_brief_in_another_language_is_passed_on_and_names_lose_their_accents():
    def script(request, sample):
        assert "in the language of the brief" in request.messages[0].content
        assert "café à Genève" in request.messages[-1].content
        return json.dumps(
            {
                "tasks": [
                    entry("Humeur générale", "Décide l'humeur.", ("gai", "triste")),
                    entry("心情", "判断心情。"),
                ]
            }
        )

    tasks, _ = proposed(script, "un café à Genève", 2)
    assert tasks[0].name == "humeur-generale"
    assert tasks[0].label_names == ("gai", "triste")
    assert tasks[1].name.startswith("task-")


def test_a_brief_may_be_a_file_and_each_round_reads_another_piece(tmp_path):
    path = tmp_path / "README.md"
    parts = [f"{word} " * 300 for word in ("first", "second", "third")]
    path.write_text("\n\n".join(parts), encoding="utf-8")
    seen = []

    def script(request, sample):
        seen.append(request.messages[-1].content)
        return "nothing"

    with pytest.raises(TeacherError):
        proposed(script, str(path))
    assert "first" in seen[0]
    assert "second" in seen[1]
    assert all(len(text) < BRIEF_CHARS + 1000 for text in seen)


def test_a_text_without_blank_lines_is_cut_all_the_same():
    assert [len(piece) for piece in brief_parts("x" * (BRIEF_CHARS + 5))] == [BRIEF_CHARS, 5]


@pytest.mark.parametrize("content", [b"", b"  \n", b"\xff\xfe\xff"])
def test_an_unfit_file_is_named(tmp_path, content):
    path = tmp_path / "brief.md"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        brief_parts(str(path))
    assert caught.value.where == str(path)
