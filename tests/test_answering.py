"""How an answer comes about: votes, one mended JSON, both sides of a conversation, revision, judge, logs."""

import asyncio
import json
import re

import pytest

from distill.answering import Answering, votes
from distill.ask import response_format
from distill.config import GenerateConfig
from distill.filters.chain import on_answers
from distill.parse import schema_problem
from distill.teacher.scripted import ScriptedTeacher
from distill.types import AnswerField, Candidate, Completion, Label, Task

ORDER = Task(
    "order",
    "json",
    "Take the order.",
    fields=(AnswerField("size", choices=("small", "large")), AnswerField("n", "integer")),
)
TITLE = Task("title", "text", "Write a title.", rubric=("Is it short?",))
CHAT = Task("help", "chat", "Help the customer of a bank.", turns=3)
SUM = Task("sum", "text", "Add up.", verify="number")
MOOD = Task("mood", "label", "Decide the mood.", labels=(Label("happy"), Label("sad")))


def answer(task, script, text="the input", *, raw=None, asked=None, **knobs):
    config = GenerateConfig(**knobs)
    teacher = ScriptedTeacher(script)
    answering = Answering(task, config, teacher, (), on_answers(task, config))
    candidate = Candidate(index=7, input=text, answer=asked or "", asked=asked, raw=raw, origin="given")
    return asyncio.run(answering.answer(candidate)), teacher, answering


def test_json_that_does_not_fit_gets_one_turn_that_says_what_is_wrong():
    def mend(request, _):
        last = request.messages[-1].content
        return '{"size": "small", "n": 2}' if "not what was asked for" in last else '{"size": "huge", "n": 2}'

    found, teacher, _ = answer(ORDER, mend, samples=1)
    assert json.loads(found.answer) == {"size": "small", "n": 2}
    first, second = (request for request, _ in teacher.requests)
    assert first.response_format["json_schema"]["schema"]["properties"]["size"]["enum"] == ["small", "large"]
    assert second.messages[:-1] == (*first.messages, second.messages[-2])
    assert second.messages[-2].content == '{"size": "huge", "n": 2}'
    assert "'huge' is not one of" in second.messages[-1].content


def test_json_that_stays_wrong_is_asked_twice_and_never_accepted():
    found, teacher, _ = answer(ORDER, lambda request, _: "no idea", samples=1)
    assert (found.answer, len(teacher.requests)) == ("", 2)


def test_schema_problem_says_what():
    schema = response_format(ORDER)["json_schema"]["schema"]
    assert schema_problem(schema, "hm") == "the answer is not a JSON object"
    assert "'n' is a required property" in schema_problem(schema, '{"size": "small"}')


def test_cut_answers_are_never_accepted_or_mended():
    cut = Completion(text='{"size": "small", "n": 2}', finish_reason="length", cost_usd=0.0)
    found, teacher, _ = answer(ORDER, lambda request, _: cut, samples=1)
    assert (found.answer, found.finish_reason, len(teacher.requests)) == ("", "length", 1)


def test_numbers_vote_as_numbers():
    said = iter(["It is 1,200.", "so 1200", "7"])
    found, _, _ = answer(SUM, lambda request, _: next(said))
    assert (found.answer, found.agreement) == ("It is 1,200.", 2 / 3)


def test_response_from_a_log_is_the_first_vote_and_saves_a_call():
    found, teacher, _ = answer(MOOD, lambda request, _: "sad", raw="happy", samples=3, elect="on")
    assert (found.answer, found.raw, found.agreement) == ("sad", "happy", 2 / 3)
    assert [sample for _, sample in teacher.requests] == [1, 2]
    kept, teacher, _ = answer(MOOD, lambda request, _: "sad", raw="Happy.", samples=1)
    assert (kept.answer, kept.agreement, teacher.requests) == ("happy", 1.0, [])


