"""Generate: N means N accepted, nothing is bought twice, every dropped row has its reason."""

import asyncio
import json
import re
from collections import Counter

import pytest

from distill.answering import Answering, first_said, reads_well
from distill.config import GenerateConfig
from distill.errors import DataError, DistillError, Interrupted
from distill.filters.chain import on_answers
from distill.planning import plan
from distill.steps.generate import frozen, generate, made_from
from distill.store import jsonl
from distill.store.taskfile import read_task, write_task
from distill.types import Candidate, Example, Pair, PromptChoice, Quiet, Task
from tests.conftest import MOOD, play, sentence


def go(run, teacher, **knobs):
    async def session():
        try:
            return await generate(run, GenerateConfig(**knobs), teacher, Quiet())
        finally:
            await teacher.close()

    return asyncio.run(session())


def rows(path, kind=dict):
    return [record for _, record in jsonl.read(path, kind)]


def test_exactly_n_accepted_balanced_and_split_without_overlap(run, ledgered):
    teacher, _ = ledgered()
    receipt = go(run, teacher, n=60)
    pairs = rows(run.pairs, Pair)
    assert receipt["accepted"] == len(pairs) == 60
    assert Counter(pair.answer for pair in pairs) == {"happy": 30, "sad": 30}
    splits = {name: {pair.id for pair in rows(path, Pair)} for name, path in run.splits.items()}
    assert sum(map(len, splits.values())) == len(set().union(*splits.values())) == 60
    assert len(splits["test"]) == 6
    assert all(
        pair.messages[-1].role == "user" and "happy, sad" in pair.messages[0].content for pair in pairs
    )
    assert receipt["cost_usd"] == 0.0
    assert run.summary("generate")["made_from"]["n"] == 60


def test_attribute_grid_is_used_evenly_for_each_label():
    cells = [cell for cell, _ in zip(plan(MOOD, 3), range(24), strict=False)]
    seen = Counter((cell.asked, *cell.attributes.values()) for cell in cells)
    assert len(seen) == 12
    assert set(seen.values()) == {2}
    assert cells == [cell for cell, _ in zip(plan(MOOD, 3), range(24), strict=False)]


def test_resume_buys_nothing_again_and_ends_with_the_same_pairs(run, ledgered):
    teacher, _ = ledgered()
    first = go(run, teacher, n=40)
    before = run.pairs.read_bytes()
    teacher, script = ledgered()
    again = go(run, teacher, n=40)
    assert again["calls_now"] == 0
    assert again["calls"] == first["calls"] > 0
    assert not script.requests
    assert run.pairs.read_bytes() == before
    assert first["accepted"] == again["accepted"] == 40


def test_more_pairs_later_keep_held_out_rows_held_out(run, ledgered):
    teacher, _ = ledgered()
    go(run, teacher, n=40)
    before = frozen(run)
    teacher, _ = ledgered()
    go(run, teacher, n=80)
    after = frozen(run)
    assert len(after) == 80
    assert {key: after[key] for key in before if key in after} == {
        key: before[key] for key in before if key in after
    }
    assert sum(key in after for key in before) >= 38


def test_rows_the_reader_disagrees_with_are_dropped_with_their_reason(run, ledgered):
    def wrong_third(request, sample):
        number = re.search(r"(happy|sad) (\d+)", request.messages[-1].content)
        return "sad" if number and int(number[2]) % 3 == 0 else play(request, sample)

    teacher, _ = ledgered(wrong_third)
    receipt = go(run, teacher, n=30)
    assert receipt["agreement"]["used"]
    dropped = [
        row
        for row in rows(run.candidates)
        if not row["verdict"]["keep"] and row["verdict"]["rule"] == "agreement"
    ]
    assert len(dropped) == receipt["dropped"]["agreement"] > 0
    assert all(int(row["input"].split()[-1]) % 3 == 0 and "happy" in row["verdict"]["why"] for row in dropped)
    assert receipt["tried"] == receipt["accepted"] + sum(receipt["dropped"].values())


def test_reader_that_is_mostly_wrong_is_no_filter_unless_told():
    def task(score):
        return Task(
            "t", "label", "Do.", labels=MOOD.labels, prompt=PromptChoice("few-shot-1", score, 0, 1, 30)
        )

    assert reads_well(task(0.8), GenerateConfig())[0]
    assert not reads_well(task(0.4), GenerateConfig())[0]
    assert reads_well(task(0.4), GenerateConfig(agreement="on"))[0]
    assert not reads_well(task(0.9), GenerateConfig(agreement="off"))[0]


def test_own_inputs_are_voted_on_and_may_run_out(run, ledgered, tmp_path):
    given = tmp_path / "in.jsonl"
    given.write_text(
        "".join(json.dumps({"input": sentence(n, "happy" if n % 3 else "sad")}) + "\n" for n in range(20))
    )
    teacher, script = ledgered()
    receipt = go(run, teacher, n=50, inputs=given, samples=3)
    assert receipt["accepted"] < 50
    assert receipt["accepted"] + sum(receipt["dropped"].values()) == 20
    pairs = rows(run.pairs, Pair)
    assert {pair.answer for pair in pairs} == {"happy", "sad"}
    assert all(pair.origin == "given" and pair.answer in pair.input for pair in pairs)
    samples = Counter(sample for _, sample in script.requests if sample)
    assert samples == {1: 20, 2: 20}


