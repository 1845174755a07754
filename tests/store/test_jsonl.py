"""JSON lines: append is whole or not at all, a torn tail is repaired, damage in the middle is an error."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import DataError, StorageError, UsageError
from distill.store import jsonl

pytestmark = pytest.mark.slow  # together they take seconds


def write(path, *records):
    with jsonl.Appender(path) as file:
        for record in records:
            file.append(record)


def read(path):
    return [record for _, record in jsonl.read(path, dict)]


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())), st.data())
def test_any_truncation_repairs_to_a_prefix(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    write(path, *records)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    write(path, {"after": 1})
    kept = read(path)
    assert kept[:-1] == records[: len(kept) - 1]
    assert kept[-1] == {"after": 1}
    assert len(kept) - 1 == whole[:cut].count(b"\n")


def test_damage_in_the_middle_names_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.where == f"{path}:2"


def test_wrong_record_names_its_field(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(DataError, match="Expected `array`"):
        list(jsonl.read(path, list))


def test_byte_order_mark_and_blank_lines_are_no_records(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert read(path) == [{"a": 1}, {"a": 2}]


def test_absent_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "absent.jsonl")


def test_full_disk_leaves_no_torn_line(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    appender = jsonl.Appender(path)
    appender.append({"a": 1})
    real = os.write

    def half(file, line):
        real(file, line[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        appender.append({"a": 2})
    monkeypatch.undo()
    assert str(path) in caught.value.where
    appender.append({"a": 3})
    appender.close()
    assert read(path) == [{"a": 1}, {"a": 3}]


def test_replace_is_all_or_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    jsonl.replace(path, [{"a": 1}])

    def broken():
        yield {"a": 2}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        jsonl.replace(path, broken())
    assert read(path) == [{"a": 1}]
    jsonl.replace(path, [{"a": 3}])
    assert read(path) == [{"a": 3}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        jsonl.Appender(tmp_path / "file" / "a.jsonl")
