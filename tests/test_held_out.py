"""The rows compare asks about: none trained on or shown, each once, and what is told of them."""

import json

import msgspec
import pytest

from distill.ask import student_messages
from distill.config import CompareConfig
from distill.errors import DataError
from distill.held_out import gather_rows, gold_shots, shown_to_the_teacher
from distill.score.text import normalised
from distill.store import jsonl
from distill.store.run import digest
from distill.store.taskfile import read_task, write_task
from distill.systems import Teaching
from distill.types import Example, Message, Pair, PromptChoice, Task
from tests.conftest import MOOD, sentence
from tests.test_generate import go

TALK = Task("talk", "chat", "Help.")
SEEDS = [(sentence(n, mood), mood) for n, mood in enumerate(("happy", "sad") * 4, 900)]


def talk(*said):
    """A conversation of ours whose last entry is the answer."""
    roles = ("user", "assistant") * len(said)
    *messages, answer = (Message(role, text) for role, text in zip(roles, said, strict=False))
    return Pair.make(tuple(messages), answer.content, "imported")


def pairs(*rows):
    return [Pair.make(student_messages(MOOD, text), answer, "made") for text, answer in rows]


def rows_file(path, rows):
    path.write_text("".join(json.dumps({"input": text, "output": said}) + "\n" for text, said in rows))
    return path


def gathered(run, gold=None, **splits):
    for name, rows in splits.items():
        jsonl.replace(run.splits[name], rows)
    return gather_rows(run, CompareConfig(gold=gold), read_task(run.task))


@pytest.fixture
def chat(run):
    write_task(run.task, TALK)
    return run


def test_an_opener_that_was_trained_on_is_left_out_and_the_rest_of_its_conversation_asked(chat):
    test = [talk("hello", "hi", "my card is gone", "block it"), talk("where are you", "in Rome")]
    found = gathered(chat, train=[talk("Hello!", "good day")], test=test)
    assert [row.answer for row in found.splits["test"]] == ["block it", "in Rome"]
    (told,) = found.told
    assert told.startswith("1 answers of test conversations were left out")


def test_an_earlier_turn_of_a_training_conversation_is_no_test_row(chat):
    train = [talk("hello", "hi", "my card is gone", "block it", "and now", "wait")]
    test = [talk("hello", "good day"), talk("hello", "hi", "my card is gone", "call us", "thanks", "bye")]
    found = gathered(chat, train=train, test=test)
    assert [row.answer for row in found.splits["test"]] == ["bye"]
    assert found.told[0].startswith("3 answers of test conversations were left out")


def test_a_conversation_that_was_trained_on_as_a_whole_is_still_refused(chat):
    both = talk("hello", "hi", "my card is gone", "block it")
    with pytest.raises(DataError, match=f"1 test rows stand in the training rows too: {both.id}"):
        gathered(chat, train=[both], test=[both, talk("where are you", "in Rome")])


def test_gold_rows_in_the_prompts_own_shots_are_left_out(run, tmp_path):
    shot, fresh = SEEDS[:2]
    task = msgspec.structs.replace(MOOD, prompt=PromptChoice("few-shot-1", shots=(Example(*shot),)))
    write_task(run.task, task)
    found = gathered(run, rows_file(tmp_path / "gold.jsonl", [shot, fresh]))
    assert [row.input for row in found.splits["gold"]] == [fresh[0]]
    assert found.gold_left_out == 1


@pytest.mark.parametrize(("step", "flag"), [("explore", "gold"), ("generate", "seeds")])
def test_gold_that_chose_the_prompt_is_said_to_flatter_the_teacher(run, tmp_path, step, flag):
    write_task(run.task, msgspec.structs.replace(MOOD, prompt=PromptChoice("zero-shot", n=24)))
    gold = rows_file(tmp_path / "gold.jsonl", SEEDS)
    other = rows_file(tmp_path / "other.jsonl", SEEDS[:2])
    assert not gathered(run, gold).told
    run.record(step, {flag: str(gold)})
    assert any("its score on them is flattered" in told for told in gathered(run, gold).told)
    assert not gathered(run, other).told
    run.record(step, {flag: "moved.jsonl"})
    run.finish(step, {}, {f"{flag} file": digest(gold)})
    assert any("its score on them is flattered" in told for told in gathered(run, gold).told)
    assert not gathered(run, other).told


def test_the_teacher_compared_is_asked_as_it_was_when_it_made_the_data(run, ledgered, tmp_path):
    task = msgspec.structs.replace(MOOD, prompt=PromptChoice("few-shot-2", n=24))
    write_task(run.task, task)
    teacher, script = ledgered()
    go(run, teacher, n=40, seeds=rows_file(tmp_path / "seeds.jsonl", SEEDS), agreement="on")
    asked = {request.messages for request, _ in script.requests}
    teaching = Teaching.of(run, task)
    made = [pair for path in run.splits.values() for _, pair in jsonl.read(path, Pair)]
    assert len(made) == 40
    assert all(teaching.request(pair).messages in asked for pair in made)
    shown = [message.content for message in teaching.request(made[0]).messages]
    assert [text for text, _ in SEEDS if any(text in said for said in shown)] == [
        text for text, _ in SEEDS[:4]
    ]
    assert shown_to_the_teacher(task, gold_shots(run)) >= {normalised(text) for text, _ in SEEDS[:4]}
    (tmp_path / "seeds.jsonl").unlink()  # what was shown is kept in the run
    found = gathered(run, rows_file(tmp_path / "gold.jsonl", SEEDS))
    assert [row.input for row in found.splits["gold"]] == [text for text, _ in SEEDS[4:]]


def test_gold_rows_nearly_trained_on_are_counted_and_named(run, tmp_path):
    (trained, mood), (fresh, other) = SEEDS[:2]
    near = trained.replace(" ", ", ", 1).replace("happy", "happily")
    gold = rows_file(tmp_path / "gold.jsonl", [(near, mood), (fresh, other), (trained.upper(), mood)])
    found = gathered(run, gold, train=pairs((trained, mood)))
    assert [row.input for row in found.splits["gold"]] == [near, fresh]
    assert found.gold_left_out == 1
    assert found.told == (
        "1 of 2 gold rows are near copies of training rows (70% alike or more), which the student may know"
        f" by heart: {near:.60}.",
    )
    run.record("generate", {"near_duplicate": 1.0})
    assert gathered(run, gold).told == ()


def test_a_row_in_other_case_or_spaces_counts_once_and_with_another_answer_is_told(run, tmp_path):
    (one, mood), (two, other) = SEEDS[:2]
    rows = [(one, mood), (one.upper(), mood), (f" {one}  ", mood), (two, other), (two, mood)]
    found = gathered(run, rows_file(tmp_path / "gold.jsonl", rows), test=pairs(*rows[:4]))
    assert [(row.input, row.answer) for row in found.splits["gold"]] == [
        (one, mood),
        (two, other),
        (two, mood),
    ]
    assert (found.gold_duplicates, found.test_duplicates) == (2, 2)
    assert found.told == (
        "1 gold inputs stand there with different answers, so that nobody can be right on all rows: "
        f"{two:.60}.",
    )
