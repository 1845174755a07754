"""Generate with everything on: conversations, reasons, logs, plans, lift, dry runs, saturation."""

import asyncio
import json
import re
from collections import Counter

import msgspec
import pytest

from distill.config import GenerateConfig
from distill.errors import DistillError, UsageError
from distill.held_out import turns
from distill.steps.estimate import estimate
from distill.store import jsonl
from distill.store.taskfile import read_task, write_task
from distill.student.data import read_pairs, with_reason
from distill.types import Completion, Pair, Quiet, Task
from tests.conftest import MOOD, play, sentence
from tests.test_generate import go, rows

CHAT = Task(
    "help",
    "chat",
    "Help the customer of a bank.",
    "question",
    turns=2,
    attributes={"about": ("cards", "loans")},
)


def chat(request, sample):
    system = request.messages[0].content
    if system.startswith("You play the person"):
        return f"follow-up {sentence(request.seed or 0, 'then')}"
    if request.messages[-1].content.startswith("Write a "):
        return sentence(request.seed, "question")
    return f"Here to help with {request.messages[-1].content[:20]}"


def test_conversations_are_stored_with_every_turn(run, ledgered):
    write_task(run.task, CHAT)
    teacher, _ = ledgered(chat)
    receipt = go(run, teacher, n=12)
    pairs = rows(run.pairs, Pair)
    assert receipt["accepted"] == len(pairs) == 12
    for pair in pairs:
        assert [message.role for message in pair.messages] == ["system", "user", "assistant", "user"]
        assert pair.messages[-1].content.startswith("follow-up")
    assert receipt["filter_lift"]["basis"] is None
    first, last = turns(pairs[0])
    assert first.answer == pairs[0].messages[2].content
    assert first.messages == pairs[0].messages[:2]
    assert last.id == pairs[0].id


def test_refusal_in_an_early_turn_drops_the_conversation(run, ledgered):
    write_task(run.task, CHAT)

    def refuse_first(request, sample):
        system, *_, last = request.messages
        first = len(request.messages) == 2 and not last.content.startswith("Write a ")
        if first and not system.content.startswith("You play") and len(last.content) % 2:
            return "I'm sorry, but as an AI language model I cannot help with that."
        return chat(request, sample)

    teacher, _ = ledgered(refuse_first)
    receipt = go(run, teacher, n=10)
    assert receipt["dropped"].get("refusal", 0) > 0
    assert not any(
        "language model" in message.content for pair in rows(run.pairs, Pair) for message in pair.messages
    )


def test_reasons_are_stored_and_trained_only_where_the_task_says_so(run, ledgered):
    def explains(request, sample):
        return (
            "It says so."
            if "Say in one sentence why" in request.messages[-1].content
            else play(request, sample)
        )

    teacher, _ = ledgered(explains)
    go(run, teacher, n=10, rationale=True)
    pairs = read_pairs(run.splits["train"])
    assert {pair.rationale for pair in pairs} == {"It says so."}
    assert with_reason(pairs[0]).answer == f"It says so.\nAnswer: {pairs[0].answer}"


def test_logs_bring_inputs_and_a_first_answer(run, ledgered, tmp_path):
    logs = tmp_path / "logs.jsonl"
    entries = [
        {
            "request": {
                "model": "gpt",
                "messages": [
                    {"role": "system", "content": "Mood?"},
                    {"role": "user", "content": sentence(n, mood)},
                ],
            },
            "response": {
                "choices": [
                    {
                        "message": {"role": "assistant", "content": mood if n % 4 else "sad"},
                        "finish_reason": "stop",
                    }
                ]
            },
        }
        for n in range(24)
        for mood in ["happy"]
    ]
    logs.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "{broken\n")
    teacher, _script = ledgered()
    receipt = go(run, teacher, n=20, from_logs=logs, samples=3)
    kept, dropped = rows(run.pairs, Pair), rows(run.candidates)
    assert {pair.origin for pair in kept} == {"logged"}
    assert all(pair.answer == "happy" for pair in kept)
    assert receipt["dropped"] == {"agreement": 6}
    assert next(row for row in dropped if not row["verdict"]["keep"])["source"].startswith(str(logs))


def test_two_sources_of_inputs_are_an_error(run, ledgered, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"input": "a b c d e f", "prompt": "x", "completion": "y"}\n')
    teacher, script = ledgered()
    with pytest.raises(UsageError, match="two sources"):
        go(run, teacher, n=5, inputs=path, from_logs=path)
    assert not script.requests


