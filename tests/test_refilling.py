"""How many pairs failures are worth, how they are dealt to clusters, and what a writer is shown."""

import asyncio

import pytest

from distill.ask import student_messages
from distill.clustering import Cluster, Failures, Miss
from distill.config import GenerateConfig
from distill.refilling import SHOTS, derived, slots
from distill.steps.refill import refill
from distill.store import jsonl
from distill.store.refills import of_task
from distill.store.run import digest
from distill.store.taskfile import write_task
from distill.systems import adapter_digest
from distill.types import Example, Label, Pair, Quiet, Task

MOOD = Task(
    "mood",
    "label",
    "Say the mood.",
    "note",
    labels=tuple(Label(name, examples=(f"own {name} example",)) for name in ("happy", "sad", "calm")),
)
TEXT = Task("t", "text", "Explain the thing.", "thing", examples=(Example("own input", "own answer"),))


def cluster(given, answered, count, text="missed note"):
    rows = tuple(
        Miss(row=f"{given}{n}", split="valid", input=f"{text} {given} {n}", gold=given or "gold", answer="x")
        for n in range(count)
    )
    return Cluster(
        id=given,
        name=f"{given} as {answered}",
        given=given,
        answered=answered,
        count=count,
        share=0.1,
        rows=rows,
    )


@pytest.mark.parametrize(
    ("misses", "train", "n"), [(1, 1000, 10), (30, 400, 100), (30, 10, 20), (0, 400, 0), (2, 8, 20)]
)
def test_how_many_pairs_misses_are_worth(misses, train, n):
    assert derived(misses, train) == n


def test_pairs_are_dealt_by_size_and_to_both_labels():
    clusters = [cluster("happy", "sad", 8), cluster("calm", "", 4)]
    found = slots(MOOD, clusters, 12, [])
    assert [(each.cluster.given, each.asked, each.pairs) for each in found] == [
        ("happy", "happy", 4),
        ("happy", "sad", 4),
        ("calm", "calm", 4),
    ]
    assert sum(each.pairs for each in slots(MOOD, clusters, 37, [])) == 37


def test_more_clusters_than_pairs_leave_the_smallest_out():
    clusters = [cluster("happy", "sad", 9), cluster("sad", "happy", 3), cluster("calm", "sad", 1)]
    found = slots(MOOD, clusters, 4, [])
    assert {each.cluster.given for each in found} == {"happy", "sad"}
    assert sum(each.pairs for each in slots(MOOD, clusters, 1, [])) == 1


def test_a_writer_is_shown_the_clusters_rows_and_for_the_other_label_what_is_like_them():
    near = [f"missed note happy {n} at last" for n in range(SHOTS)]
    far = [f"nothing like it, {n} of a kind" for n in range(SHOTS)]
    train = [Pair.make(student_messages(MOOD, text), "sad", "written") for text in (*far, *near)]
    happy, sad = slots(MOOD, [cluster("happy", "sad", 20)], 8, train)
    shown = {label.name: label.examples for label in happy.task.labels}
    assert shown["happy"] == tuple(f"missed note happy {n}" for n in range(SHOTS))
    assert shown["sad"] == ("own sad example",)
    assert set({label.name: label.examples for label in sad.task.labels}["sad"]) == set(near)
    # Where train has none of that label, the task's own examples stay.
    _, alone = slots(MOOD, [cluster("happy", "sad", 20)], 8, [])
    assert {label.name: label.examples for label in alone.task.labels}["sad"] == ("own sad example",)


def test_free_answers_are_refilled_and_voted_on(run, ledgered):
    write_task(run.task, TEXT)
    held = [Pair.make(student_messages(TEXT, f"held out thing {n}"), "gold", "written") for n in range(6)]
    train = [Pair.make(student_messages(TEXT, f"trained thing {n}"), "gold", "written") for n in range(6)]
    for name, pairs in (("train", train), ("valid", held[:3]), ("test", held[3:])):
        jsonl.replace(run.splits[name], pairs)
    jsonl.replace(run.pairs, train + held)
    receipt = {"accepted": 12, "asked_for": 12, "tried": 12, "dropped": {}, "by_answer": {}, "splits": {}}
    run.finish("generate", receipt, {})
    run.adapter.mkdir(parents=True)
    (run.adapter / "weights").write_bytes(b"w")
    made_from = {"adapter": adapter_digest(run), "task.toml": of_task(TEXT)}
    found = Failures(task="t", sources=(), clusters=(cluster("", "", 4),), reading=(), made_from=made_from)
    jsonl.replace_json(run.failures, found)

    def script(request, _sample):
        said = request.messages[-1].content
        if said.startswith("Write a "):
            return f"a {request.seed} of {request.seed % 97} kinds {request.seed % 89}"
        return "the very same answer"

    async def session():
        teacher, scripted = ledgered(script)
        try:
            summary = await refill(run, GenerateConfig(n=1, lift_rows=0), 5, teacher, Quiet())
            return summary, scripted
        finally:
            await teacher.close()

    summary, scripted = asyncio.run(session())
    assert summary["refills"][0]["accepted"] == 5
    new = [pair for _, pair in jsonl.read(run.splits["train"], Pair)][6:]
    assert {pair.answer for pair in new} == {"the very same answer"}
    assert digest(run.failures) == summary["refills"][0]["failures"]
    writing = [request for request, _ in scripted.requests if request.temperature == 1.0]
    assert any("missed note" in message.content for request in writing for message in request.messages)
