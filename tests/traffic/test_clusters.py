"""A log sorted by template: what is counted, what is cut away, what kind of task is behind it."""

import json

import pytest

from distill.errors import DataError
from distill.logged_tasks import told, write_picked
from distill.store import jsonl
from distill.store.logs import read_logs
from distill.traffic.clusters import Row, estimated_tokens, sort_log
from distill.traffic.tasks import fallback_names, task_of
from distill.types import Message, Quiet
from distill.worth import period, traffic_of
from tests.traffic.test_templates import sentences, traffic_log

USD = 1e-6
FACTS = {"name": "", "total": 0, "paid": True}


def usd_of(model, prompt_tokens, answer_tokens):
    return None if model == "nobody's" else (prompt_tokens + 2 * answer_tokens) * USD


def sort(tmp_path, lines):
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return sort_log(log, tmp_path / "rows.jsonl", usd_of, Quiet())


def line(asked, answer, *, system=None, model="m", usage=(10, 2), day=None, before=()):
    turns = [{"role": "system", "content": system}] * (system is not None) + list(before)
    record = {"request": {"model": model, "messages": [*turns, {"role": "user", "content": asked}]}}
    response = {"choices": [{"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
    if usage:
        response["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    if day is not None:
        response["created"] = 1_790_000_000 + 86_400 * day
    return {**record, "response": response}


def labelled(count, **how):
    return [
        line(f"Is this note happy or sad?\nNote: {text}\nMood:", ("happy", " Sad.")[place % 2], **how)
        for place, text in enumerate(sentences(count))
    ]


def test_volume_tokens_cost_and_period_of_a_template(tmp_path):
    days = [
        line(f"Is this note happy or sad? {text}", "happy", day=place)
        for place, text in enumerate(sentences(31))
    ]
    traffic = sort(tmp_path, [*days, line("what?", "that", day=30)])
    (cluster,) = traffic.clusters
    assert (traffic.requests, traffic.noise, cluster.volume) == (32, 1, 31)
    assert (cluster.prompt_tokens, cluster.completion_tokens, cluster.estimated) == (310, 62, 0)
    told_of = traffic_of(cluster, traffic, "moods")
    assert told_of["usd"] == pytest.approx(31 * 14 * USD)
    assert told_of["days"] == 30
    assert told_of["calls_a_month"] == pytest.approx(31 * 365.25 / 12 / 30)
    assert told_of["usd_a_month"] == pytest.approx(told_of["calls_a_month"] * 14 * USD)
    assert period(traffic).startswith("30.0 days to 2026-")


def test_a_log_without_stamps_or_of_an_hour_says_nothing_of_a_month(tmp_path):
    for lines in (labelled(20), labelled(20, day=1)):
        traffic = sort(tmp_path, lines)
        told_of = traffic_of(traffic.clusters[0], traffic, "")
        assert told_of["calls_a_month"] is told_of["usd_a_month"] is None
        assert "no period" in period(traffic)


def test_an_unknown_price_is_unknown_and_absent_counts_are_estimated(tmp_path):
    traffic = sort(tmp_path, [*labelled(20, usage=None), *labelled(20, model="nobody's")])
    (cluster,) = traffic.clusters
    assert cluster.usd is None
    assert cluster.estimated == 20
    assert cluster.prompt_tokens > 200
    assert estimated_tokens("abcdefgh") == 2
    assert estimated_tokens("判断ab") == 3


def test_template_is_cut_away_and_its_words_are_the_instruction(tmp_path):
    traffic = sort(tmp_path, labelled(20))
    frame = traffic.clusters[0].frame
    assert frame.words == "Is this note happy or sad?\nNote: … Mood:"
    assert frame.baseline == "Is this note happy or sad?\nNote: {input}\nMood:"
    rows = [row for _, row in jsonl.read(tmp_path / "rows.jsonl", Row)]
    assert [row.input for row in rows] == sentences(20)
    task = task_of(traffic.clusters[0], "mood")
    assert task.kind == "label"
    assert task.label_names == ("happy", "sad")
    assert len(task.labels[0].examples) == 3


def test_variable_text_of_the_instruction_goes_into_the_input(tmp_path):
    lines = [
        line(f"Question: {text}", "yes", system=f"Answer from this passage alone: {other}. Be very brief.")
        for text, other in zip(sentences(20), sentences(20, seed=1), strict=True)
    ]
    traffic = sort(tmp_path, lines)
    (row, *_) = [row for _, row in jsonl.read(tmp_path / "rows.jsonl", Row)]
    assert row.input == f"{sentences(20, seed=1)[0]}\n\n{sentences(20)[0]}"
    assert (
        traffic.clusters[0]
        .frame.prompt[0]
        .content.startswith("Answer from this passage alone: (given below)")
    )


def test_a_line_of_several_values_keeps_its_labels(tmp_path):
    lines = [
        line(f"Which team?\nName: {name}\nPlan and message: {text}\nTeam:", "sales")
        for name, text in zip(sentences(20, words=2), sentences(20, seed=1), strict=True)
    ]
    sort(tmp_path, lines)
    (row, *_) = [row for _, row in jsonl.read(tmp_path / "rows.jsonl", Row)]
    assert row.input.startswith(f"Name: {sentences(20, words=2)[0]}\nPlan and message: ")


def test_shots_of_a_template_stay_in_it_and_talk_is_chat(tmp_path):
    shots = [
        {"role": "user", "content": "Is it spam? win a phone now"},
        {"role": "assistant", "content": "spam"},
    ]
    spam = [line(f"Is it spam? {text}", "ham", before=shots) for text in sentences(20)]
    (cluster,) = sort(tmp_path, spam).clusters
    assert not cluster.frame.chat
    assert [turn.role for turn in cluster.frame.prompt] == ["user", "assistant", "user"]
    assert cluster.frame.baseline == "Is it spam? {input}"
    talk = [
        line(text, "Sure.", system="You help the customers of a bank in the far north.",
             before=[{"role": "user", "content": other}, {"role": "assistant", "content": "Which?"}])
        for text, other in zip(sentences(20), sentences(20, seed=1), strict=True)
    ]  # fmt: skip
    (cluster,) = sort(tmp_path, talk).clusters
    assert cluster.frame.chat
    assert task_of(cluster, "t").kind == "chat"
    assert task_of(cluster, "t").turns == 2
    assert cluster.rows[0].messages[-1].content in sentences(20)


def test_json_answers_of_one_form_are_fields_and_others_text(tmp_path):
    answers = [json.dumps(FACTS | {"name": text, "total": place, "currency": ("EUR", "USD")[place % 2]})
               for place, text in enumerate(sentences(20, seed=2))]  # fmt: skip
    lines = [
        line(f"Take the facts out of this: {text}", answer)
        for text, answer in zip(sentences(20), answers, strict=True)
    ]
    task = task_of(sort(tmp_path, lines).clusters[0], "t")
    assert task.kind == "json"
    assert [(field.name, field.type, field.choices) for field in task.fields] == [
        ("name", "string", ()), ("total", "integer", ()), ("paid", "boolean", ()),
        ("currency", "string", ("EUR", "USD")),
    ]  # fmt: skip
    nested = [line(f"Take the facts out of this: {text}", '{"a": [1]}') for text in sentences(20)]
    assert task_of(sort(tmp_path, nested).clusters[0], "t").kind == "text"


def test_broken_lines_are_counted_with_their_reasons_and_places(tmp_path):
    bad = line("x", "y")
    bad["response"] = {"error": {"message": "overloaded"}}
    traffic = sort(tmp_path, ["{", *labelled(20), bad, "{"])
    logs = told(tmp_path / "log.jsonl", traffic, [])
    assert logs["skipped_why"] == {"not a line of JSON": 2, "the call failed: overloaded": 1}
    assert logs["skipped_lines"]["not a line of JSON"] == [1, 23]
    with pytest.raises(DataError, match="the keys here are 'a'"):
        sort(tmp_path, ['{"a": 1}'])


def test_names_differ_and_come_from_words_of_their_own(tmp_path):
    given = traffic_log.records(1000, traffic_log.HARD)
    clusters = sort(tmp_path, [json.dumps(record) for record, _ in given]).clusters
    names = fallback_names(clusters)
    assert len(set(names)) == 9
    assert any("newsletter" in name for name in names)
    assert any(name.startswith("template-") for name in names)  # Chinese words make no name


def test_picked_rows_are_a_log_that_generate_reads(tmp_path):
    others = [line(f"Make a short poem of this: {text}", "a poem") for text in sentences(20, seed=3)]
    traffic = sort(tmp_path, labelled(30) + others)
    picked = tmp_path / "picked.jsonl"
    assert write_picked(tmp_path / "rows.jsonl", traffic.clusters[0].number, picked) == 30
    entries = read_logs(picked).entries
    assert [entry.messages for entry in entries] == [(Message("user", text),) for text in sentences(30)]
    assert entries[1].response == "Sad."


def test_answers_of_which_many_are_free_text_are_no_labels(tmp_path):
    lines = labelled(40)
    for place, free in enumerate(sentences(10, seed=4)):
        lines[4 * place]["response"]["choices"][0]["message"]["content"] = free
    assert task_of(sort(tmp_path, lines).clusters[0], "t").kind == "text"


def test_answers_that_are_told_apart_by_signs_alone_are_no_labels(tmp_path):
    lines = labelled(40)
    for place, each in enumerate(lines):
        each["response"]["choices"][0]["message"]["content"] = ("A-1", "A 1")[place % 2]
    assert task_of(sort(tmp_path, lines).clusters[0], "t").kind == "text"