def test_task_without_attributes_is_planned_once_and_the_plan_can_be_edited(run, ledgered):

    write_task(run.task, msgspec.structs.replace(MOOD, attributes={}))

    def plans(request, sample):
        if request.messages[-1].content.startswith("List "):
            return "rain\nsun\nwind\nsnow\nfog"
        return play(request, sample)

    teacher, script = ledgered(plans)
    first = go(run, teacher, n=10)
    assert read_task(run.task).attributes["about"] == ("rain", "sun", "wind", "snow", "fog")
    assert any(" about " in request.messages[-1].content for request, _ in script.requests)
    teacher, script = ledgered(plans)
    assert go(run, teacher, n=10)["calls_now"] == 0
    assert first["accepted"] == 10


def test_plan_off_asks_for_none(run, ledgered):

    write_task(run.task, msgspec.structs.replace(MOOD, attributes={}))
    teacher, script = ledgered()
    go(run, teacher, n=10, plan="off")
    assert not any(request.messages[-1].content.startswith("List ") for request, _ in script.requests)


def noisy(request, sample):
    """Wrong on every third note where it is asked first, right in the other votes."""
    number = re.search(r"(happy|sad) (\d+)", request.messages[-1].content)
    if number and int(number[2]) % 3 == 0 and sample == 0:
        return "sad" if number[1] == "happy" else "happy"
    return play(request, sample)


def test_lift_on_gold_is_measured_with_an_interval(run, ledgered, tmp_path):
    gold, given = tmp_path / "gold.jsonl", tmp_path / "in.jsonl"
    moods = [(n, "happy" if n % 2 else "sad") for n in range(60)]
    gold.write_text("".join(json.dumps({"input": sentence(n, m), "output": m}) + "\n" for n, m in moods))
    given.write_text("".join(json.dumps({"input": sentence(n + 900, m)}) + "\n" for n, m in moods))
    teacher, _ = ledgered(noisy)
    lift = go(run, teacher, n=20, inputs=given, seeds=gold, min_agreement=0.6)["filter_lift"]
    assert (lift["basis"], lift["n"], lift["pays"]) == ("gold", 60, True)
    assert lift["raw"]["value"] == pytest.approx(2 / 3)
    assert lift["kept"]["value"] == 1.0
    assert lift["low"] > 0
    assert lift["diff"] == pytest.approx(1 / 3, abs=1e-4)


def test_lift_of_written_labels_is_audited_by_prompts_that_did_not_filter(run, ledgered):
    def misses(request, sample):
        # Every third note that is to be sad is happy: the label it was written for is wrong.
        if request.messages[-1].content.startswith("Write a sad") and request.seed % 3 == 0:
            return sentence(request.seed, "happy")
        return play(request, sample)

    teacher, _ = ledgered(misses)
    lift = go(run, teacher, n=40, lift_rows=60)["filter_lift"]
    assert lift["basis"] == "vote"
    assert lift["diff"] > 0
    assert lift["kept"]["value"] == 1.0 > lift["raw"]["value"]
    assert "points" in lift["why"]


def test_lift_that_cannot_be_measured_says_why(run, ledgered):
    teacher, _ = ledgered()
    assert go(run, teacher, n=10, lift_rows=0)["filter_lift"] == {"basis": None, "why": "--lift-rows 0"}
    write_task(run.task, Task("t", "text", "Title it.", attributes={"about": ("a", "b")}))
    teacher, _ = ledgered(lambda r, s: sentence(r.seed or 1, "title"))
    assert "--seeds" in go(run, teacher, n=4, samples=1)["filter_lift"]["why"]


def dry(run, teacher, **knobs):
    async def session():
        try:
            return await estimate(run, GenerateConfig(**knobs), teacher, Quiet())
        finally:
            await teacher.close()

    return asyncio.run(session())


def test_dry_run_makes_about_ten_calls_that_the_real_run_uses(run, ledgered):
    def priced(request, sample):
        return Completion(text=play(request, sample), cost_usd=0.001, latency_s=0.2)

    teacher, script = ledgered(priced)
    shown = dry(run, teacher, n=50)
    assert 8 <= shown["calls_now"] == len(script.requests) <= 14
    assert shown["cost_usd"]["low"] <= shown["cost_usd"]["value"] <= shown["cost_usd"]["high"]
    assert not run.pairs.exists()
    assert not run.candidates.exists()
    sampled = list(script.requests)
    teacher, script = ledgered(priced)
    receipt = go(run, teacher, n=50)
    written = [call for call in sampled if call[0].seed is not None]
    assert written
    assert not any(call in script.requests for call in written)
    assert shown["calls"]["low"] * 0.8 <= receipt["calls"] <= shown["calls"]["high"] * 1.2
    assert shown["cost_usd"]["low"] * 0.8 <= receipt["cost_usd"] <= shown["cost_usd"]["high"] * 1.2


