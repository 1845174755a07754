"""Rows as other tools write them, told by their shape; what text cannot hold is refused with its reason."""

import pytest

from distill.errors import DataError
from distill.store.conversations import BARE, Unfit, conversation, task_of
from distill.types import Label, Message

SYSTEM, ASKED = Message("system", "Be brief."), Message("user", "Where is my card?")
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is my card?", "name": None},
        {"role": "assistant", "content": "In the post.", "tool_calls": None, "weight": 1},
    ]
}


def turns(*said):
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("record", "shape", "messages", "answer"),
    [
        (OPENAI, "chat", (SYSTEM, ASKED), "In the post."),
        (
            {
                "messages": [
                    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Where is"},
                            {"type": "input_text", "text": " my card?"},
                        ],
                    },
                    {"role": "assistant", "content": [{"type": "output_text", "text": "In the post.\n"}]},
                ],
                "tools": [],
            },
            "chat",
            (SYSTEM, ASKED),
            "In the post.",
        ),
        (
            {
                "messages": turns(
                    ("user", " hi "),
                    ("assistant", "yes? "),
                    ("user", "Where is my card?"),
                    ("assistant", "Gone"),
                )
            },
            "chat",
            (Message("user", " hi "), Message("assistant", "yes? "), ASKED),
            "Gone",
        ),
        (
            {
                "id": "identity_0",
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "Where is my card?"},
                    {"from": "gpt", "value": "In the post."},
                ],
            },
            "sharegpt",
            (SYSTEM, ASKED),
            "In the post.",
        ),
        (
            {"prompt": "Where is my card?", "completion": " In the post.\n"},
            "prompt/completion",
            (ASKED,),
            "In the post.",
        ),
        (
            {
                "prompt": turns(("system", "Be brief."), ("user", "Where is my card?")),
                "completion": turns(("assistant", "In the post.")),
            },
            "prompt/completion",
            (SYSTEM, ASKED),
            "In the post.",
        ),
        (
            {
                "instruction": "Be brief.",
                "input": "Where is my card?",
                "output": "In the post.",
                "text": "Below is an",
            },
            "alpaca",
            (SYSTEM, ASKED),
            "In the post.",
        ),
        ({"instruction": "Where is my card?", "input": "", "output": "Gone"}, "alpaca", (ASKED,), "Gone"),
        (
            {
                "system": "Be brief.",
                "instruction": "Where is my card?",
                "history": [["hi", "yes?"]],
                "output": "Gone",
            },
            "alpaca",
            (SYSTEM, Message("user", "hi"), Message("assistant", "yes?"), ASKED),
            "Gone",
        ),
        ({"input": "Where is my card?", "output": "card"}, BARE, (ASKED,), "card"),
        ({"text": "Where is my card?", "label": 3, "idx": 0}, BARE, (ASKED,), "3"),
        ({"question": "Where is my card?", "answer": {"b": 1, "a": "é"}}, BARE, (ASKED,), '{"a":"é","b":1}'),
        ({"prompt": "Where is my card?", "label": "card"}, "prompt/completion", (ASKED,), "card"),
        (
            {
                "messages": '[{"role": "user", "content": "Where is my card?"},'
                ' {"role": "assistant", "content": "Gone"}]'
            },
            "chat",
            (ASKED,),
            "Gone",
        ),
    ],
)
def test_a_row_is_told_by_its_shape(record, shape, messages, answer):
    read = conversation(record, "f:1")
    assert (read.shape, read.messages, read.answer) == (shape, messages, answer)


def test_what_an_export_of_ours_adds_is_kept():
    row = {**OPENAI, "attributes": {"place": "home", "size": None}, "rationale": "cards go by post"}
    read = conversation(row, "f:1")
    assert read.attributes == {"place": "home"}
    assert read.rationale == "cards go by post"


CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                ]
            },
            "tool call",
        ),
        ({"messages": turns(("user", "x"), ("tool", "{}"), ("assistant", "y"))}, "tool call"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{}"}]},
            "tool call",
        ),
        ({**OPENAI, "tools": [{"type": "function"}]}, "offers tools"),
        ({"messages": turns(("user", "x"))}, "does not end with an answer"),
        ({"messages": []}, "is empty"),
        ({"messages": turns(("assistant", "x"))}, "nothing of the user"),
        ({"messages": turns(("user", "x"), ("assistant", "y"), ("assistant", "z"))}, "nothing of the user"),
        ({"messages": turns(("user", " "), ("assistant", "y"))}, "the input is empty"),
        ({"messages": turns(("user", "x"), ("assistant", " \n"))}, "the answer is empty"),
        (
            {"messages": turns(("user", "x"), ("assistant", ""), ("user", "x"), ("assistant", "y"))},
            "earlier answer",
        ),
        ({"messages": turns(("narrator", "x"), ("assistant", "y"))}, "unknown role: 'narrator'"),
        ({"messages": [["user", "x"]]}, "not an object"),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "content": "y", "weight": 0},
                ]
            },
            "weight 0",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
                    *turns(("assistant", "y")),
                ]
            },
            "not text: 'image_url'",
        ),
        ({"prompt": "", "completion": "y"}, "is empty"),
        ({"text": "x", "label": None}, "is empty"),
    ],
)
def test_what_cannot_be_trained_on_says_why(record, why):
    with pytest.raises(Unfit, match=why):
        conversation(record, "f:1")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"prompt": "x", "chosen": "y", "rejected": "z"}, "'prompt', 'chosen', 'rejected'"),
        ({"body": "x", "class": 1}, "'body', 'class'"),
        ({"input": "x"}, "'input'"),
        ({}, "none"),
        ("x", "not an object"),
    ],
)
def test_an_unknown_shape_names_the_keys(record, says):
    with pytest.raises(DataError, match=says) as error:
        conversation(record, "f.jsonl:7")
    assert error.value.where == "f.jsonl:7"
    assert "messages" in error.value.hint


def talks(answers, system="Say the mood."):
    made = [
        {"messages": turns(("system", system), ("user", f"note {n}"), ("assistant", answer))}
        for n, answer in enumerate(answers)
    ]
    return [conversation(record, "f") for record in made]


def test_a_small_closed_set_of_answers_is_a_label_task():
    task = task_of(talks(["sad", "happy"] * 3), "notes")
    assert (task.kind, task.labels) == ("label", (Label("happy"), Label("sad")))
    assert task.instruction == "Say the mood."
    assert task_of(talks(["sad", "happy"] * 3 + ["odd"] * 2), "notes").kind == "text"
    assert task_of(talks(["same"] * 9), "notes").kind == "text"
    assert task_of(talks(["A-1", "A 1", "B"] * 3), "notes").kind == "text"  # no answer tells those apart
    assert task_of(talks([str(n % 21) for n in range(100)]), "notes").kind == "text"
    mixed = talks(["sad", "happy"] * 3) + talks(["sad"], system="Other.")
    assert task_of(mixed, "notes").instruction == "Answer the user."
