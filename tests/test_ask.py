"""What a teacher is asked and a student is shown."""

import msgspec
import pytest

from distill import prompts
from distill.ask import (
    answer_request,
    default_prompt,
    examples_shown,
    prompt_names,
    response_format,
    starters,
    student_messages,
    turned,
    write_request,
)
from distill.errors import UsageError
from distill.menu import MENU
from distill.types import AnswerField, Example, Label, PromptChoice, Task

TASK = Task(
    "sentiment",
    "label",
    "Decide.",
    "review",
    labels=(Label("good", "likes it", ("nice", "lovely")), Label("bad", "", ("poor", "awful"))),
)


@pytest.mark.parametrize("name", [spec.name for spec in MENU])
def test_every_prompt_of_the_menu_ends_with_the_input_as_the_users_turn(name):
    request = answer_request(TASK, name, "so $input [/INST] <script>", max_tokens=9)
    assert request.messages[-1].role == "user"
    assert "so $input [/INST] <script>" in request.messages[-1].content
    assert request.max_tokens == 9


def test_shots_are_balanced_and_never_the_input_itself():
    shown = examples_shown(TASK, 2, (), leave_out="nice")
    assert [example.input for example in shown] == ["lovely", "poor", "awful"]
    assert [e.output for e in examples_shown(TASK, 2, ())] == ["good", "bad", "good", "bad"]
    assert [e.input for e in examples_shown(TASK, 1, (), 1)] == ["lovely", "awful"]
    assert [e.input for e in examples_shown(TASK, 2, (), 1)] == ["lovely", "awful", "nice", "poor"]
    assert [e.input for e in examples_shown(TASK, 2, (), order="reversed")] == [
        "awful",
        "lovely",
        "poor",
        "nice",
    ]
    assert [e.input for e in examples_shown(TASK, 2, (), order="turned")] == [
        "poor",
        "nice",
        "awful",
        "lovely",
    ]


def test_gold_shots_come_before_the_tasks_own():
    shown = examples_shown(TASK, 1, (Example("mine", "bad"),))
    assert [example.input for example in shown] == ["nice", "mine"]


def test_task_without_examples_is_not_tried_with_few_shots():
    bare = Task("t", "label", "Decide.", labels=(Label("a"), Label("b")))
    assert not [name for name in prompt_names(bare) if "shot-" in name and name != "zero-shot"]
    assert default_prompt(bare) == "zero-shot"


def test_unknown_prompt_names_the_known_ones():
    with pytest.raises(UsageError, match="no prompt 'x'") as caught:
        default_prompt(Task("t", "text", "Do.", prompt=PromptChoice("x")))
    assert "zero-shot" in caught.value.hint


def test_schema_follows_the_kind():
    schema = response_format(TASK)["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["good", "bad"]
    order = Task("o", "json", "Take.", fields=(AnswerField("n", "integer"), AnswerField("c", choices=("x",))))
    properties = response_format(order)["json_schema"]["schema"]["properties"]
    assert properties == {"n": {"type": "integer"}, "c": {"type": "string", "enum": ["x"]}}
    assert response_format(Task("t", "text", "Do.")) is None


def test_writing_asks_for_the_label_with_its_meaning_attributes_and_examples():
    request = write_request(TASK, "good", {"tone": "dry"}, temperature=1.0, seed=5, max_tokens=8)
    text = "\n".join(message.content for message in request.messages)
    assert "likes it" in text
    assert "dry" in text
    assert "nice" in text
    assert "awful" not in text
    assert "dry" not in request.messages[1].content
    assert request.seed == 5


def test_student_sees_instruction_labels_and_input_but_no_examples():
    messages = student_messages(TASK, "the input")
    assert messages[-1].content == "the input"
    joined = messages[0].content
    assert "Decide." in joined
    assert "good, bad" in joined
    assert "lovely" not in joined


def test_template_with_an_open_hole_is_an_error_that_names_it():
    with pytest.raises(UsageError, match="instruction"):
        prompts.render("student", input="x", format="y")
    with pytest.raises(UsageError, match="no prompt template") as caught:
        prompts.read("absent")
    assert "student" in caught.value.hint


def test_filled_text_is_never_expanded_again():
    messages = prompts.render("student", instruction="pay $5 for $input", format="", input="$instruction")
    assert messages[0].content == "pay $5 for $input"
    assert messages[1].content == "$instruction"


def test_fingerprint_is_of_the_text():
    assert prompts.fingerprint("student") != prompts.fingerprint("answer")
    assert len(prompts.fingerprint("student")) == 12


def test_a_prompts_own_instruction_and_examples_go_before_the_tasks():
    shots = (Example("dull", "bad"), Example("great", "good"), Example("grim", "bad"), Example("fun", "good"))
    own = PromptChoice("few-shot-2", instruction="Decide as a critic would.", shots=shots)
    task = msgspec.structs.replace(TASK, prompt=own)
    request = answer_request(task, "few-shot-2", "an input", max_tokens=9, shots=(Example("seed", "bad"),))
    assert request.messages[0].content.startswith("Decide as a critic would.")
    said = [message.content for message in request.messages[1:-1]]
    assert said == ["dull", "bad", "great", "good", "grim", "bad", "fun", "good"]
    other = answer_request(task, "few-shot-1", "an input", max_tokens=9)
    assert other.messages[0].content.startswith("Decide.")
    assert "dull" not in [message.content for message in other.messages]


def test_chosen_examples_turn_within_their_answer_and_are_never_the_input():
    shots = (Example("dull", "bad"), Example("great", "good"), Example("grim", "bad"), Example("fun", "good"))
    assert [shot.input for shot in turned(shots, 1)] == ["grim", "fun", "dull", "great"]
    assert [shot.output for shot in turned(shots, 1)] == ["bad", "good", "bad", "good"]
    task = msgspec.structs.replace(TASK, prompt=PromptChoice("cued-2", shots=shots))
    said = [message.content for message in answer_request(task, "cued-2", "grim", max_tokens=9).messages]
    assert said.count("Review: grim\nSentiment:") == 1


def test_a_search_starts_with_each_kind_once_in_each_order_of_labels():
    names = starters(TASK)
    assert {"zero-shot", "role", "described", "format-strict", "step-by-step", "decomposed"} <= set(names)
    assert {"few-shot-2", "few-shot-2-turned"} <= set(names)
    assert "few-shot-1" not in names
    free = Task("t", "text", "Do.")
    assert starters(free) == ("zero-shot", "role", "step-by-step", "decomposed")
    assert not {"step-by-step", "decomposed"} & set(prompt_names(TASK))
