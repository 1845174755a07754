"""What users bring, right and wrong: every mistake names its line."""

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.errors import DataError, UsageError
from distill.store.shapes import read_gold, read_inputs
from distill.types import AnswerField, Example, Label, Task

pytestmark = pytest.mark.slow  # together they take seconds

SENTIMENT = Task(
    name="s", kind="label", instruction="Say the mood.", labels=(Label("positive"), Label("negative"))
)
CONTACT = Task(
    name="c",
    kind="json",
    instruction="Read the contact.",
    fields=(AnswerField("name"), AnswerField("age", type="integer")),
)


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def test_inputs_of_every_shape(tmp_path):
    jsonl = lines("one", {"text": " two "}, {"question": "三"}, {"prompt": "four"}, {"input": "one"})
    assert read_inputs(written(tmp_path, "a.jsonl", jsonl)) == ["one", "two", "三", "four"]
    assert read_inputs(written(tmp_path, "a.txt", "one\r\n\r\n two \n三")) == ["one", "two", "三"]
    table = 'id,text\n1,"one, or\n two"\n2,三\n'
    assert read_inputs(written(tmp_path, "a.csv", table)) == ["one, or\n two", "三"]
    assert read_inputs(written(tmp_path, "a.tsv", "\ufefftext\tid\none, two\t1\n")) == ["one, two"]
    array = json.dumps([{"text": "one"}, "two"], indent=1)
    assert read_inputs(written(tmp_path, "a.json", "\ufeff\n" + array)) == ["one", "two"]


def test_gold_of_every_shape(tmp_path):
    rows = lines(
        {"input": "a", "output": "Positive"},
        {"text": "b", "label": "negative"},
        {"text": "b", "label": "negative"},
    )
    expected = [Example("a", "positive"), Example("b", "negative"), Example("b", "negative")]
    assert read_gold(written(tmp_path, "g.jsonl", rows), SENTIMENT) == expected
    assert read_gold(written(tmp_path, "g.csv", "question,answer\na,positive\n"), SENTIMENT) == expected[:1]
    assert read_gold(written(tmp_path, "n.jsonl", lines({"input": "2+2", "answer": 4})), None) == [
        Example("2+2", "4")
    ]


def test_json_gold_is_canonical_whether_object_or_string(tmp_path):
    one = {"input": "x", "output": {"age": 3, "name": "Ann"}}
    two = {"input": "y", "output": ' {"name": "Ann",\n"age": 3.0} '}
    first, second = read_gold(written(tmp_path, "g.jsonl", lines(one, two)), CONTACT)
    assert first.output == second.output
    assert json.loads(first.output) == {"name": "Ann", "age": 3}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_missing_and_empty_files(tmp_path, name):
    with pytest.raises(UsageError, match="no such file"):
        read_inputs(tmp_path / name)
    with pytest.raises(DataError, match="empty"):
        read_inputs(written(tmp_path, name, ""))
    with pytest.raises(DataError, match="empty"):
        read_inputs(written(tmp_path, name, "text\n" if name == "a.csv" else "\n\n"))


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("a.jsonl", lines({"input": "x"}, {"body": "y", "id": 1}), ":2", "keys here are 'body', 'id'"),
        ("a.jsonl", '{"input": "x"}\n{"input": "y', ":2", "not a line of JSON"),
        ("a.jsonl", b'{"input": "x"}\n{"input": "\xff"}\n', ":2", "not a line of JSON"),
        ("a.jsonl", lines({"input": "x"}, {"input": "  "}), ":2", "the input is empty"),
        ("a.jsonl", lines({"input": "x"}, ""), ":2", "the input is empty"),
        ("a.jsonl", lines({"input": 5}), ":1", "not text: 5"),
        ("a.jsonl", lines(5), ":1", "not text: 5"),
        ("a.json", '[{"input": "x"}, {"body": "y"}]', ", item 2", "keys here are 'body'"),
        ("a.json", '[{"input": "x"}, {"bo', "", "not a JSON array"),
        ("a.csv", "body,id\nx,1\n", ":2", "keys here are 'body', 'id'"),
        ("a.csv", "text\nx\n \ny\n", ":3", "the input is empty"),
        ("a.csv", b"text\nok\n\xff\n", ":3", "not UTF-8"),
        ("a.csv", "text\nhello, world\n", ":2", "more cells than"),
        ("a.csv", 'text\n"half', ":2", "not CSV"),
        ("a.txt", b"ok\n\xfe\n", ":2", "not UTF-8"),
        ("a.txt", "ok\n".encode("utf-16"), ":1", "not UTF-8"),
    ],
)
def test_wrong_inputs_name_the_line(tmp_path, name, content, where, message):
    path = written(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as error:
        read_inputs(path)
    assert error.value.where == f"{path}{where}"


@pytest.mark.parametrize(
    ("record", "message", "hint"),
    [
        ({"input": "x", "output": "joyful"}, "'joyful' is no label", "positive, negative"),
        ({"input": "x", "output": "It is positive."}, "is no label", "positive, negative"),
        ({"input": "x"}, "no output: the keys here are 'input'", "label"),
        ({"input": "x", "output": None}, "no output", "label"),
        ({"input": "x", "output": " "}, "the output is empty", ""),
        ("x", "not an object", ""),
    ],
)
def test_wrong_gold_names_the_line_and_the_labels(tmp_path, record, message, hint):
    path = written(tmp_path, "g.jsonl", lines({"input": "ok", "output": "positive"}, record))
    with pytest.raises(DataError, match=message) as error:
        read_gold(path, SENTIMENT)
    assert error.value.where == f"{path}:2"
    assert hint in error.value.hint


def test_json_gold_that_lacks_a_field(tmp_path):
    path = written(tmp_path, "g.jsonl", lines({"input": "x", "output": {"name": "Ann"}}))
    with pytest.raises(DataError, match="does not fit") as error:
        read_gold(path, CONTACT)
    assert "age (integer)" in error.value.hint


def test_a_text_file_is_no_gold(tmp_path):
    with pytest.raises(UsageError, match="no answers"):
        read_gold(written(tmp_path, "g.txt", "x\n"), None)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_a_giant_line_is_refused(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b'"')
        file.truncate(100 * 2**20)
    with pytest.raises(DataError, match="a line is over 16 MiB"):
        read_inputs(path)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(
    lambda text: text.strip()
)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, rows):
    expected = [Example(given.strip(), output.strip()) for given, output in rows]
    path = written(tmp_path, "g.jsonl", lines(*({"input": a, "output": b} for a, b in rows)))
    assert read_gold(path, None) == expected
    assert read_inputs(path) == list(dict.fromkeys(row.input for row in expected))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_round_trip(tmp_path, rows):
    path = tmp_path / "g.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("input", "output"), *rows])
    assert read_gold(path, None) == [Example(a.strip(), b.strip()) for a, b in rows]