def test_votes_need_a_majority(run, ledgered):
    teacher, _ = ledgered()
    answering = Answering(MOOD, GenerateConfig(n=1), teacher, (), on_answers(MOOD, GenerateConfig()))
    for answers, place, support in (
        (["happy", "sad", "sad"], 1, (2 / 3, 1 / 3)),
        ([None, None, None], 0, (0.0, 0.0)),
        ([None, "sad", None], 1, (1 / 3, 1 / 3)),
        (["sad", "happy"], 0, (1 / 2, 0.0)),
    ):
        assert answering.elect(answers) == place
        assert answering.support(answers, place) == support
    assert answering.support(["happy", "sad", "sad"], 0) == (1 / 3, -1 / 3)
    assert [first_said(said) for said in ([None, "sad", None], ["happy", "sad"], [None, None])] == [1, 0, 0]
    asyncio.run(teacher.close())


def test_free_answers_that_say_nearly_the_same_vote_together(run, ledgered):
    teacher, _ = ledgered()
    task = Task("t", "text", "Title it.")
    answering = Answering(task, GenerateConfig(n=1), teacher, (), on_answers(task, GenerateConfig()))
    said = ["nothing at all", "the red house", "a red house here"]
    place = answering.elect(said)
    share, _ = answering.support(said, place)
    assert place in (1, 2)
    assert share == pytest.approx(2 / 3)
    asyncio.run(teacher.close())


def test_too_few_is_an_error_that_keeps_every_row(run, ledgered):
    teacher, _ = ledgered(
        lambda request, sample: (
            play(request, sample)
            if "Write a " not in request.messages[-1].content
            else "always the same note happy"
        )
    )
    with pytest.raises(DistillError, match=r"only . of 20 pairs") as caught:
        go(run, teacher, n=20, max_tries=3)
    assert "exact" in caught.value.message
    assert rows(run.candidates)
    assert run.summary("generate") is None


def test_seeds_are_shown_to_the_teacher_and_never_trained_on(run, ledgered, tmp_path):
    seeds = tmp_path / "gold.jsonl"
    secret = sentence(5, "happy")
    seeds.write_text(json.dumps({"input": secret, "output": "happy"}) + "\n")
    teacher, script = ledgered()
    go(run, teacher, n=20, seeds=seeds)
    assert any(secret in message.content for request, _ in script.requests for message in request.messages)
    assert all(pair.input != secret for pair in rows(run.pairs, Pair))


def test_seed_with_an_unknown_label_is_an_error_before_anything_is_bought(run, ledgered, tmp_path):
    seeds = tmp_path / "gold.jsonl"
    seeds.write_text('{"input": "x y z", "output": "angry"}\n')
    teacher, script = ledgered()
    with pytest.raises(DataError, match="angry") as caught:
        go(run, teacher, n=20, seeds=seeds)
    assert f"{seeds}:1" in caught.value.where
    assert not script.requests


def test_stopping_keeps_what_was_bought(run, ledgered):
    bought = []

    def stop_at_thirty(request, sample):
        bought.append(1)
        if len(bought) == 30:
            teacher.stop()
        return play(request, sample)

    teacher, _ = ledgered(stop_at_thirty)
    with pytest.raises(Interrupted):
        go(run, teacher, n=40)
    kept = len(rows(run.ledger("generate")))
    assert kept >= 30
    teacher, script = ledgered()
    assert go(run, teacher, n=40)["accepted"] == 40
    keys = [row["key"] for row in rows(run.ledger("generate"))]
    assert len(keys) == len(set(keys)) == kept + len(script.requests)


def test_best_prompt_is_found_and_recorded_once(run, ledgered):
    def only_cued_reads(request, sample):
        text = request.messages[-1].content
        if "Write a " in request.messages[-1].content:
            return play(request, sample)
        return play(request, sample) if text.startswith("Note:") else "happy"

    teacher, _ = ledgered(only_cued_reads)
    receipt = go(run, teacher, n=20)
    assert receipt["prompt"].startswith("cued-")
    prompt = read_task(run.task).prompt
    assert prompt.name == receipt["prompt"]
    assert prompt.score == 1.0
    assert prompt.n >= 24


def test_made_from_names_what_changed(run, ledgered):
    teacher, _ = ledgered()
    go(run, teacher, n=20)
    assert run.changed("generate", made_from(run, GenerateConfig(n=20), "scripted scripted")) == []
    assert run.changed("generate", made_from(run, GenerateConfig(n=30), "scripted scripted")) == ["n"]
    task = read_task(run.task)
    write_task(
        run.task, Task("mood", "label", "Other.", "note", labels=task.labels, attributes=task.attributes)
    )
    assert run.changed("generate", made_from(run, GenerateConfig(n=20), "other")) == ["task.toml", "teacher"]


def test_candidate_rows_are_typed_and_whole(run, ledgered):
    teacher, _ = ledgered()
    go(run, teacher, n=20)
    candidates = rows(run.candidates, Candidate)
    assert sum(candidate.verdict.keep for candidate in candidates) == 20
    assert all(candidate.attributes.keys() == {"place", "size"} for candidate in candidates)


def test_examples_are_never_pairs(run, ledgered):
    echoing = MOOD.labels[0].examples[0]

    def echo_sometimes(request, sample):
        if "Write a " in request.messages[-1].content and request.seed % 4 == 0:
            return echoing
        return play(request, sample)

    teacher, _ = ledgered(echo_sometimes)
    receipt = go(run, teacher, n=20)
    assert receipt["dropped"].get("echo", 0) > 0
    assert echoing not in {pair.input for pair in rows(run.pairs, Pair)}
    assert Example(echoing, "happy").input == echoing
