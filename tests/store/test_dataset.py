"""Datasets out and in: as the Hub has them, saved to disk, Parquet, arrays; class names are kept."""

import json

import pytest

from distill.errors import DataError, UsageError
from distill.store.conversations import conversation
from distill.store.dataset import check_ours, write_dataset
from distill.store.records import read_rows, split_of
from distill.types import Message, Pair

pytestmark = pytest.mark.slow  # loads datasets

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train*
  - split: test
    path: data/test*
---
<!-- made by distill export-data -->
"""


def pair(text, answer, **more):
    shown = (Message("system", "Say the mood."), Message("user", text))
    return Pair.make(shown, answer, "written", more or None)


def splits():
    earlier = (Message("user", "hi"), Message("assistant", "yes?"), Message("user", "I won 🎉\n <b>"))
    return {
        "train": [pair("I lost", "sad", place="home"), pair("I won", "happy", size="long")],
        "test": [Pair.make(earlier, "happy", "imported", rationale="they won")],
    }


@pytest.mark.parametrize("form", ["datasets", "jsonl"])
def test_load_dataset_reads_what_is_written(tmp_path, form):
    from datasets import ClassLabel, load_dataset

    folder = tmp_path / "out"
    write_dataset(folder, splits(), ["happy", "sad"], CARD, form)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 2, "test": 1}
    first = loaded["train"][0]
    assert first["messages"] == [
        {"role": "system", "content": "Say the mood."},
        {"role": "user", "content": "I lost"},
        {"role": "assistant", "content": "sad"},
    ]
    assert first["attributes"] == {"place": "home", "size": None}
    assert loaded["test"][0]["rationale"] == "they won"
    if form == "datasets":
        assert loaded["train"].features["label"] == ClassLabel(names=["happy", "sad"])
        assert first["label"] == 1
    else:
        assert first["label"] == "sad"


@pytest.mark.parametrize("form", ["datasets", "jsonl"])
def test_what_is_written_is_read_with_the_same_ids_and_splits(tmp_path, form):
    write_dataset(tmp_path / "out", splits(), ["happy", "sad"], CARD, form)
    found = {}
    for row in read_rows(tmp_path / "out"):
        read = conversation(row.value, row.where)
        made = Pair.make(read.messages, read.answer, "x", read.attributes, rationale=read.rationale)
        found.setdefault(row.split, []).append((made.id, made.attributes, made.rationale))
    assert found == {
        name: [(each.id, each.attributes, each.rationale) for each in pairs]
        for name, pairs in splits().items()
    }


def test_only_a_folder_of_ours_is_written_over(tmp_path):
    folder = tmp_path / "out"
    check_ours(folder)
    write_dataset(folder, splits(), [], CARD, "datasets")
    check_ours(folder)
    write_dataset(folder, splits(), [], CARD, "jsonl")
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["test.jsonl", "train.jsonl"]
    assert not list(tmp_path.glob(".*"))
    (folder / "README.md").write_text("# my notes")
    with pytest.raises(UsageError, match="other things"):
        check_ours(folder)
    with pytest.raises(UsageError, match="a file"):
        check_ours(folder / "README.md")


def saved(folder, **parts):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["sad", "happy"])})
    made = {name: Dataset.from_list(rows, features=features) for name, rows in parts.items()}
    (DatasetDict(made) if len(made) > 1 else made["train"]).save_to_disk(str(folder), num_proc=None)
    return folder


def test_a_folder_saved_to_disk_keeps_its_splits_and_the_names_of_its_classes(tmp_path, capsys):
    rows = [{"text": "I lost", "label": 0}, {"text": "I won", "label": 1}, {"text": "?", "label": -1}]
    folder = saved(tmp_path / "d", train=rows[:2], validation=rows[2:], test=rows[1:2])
    read = list(read_rows(folder))
    assert [(row.split, row.value["label"]) for row in read] == [
        ("train", "sad"),
        ("train", "happy"),
        ("valid", None),
        ("test", "happy"),
    ]
    assert read[1].where.endswith("train:2")
    alone = list(read_rows(saved(tmp_path / "alone", train=rows[:2])))
    assert [(row.split, row.value["label"]) for row in alone] == [(None, "sad"), (None, "happy")]


def test_parquet_without_any_notes_of_datasets(tmp_path):
    from pyarrow import Table, parquet

    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    parquet.write_table(Table.from_pylist([{"messages": turns}] * 2500), tmp_path / "a.parquet")
    read = list(read_rows(tmp_path / "a.parquet"))
    assert len(read) == 2500
    assert read[-1] == (f"{tmp_path / 'a.parquet'}:2500", {"messages": turns}, None)


def test_broken_absent_and_empty_sources_are_told(tmp_path):
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not Parquet"):
        list(read_rows(broken))
    for absent in ("b.parquet", "b.jsonl", "b.csv", "b.json"):
        with pytest.raises(UsageError, match="no such file"):
            list(read_rows(tmp_path / absent))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no data"):
        list(read_rows(tmp_path / "empty"))
    (tmp_path / "empty" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="not a datasets folder"):
        list(read_rows(tmp_path / "empty"))


def test_files_of_a_folder_are_split_by_their_names(tmp_path):
    for name in ("train.jsonl", "dev_01.jsonl", "test-00000-of-00001.json", "more.csv"):
        text = "text,label\nx,y\n" if name.endswith("csv") else json.dumps({"text": "x", "label": "y"})
        (tmp_path / name).write_text(text)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.jsonl").write_text("broken")
    assert sorted(str(row.split) for row in read_rows(tmp_path)) == ["None", "test", "train", "valid"]
    assert [split_of(name) for name in ("trained", "Validation-1", "test")] == [None, "valid", "test"]