def test_dry_run_with_an_unknown_price_says_so(run, ledgered):
    teacher, _ = ledgered(lambda r, s: Completion(text=play(r, s), cost_usd=None))
    assert dry(run, teacher, n=50)["cost_usd"] is None


def test_saturated_teacher_is_stopped_early_with_what_is_used_up(run, ledgered):
    def few(request, sample):
        if request.messages[-1].content.startswith("Write a "):
            mood = request.messages[-1].content.split()[2]
            return sentence(request.seed % 8, mood)
        return play(request, sample)

    teacher, script = ledgered(few)
    with pytest.raises(
        DistillError, match=r"only \d+ of 500 pairs .*since row \d+, \d+% repeats; exhausted"
    ) as found:
        go(run, teacher, n=500, max_tries=20)
    assert "--n " in found.value.hint
    assert len(script.requests) < 4000


def test_imported_pairs_count_towards_n_and_stay(run, ledgered):
    teacher, _ = ledgered()
    go(run, teacher, n=12)
    own = [msgspec.structs.replace(pair, origin="imported") for pair in rows(run.pairs, Pair)]
    jsonl.replace(run.pairs, own)
    jsonl.replace(
        run.candidates, [{"origin": "imported", "index": 0, "verdict": {"keep": False, "rule": "unfit"}}]
    )
    teacher, _ = ledgered()
    receipt = go(run, teacher, n=20)
    pairs = rows(run.pairs, Pair)
    assert pairs[:12] == own
    assert len(pairs) == receipt["accepted"] == 20
    assert receipt["imported"] == 12
    assert Counter(pair.answer for pair in pairs) == {"happy": 10, "sad": 10}
    assert len({pair.input for pair in pairs}) == 20
    assert rows(run.candidates)[0]["verdict"]["rule"] == "unfit"


def test_corrections_made_by_hand_hold_for_new_rows(run, ledgered):
    run.folder("generate")
    run.corrections.write_text('[[rules]]\nmatch = "contains"\ntext = "school"\naction = "drop"\n')

    def school(request, sample):
        text = play(request, sample)
        asked = request.messages[-1].content
        return f"{text} at school" if asked.startswith("Write a ") and "school" in asked else text

    teacher, _ = ledgered(school)
    receipt = go(run, teacher, n=10)
    assert receipt["dropped"]["correction"] > 0
    assert not any("school" in pair.input for pair in rows(run.pairs, Pair))


def test_answers_that_are_all_cut_name_the_flag_that_helps(run, ledgered, tmp_path):
    given = tmp_path / "in.jsonl"
    given.write_text("".join(json.dumps({"input": sentence(n, "sad")}) + "\n" for n in range(20)))
    cut = Completion("happy", finish_reason="length")
    teacher, _ = ledgered(lambda request, sample: cut if request.seed is None else play(request, sample))
    with pytest.raises(DistillError) as found:
        go(run, teacher, n=10, inputs=given, max_answer_tokens=33)
    assert "--max-answer-tokens (now 33)" in found.value.hint


def test_dry_run_chooses_answers_as_the_real_run_will(run, ledgered, tmp_path):
    """The first answer is the odd one of three: --best-of lets the other two choose, and the row is kept."""
    write_task(run.task, Task("topic", "text", "Name the topic.", "note"))
    given = tmp_path / "inputs.jsonl"
    given.write_text("".join(json.dumps({"input": sentence(n, "happy")}) + "\n" for n in range(40)))
    knobs = {"n": 10, "inputs": given, "best_of": 3, "min_agreement": 0.6, "judge": "off"}
    teacher, _ = ledgered(lambda request, sample: "gardens" if sample else "a film")
    shown = dry(run, teacher, **knobs)
    assert shown["kept"] == shown["tried"] > 0
    teacher, _ = ledgered(lambda request, sample: "gardens" if sample else "a film")
    assert go(run, teacher, **knobs)["accepted"] == 10


def test_dry_run_tells_no_time_by_the_row_that_starts_the_teacher(run, ledgered):
    cold = []

    def slow_to_start(request, sample):
        cold.append(request)
        return Completion(play(request, sample), latency_s=60.0 if len(cold) == 1 else 0.5)

    write_task(run.task, msgspec.structs.replace(read_task(run.task), prompt=None))
    teacher, _ = ledgered(slow_to_start)
    found = dry(run, teacher, n=100)
    at_once = max(1, teacher.ahead // 2)
    assert found["seconds"]["high"] <= 1.1 * 0.5 * found["calls"]["high"] / at_once
