"""Raw texts to packed rows: every token learned once, documents ended, pieces not."""

import pytest

from distill.errors import DataError, UsageError
from distill.student.documents import (
    Document,
    encode_documents,
    held_out,
    pieces_of,
    read_documents,
    texts_digest,
)
from distill.student.packing import separated
from tests.student.tiny import byte_tokenizer

pytestmark = pytest.mark.slow


def test_texts_of_every_kind_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n{"text": " "}\n{"text": "four"}\n')
    (tmp_path / "c.csv").write_text("text,n\nfive,1\n")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "image.png").write_text("no")
    found = read_documents(str(tmp_path))
    assert [document.text for document in found] == ["one\n\ntwo", "three", "four", "five"]
    assert found[2].id == "b.jsonl:3"
    before = texts_digest(str(tmp_path))
    (tmp_path / "a.txt").write_text("other")
    assert texts_digest(str(tmp_path)) != before


def test_what_holds_no_text_is_refused(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"body": "y"}\n')
    with pytest.raises(DataError, match="no text in this row") as caught:
        read_documents(str(tmp_path / "b.jsonl"))
    assert caught.value.where.endswith("b.jsonl:2")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UsageError, match="no texts"):
        read_documents(str(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="UTF-8"):
        read_documents(str(tmp_path / "latin.txt"))
    with pytest.raises(UsageError, match="no such file"):
        read_documents(str(tmp_path / "none"))


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 95, 100])
def test_every_token_is_learned_once_and_only_the_end_ends(length):
    text = "".join(chr(97 + number % 26) for number in range(length))
    tokenizer = byte_tokenizer()
    pieces = pieces_of(tokenizer, Document("d", text), 10)
    assert all(len(piece.ids) <= 10 for piece in pieces)
    learned = [label for piece in pieces for label in piece.labels if label != -100]
    assert tokenizer.decode(learned) == f"{text[1:]}<|endoftext|>"
    ends = [tokenizer.eos_token_id in piece.ids for piece in pieces]
    assert ends == [False] * (len(pieces) - 1) + [True]


def test_documents_are_packed_and_stay_apart():
    rows = encode_documents(byte_tokenizer(), [Document(str(n), "abc" * n) for n in range(1, 9)], 30)
    assert all(len(row.ids) <= 30 for row in rows)
    parts = [part for row in rows for part in separated(row)]
    assert len(rows) < len(parts) == 8
    assert sum(row.target_tokens for row in rows) == sum(3 * n for n in range(1, 9))


def test_what_is_held_out_is_always_the_same_and_shares_no_text():
    documents = [Document(str(n), f"text {n % 30}") for n in range(60)]
    train, valid = held_out(documents)
    assert len(train) + len(valid) == 60
    assert valid
    assert not {document.text for document in train} & {document.text for document in valid}
    assert held_out(documents[::-1])[1] == [*reversed(valid)]
    assert held_out(documents[:1]) == (documents[:1], [])


def test_without_an_end_there_is_no_pretraining():
    with pytest.raises(UsageError, match="neither an end-of-text nor a separator"):
        pieces_of(byte_tokenizer(eos=None), Document("d", "x"), 10)


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"student_kind": "classifier"}, "--student-kind classifier"),
        ({"student_kind": "auto"}, "--student-kind auto"),
        ({"student": "auto"}, "--student auto"),
    ],
)
def test_raw_texts_are_for_a_language_model_that_is_named(tmp_path, flags, where):
    from distill.config import FinetuneConfig
    from distill.steps.finetune import finetune
    from distill.store.run import Run
    from distill.types import Quiet

    (tmp_path / "texts.txt").write_text("Some words.")
    run = Run.open(tmp_path / "runs", "r", create=True)
    config = FinetuneConfig(stage="pt", texts=str(tmp_path / "texts.txt"), **flags)
    with pytest.raises(UsageError) as caught:
        finetune(run, config, Quiet())
    assert where in caught.value.where
    assert caught.value.hint