def test_best_of_free_answers_is_the_judges_choice():
    drafts = iter(["a long title of many words", "short", "another title"])

    def script(request, _):
        last = request.messages[-1].content
        if "Reply with the name" in last:
            return re.search(r"Answer (\S+): short", last)[1]
        if "Reply with one line" in last:
            return re.search(r'"(\w+) keep"', last)[1] + " keep"
        return next(drafts)

    found, teacher, answering = answer(TITLE, script, best_of=3, elect="on")
    assert (found.answer, found.raw, found.agreement) == ("short", "a long title of many words", None)
    assert (found.judge, answering.unscored, len(teacher.requests)) == ("", 0, 3 + 2 + 1)
    assert votes(GenerateConfig(best_of=5)) == 5


def test_judge_that_says_no_verdict_is_counted_and_drops_nothing():
    found, _, answering = answer(TITLE, lambda request, _: "a title", samples=1)
    assert (found.judge, answering.unscored) == ("", 1)


def test_judges_objection_is_kept_beside_the_answer_and_the_answer_is_untouched():
    def script(request, _):
        mark = re.search(r'"(\w+) keep"', request.messages[-1].content)
        return f"{mark[1]} drop: it is not a title" if mark else "a title"

    found, _, _ = answer(TITLE, script, samples=1)
    assert (found.answer, found.judge) == ("a title", "it is not a title")


def test_one_round_of_critique_and_revision():
    def script(request, _):
        last = request.messages[-1].content
        if "Say in two sentences" in last:
            return "Make it shorter."
        return "short" if "A reviewer says: Make it shorter." in last else "a title of many words"

    found, _, _ = answer(TITLE, script, samples=1, revise="on", judge="off")
    assert (found.raw, found.answer) == ("a title of many words", "short")
    same, teacher, _ = answer(TITLE, lambda r, _: "nothing", samples=1, revise="on", judge="off")
    assert same.answer == "nothing"
    assert len(teacher.requests) == 2


def test_both_sides_of_a_conversation_from_its_first_message():
    def script(request, _):
        if request.messages[0].content.startswith("You play the person"):
            assert request.messages[1].role == "user"
            assert request.messages[-1].role == "user"
            return f"and question {len(request.messages)}?"
        turns = [message for message in request.messages if message.role == "user"]
        return f"answer {len(turns)}"

    found, _, _ = answer(CHAT, script, "I lost my card")
    assert [message.role for message in found.before] == ["user", "assistant"] * 2
    assert found.before[0].content == "I lost my card"
    assert [m.content for m in found.before if m.role == "assistant"] == ["answer 1", "answer 2"]
    assert (found.answer, found.input) == ("answer 3", "and question 6?")
    assert found.said.startswith("I lost my card\n\nand question 4?")


def test_conversation_with_a_cut_turn_has_no_answer():
    cut = Completion(text="half", finish_reason="length", cost_usd=0.0)
    found, _, _ = answer(CHAT, lambda request, _: cut, "I lost my card")
    assert (found.answer, found.finish_reason) == ("", "length")


def test_logprobs_are_asked_for_and_kept_of_the_chosen_answer():
    def script(request, sample):
        assert request.top_logprobs == 2
        text = "happy" if sample else "sad"
        return Completion(text=text, cost_usd=0.0, logprobs={"tokens": [text]})

    found, _, _ = answer(MOOD, script, logprobs=2, elect="on")
    assert (found.answer, found.logprobs) == ("happy", {"tokens": ["happy"]})
    written, teacher, _ = answer(MOOD, script, asked="sad", logprobs=2, agreement="off")
    assert (written.answer, written.logprobs, len(teacher.requests)) == ("sad", {"tokens": ["sad"]}, 1)


@pytest.mark.parametrize("said", ["Because it is glad.", "  Because\nit is glad. "])
def test_reason_is_one_line(said):
    config = GenerateConfig()
    answering = Answering(MOOD, config, ScriptedTeacher(lambda r, _: said), (), on_answers(MOOD, config))
    candidate = Candidate(index=0, input="a glad note", answer="happy", origin="written")
    assert asyncio.run(answering.explain(candidate)) == "Because it is glad."
