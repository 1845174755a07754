"""Templates named by the teacher: distinct names, and a name where it gives none."""

import asyncio
import json

import pytest

from distill.logged_tasks import write_picked
from distill.naming import name_all, name_request
from distill.store import jsonl
from distill.store.logs import read_logs
from distill.traffic.clusters import Row
from distill.types import Message, Quiet
from tests.traffic.test_clusters import labelled, line, sort
from tests.traffic.test_templates import sentences


def clusters(tmp_path):
    poems = [
        line(f"Make a short poem about this, please: {text}", text[::-1]) for text in sentences(30, seed=5)
    ]
    return sort(tmp_path, labelled(40) + poems).clusters


def named(tmp_path, ledgered, script):
    teacher, asked = ledgered(script, step="explore")

    async def session():
        try:
            return await name_all(teacher, clusters(tmp_path), Quiet())
        finally:
            await teacher.close()

    return asyncio.run(session()), asked


def test_each_template_is_named_with_one_call(tmp_path, ledgered):
    def script(request, sample):
        mood = "happy or sad" in request.messages[-1].content
        return json.dumps({"name": "The Mood!" if mood else "Poems", "description": "In goes\na note."})

    found, asked = named(tmp_path, ledgered, script)
    assert [each.name for each in found] == ["the-mood", "poems"]
    assert found[0].description == "In goes a note."
    assert len(asked.requests) == 2


def test_no_name_gives_way_to_the_templates_words(tmp_path, ledgered):
    found, _ = named(tmp_path, ledgered, lambda request, sample: "I would rather not.")
    assert [each.name for each in found] == ["note-happy-mood", "make-short-poem-about"]


def test_a_taken_name_gives_way_too(tmp_path, ledgered):
    found, _ = named(tmp_path, ledgered, lambda request, sample: '{"name": "same", "description": 3}')
    assert [each.name for each in found] == ["same", "make-short-poem-about"]


def test_free_answers_and_inputs_are_not_shown_to_the_namer(tmp_path):
    labels, poems = (name_request(cluster).messages[-1].content for cluster in clusters(tmp_path))
    assert "happy | Sad." in labels or "Sad. | happy" in labels
    assert "look like this: free text" in poems
    assert not any(text in labels + poems for text in sentences(40) + sentences(30, seed=5))


@pytest.mark.parametrize("said", ["happy", '{"vendor": "Acme", "total": 7}', '{"error": "none"}'])
def test_picked_requests_are_read_as_they_were_written(tmp_path, said):
    turns = (Message("user", "Take out the vendor."),)
    rows = [Row(turns, said, template) for template in (0, 1, 0)]
    jsonl.replace(tmp_path / "rows.jsonl", rows)
    assert write_picked(tmp_path / "rows.jsonl", 0, tmp_path / "picked.jsonl") == 2
    read = read_logs(tmp_path / "picked.jsonl")
    assert [(entry.messages, entry.response) for entry in read.entries] == [(turns, said)] * 2
