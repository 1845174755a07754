"""Raw texts for continued pre-training: read, to ids, cut to the context, packed; each token learned once.

Refuses texts without a word, and a tokenizer with nothing to end a document with.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config import FinetuneConfig
from distill.errors import DataError, UsageError
from distill.store.records import READABLE, read_rows
from distill.student.encode import Row
from distill.student.packing import packed

PLAIN = (".txt", ".md", ".text")
HELD_OUT = 0.05  # share of the documents that the validation loss is measured on


@dataclass(frozen=True)
class Document:
    """One text; `id` says where it stands: file:line, or the file."""

    id: str
    text: str


def read_documents(source: str) -> list[Document]:
    """The documents in `source`: a file of text, rows with a `text` column, or a folder of either.

    Raises UsageError where there are none, DataError with file:line where a row has no text.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise UsageError(f"no such file or folder: {source}", where="--texts")
    files = sorted(file for file in path.rglob("*") if is_text(file)) if path.is_dir() else [path]
    found = [document for file in files for document in documents_of(file)]
    if not found:
        kinds = " ".join((*PLAIN, *READABLE))
        raise UsageError(f"no texts in {source}", where="--texts", hint=f"files that can be read: {kinds}")
    return found


def check_stage(config: FinetuneConfig) -> None:
    """Raise UsageError where raw texts are to be learned by what reads none, or by nobody in particular."""
    if config.stage != "pt":
        return
    if config.student_kind != "causal":
        raise UsageError(
            "only a language model learns raw texts",
            where=f"--stage pt, --student-kind {config.student_kind}",
            hint="leave --student-kind out, or --stage",
        )
    if config.student == "auto":
        raise UsageError(
            "there are no answers to choose a student by",
            where="--stage pt, --student auto",
            hint="name a language model: --student local, a Hub id, a folder or a GGUF file",
        )


def texts_digest(source: str | None) -> str:
    """A fingerprint of what `--texts` holds. Raises as `read_documents`."""
    seen = hashlib.sha256()
    for document in read_documents(source) if source else ():
        seen.update(hashlib.sha256(document.text.encode()).digest())
    return seen.hexdigest()[:16]


def is_text(file: Path) -> bool:
    """Whether a file of a folder is read: by its ending; hidden ones are not."""
    return file.is_file() and not file.name.startswith(".") and file.suffix.lower() in (*PLAIN, *READABLE)


def documents_of(file: Path) -> Iterator[Document]:
    """A plain file is one document, a row of any other is one. Empty ones are left out."""
    if file.suffix.lower() in PLAIN:
        try:
            text = file.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            raise DataError(f"cannot be read as UTF-8 text: {error}", where=str(file)) from None
        if text.strip():
            yield Document(file.name, text)
        return
    for where, value, _ in read_rows(file):
        said = value.get("text") if isinstance(value, dict) else None
        if not isinstance(said, str):
            raise DataError(
                "no text in this row", where=where, hint='rows of --texts look like {"text": "…"}'
            )
        if said.strip():
            yield Document(Path(where).name, said)


def held_out(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """(train, valid): the same texts are always held out, HELD_OUT of them; none where there is one text.

    Copies of a text lie on the same side, as they are told by what they say.
    """
    keys = [hashlib.sha256(document.text.strip().encode()).hexdigest() for document in documents]
    distinct = sorted(set(keys))
    chosen = {*distinct[: max(1, round(HELD_OUT * len(distinct)))]} if len(distinct) > 1 else set()
    train = [document for document, key in zip(documents, keys, strict=True) if key not in chosen]
    return train, [document for document, key in zip(documents, keys, strict=True) if key in chosen]


def encode_documents(tokenizer: Any, documents: Sequence[Document], line_tokens: int) -> list[Row]:
    """The documents packed to rows of at most `line_tokens`, none seeing another.

    Every token is a target, once, but a document's first where the tokenizer puts no BOS before it. The
    end-of-text token ends documents, not pieces of one: where a long text is cut nothing is learned to end.
    """
    pieces = [piece for document in documents for piece in pieces_of(tokenizer, document, line_tokens)]
    return packed(pieces, line_tokens)


def pieces_of(tokenizer: Any, document: Document, line_tokens: int) -> list[Row]:
    """A document's ids cut to `line_tokens`; each piece begins with the last token of the one before."""
    end = end_of_text(tokenizer)
    ids = list(tokenizer(document.text, verbose=False)["input_ids"])
    while ids and ids[-1] == end:
        ids.pop()
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:]
    ids.append(end)
    starts = range(0, max(1, len(ids) - 1), line_tokens - 1)
    cuts = [tuple(ids[start : start + line_tokens]) for start in starts]
    return [Row(f"{document.id}#{n}", cut, ((1, len(cut)),)) for n, cut in enumerate(cuts, 1) if len(cut) > 1]


def end_of_text(tokenizer: Any) -> int:
    """The id that ends a document: the end-of-text token, else the separator. Raises UsageError."""
    for number in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if number is not None:
            return int(number)
    raise UsageError(
        "the student's tokenizer has neither an end-of-text nor a separator token",
        where="--student",
        hint="choose another student for --stage pt",
    )
