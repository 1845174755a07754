"""The three-line way in: `Student` loads pairs, trains, answers and is scored. `from distill import Student`.

Refuses to train on what it is scored on: the rows held out by the split stay so.
"""

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from distill.config import FinetuneConfig, ImportConfig, plain
from distill.errors import DataError, GateFailed, UsageError
from distill.options import flag, parameter
from distill.parse import parse_answer
from distill.store import jsonl
from distill.store.pairs import frozen, read_pairs, write_pairs
from distill.store.records import read_rows
from distill.store.run import Run, read_json
from distill.store.taskfile import read_task, write_task
from distill.store.telling import kept_splits, pairs_of, talk_of, told, told_by
from distill.student import stopping
from distill.types import Message, Pair, Progress, Quiet, Split, Task

CARD = "student.json"
ROOM_TOKENS = 8
"""Room beyond the longest trained answer."""
Input = str | Sequence[Message] | Sequence[Mapping[str, str]]


class Saved(msgspec.Struct, frozen=True):
    """What a saved student says of itself: its flags, what stands before an input, room for an answer."""

    config: dict[str, Any]
    frame: tuple[Message, ...]
    answer_tokens: int
    schema: int = 1


class Student:
    """A small model to train on pairs and to ask, in three lines.

        s = Student("local")
        s.load_jsonl("pairs.jsonl")
        s.train()
        s.predict(["the plot is thin"])     # ["negative"]
        s.evaluate()                        # base and tuned side by side, on rows held out

    `base` is what `--student` takes: a Hub id, a folder, a GGUF file, or 'local'. Flags are those of
    `distill finetune` with underscores (`epochs=2`, `method="full"`, `student_kind="classifier"`). `task` is
    a `Task` or a task.toml; without it the task is told from the rows. Files lie in `run`, a run folder as
    the command line has it, else in a temporary one that goes with the object: `save` what is to stay.
    Raises UsageError where a flag is unknown or out of bounds.
    """

    def __init__(
        self,
        base: str = "local",
        task: Task | Path | str | None = None,
        *,
        run: Path | str | None = None,
        progress: Progress | None = None,
        **flags: Any,
    ) -> None:
        self.config = FinetuneConfig(student=base, **checked(flags))
        self._progress = progress or Quiet()
        root = Path(run) if run is not None else self._temporary()
        self.run = Run.open(root.parent, root.name, create=True)
        if task is not None:
            write_task(self.run.task, task if isinstance(task, Task) else read_task(Path(task)))
        self._tuned: Any = None
        self._saved: Saved | None = None

    @property
    def task(self) -> Task:
        """What is asked, as given or told from the rows. Raises UsageError where neither was."""
        return read_task(self.run.task)

    def load_jsonl(self, path: Path | str) -> dict[str, int]:
        """Add the rows of a file: the rows in each split afterwards.

        A run's pairs.jsonl keeps the split of the files beside it. Else any shape `distill import` reads
        (chat, prompt and completion, alpaca, sharegpt, input and output; JSONL, JSON, CSV, Parquet): a tenth
        each is held out to choose the checkpoint and to evaluate, near-duplicates on one side. Raises
        DataError with file:line where a row has no known shape, UsageError where there is none.
        """
        path, rows = Path(path), list(read_rows(Path(path)))
        if not rows:
            raise DataError("no rows: the file is empty", where=str(path))
        if pairs := pairs_of(rows):
            return self._add(pairs, kept_splits(path, pairs))
        from distill.steps.importing import import_pairs

        if not self.run.task.exists():
            write_task(self.run.task, told(rows, path, closed=self._closed))
        receipt = import_pairs(self.run, path, self._sharing(no_filters=True), self._progress)
        return {name: int(receipt["splits"][name]) for name in ("train", "valid", "test")}

    def train(self) -> dict[str, Any]:
        """Train on what was loaded: the summary, as metrics.json has it.

        Raises UsageError where nothing was loaded, what `distill finetune` raises, and GateFailed where too
        few answers end by themselves; the student is kept and answers then too.
        """
        from distill.steps.finetune import finetune
        from distill.steps.growing import learning_curve

        self._tuned = None
        with self.run.locked():
            summary = finetune(self.run, self.config, self._progress)
            if self.config.learning_curve:
                summary = learning_curve(self.run, self.config, self._progress, finetune)
        if stopping.failed(summary):
            told = summary["stops"]
            raise GateFailed(stopping.sentence(told), where=str(self.run.adapter), hint=stopping.advice(told))
        return summary

    def predict(self, inputs: Sequence[Input], *, batch_size: int = 32) -> list[str]:
        """An answer for each input, in order: a text as an input of the task, or a conversation as it stands.

        Labels and JSON come in the task's own form; what cannot be read so is given as the student said it.
        Raises UsageError where nothing was trained.
        """
        return self._answers(self._open(), [self._conversation(given) for given in inputs], batch_size)

    def evaluate(self, *, batch_size: int = 32) -> dict[str, Any]:
        """The base and the tuned model on the same held-out rows (test, else valid), and their difference.

        Each {"value", "low", "high", "n"}, 95%. Raises UsageError where nothing was trained or held out.
        """
        from distill.score.metrics import primary, scores
        from distill.score.paired import paired_difference
        from distill.score.stats import mean_interval

        split, pairs = self._held_out()
        task, tuned = self.task, self._open()
        metric, values = primary(task), {}
        for who, student in (("base", tuned.base()), ("tuned", tuned)):
            said = self._said(student, [pair.messages for pair in pairs], batch_size)
            values[who] = scores(task, pairs, said)
        return {
            "split": split,
            "metric": metric,
            **{who: mean_interval(each, self.config.seed)._asdict() for who, each in values.items()},
            "difference": paired_difference(values["tuned"], values["base"], self.config.seed)._asdict(),
        }

    def save(self, folder: Path | str) -> None:
        """Write what `load` needs into a new folder: what was trained and the task, no training rows.

        Raises UsageError where nothing was trained or something is there, StorageError.
        """
        folder = Path(folder)
        self._need_trained()
        if folder.exists() and any(folder.iterdir()):
            raise UsageError("the folder is not empty", where=str(folder), hint="name a new one")
        try:
            shutil.copytree(self.run.adapter, folder / "adapter")
        except OSError as error:
            raise jsonl.full_disk(folder, error) from None
        write_task(folder / "task.toml", self.task)
        jsonl.replace_json(folder / CARD, self._card())

    @staticmethod
    def load(folder: Path | str, *, progress: Progress | None = None) -> "Student":
        """A student that was saved: it answers; to be scored it needs rows again. Raises UsageError."""
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise UsageError(
                "no saved student here", where=str(folder), hint="Student.save(folder) writes one"
            )
        try:
            card = msgspec.convert(read_json(folder / CARD), Saved)
        except msgspec.ValidationError as error:
            raise UsageError(f"damaged: {error}", where=str(folder / CARD)) from None
        flags = {name: value for name, value in card.config.items() if name != "student"}
        student = Student(card.config["student"], folder / "task.toml", progress=progress, **flags)
        student._saved = card
        student.run.folder("finetune")
        shutil.copytree(folder / "adapter", student.run.adapter)
        return student

    def _temporary(self) -> Path:
        folder = tempfile.mkdtemp(prefix="distill-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder) / "student"

    def _add(self, pairs: list[Pair], splits: dict[str, Split]) -> dict[str, int]:
        known, old = frozen(self.run), read_pairs(self.run)
        fresh = {pair.id: pair for pair in pairs if pair.id not in {each.id for each in old}}
        if not self.run.task.exists():
            write_task(self.run.task, told_by(list(map(talk_of, pairs)), closed=self._closed))
        self.run.begin("generate")
        whole = [*old, *fresh.values()]
        sizes = write_pairs(self.run, self.task, self._sharing(), whole, {**splits, **known})
        self.run.finish("generate", {"accepted": len(whole), "splits": sizes}, {})
        return {name: sizes[name] for name in ("train", "valid", "test")}

    @property
    def _closed(self) -> bool:
        return self.config.student_kind == "classifier"

    def _sharing(self, **more: Any) -> ImportConfig:
        return ImportConfig(seed=self.config.seed, **more)

    def _need_trained(self) -> None:
        if not self.run.adapter.is_dir():
            raise UsageError(
                "nothing is trained yet", where=str(self.run.root), hint="first: student.train()"
            )

    def _open(self) -> Any:
        from distill.student.device import pick
        from distill.student.opening import open_student, trained_weights

        self._need_trained()
        if self._tuned is None:
            config, adapter = self.config, self.run.adapter
            weights = trained_weights(config.student, config.student_kind, adapter)
            self._tuned = open_student(weights, pick(config.device, config.dtype), adapter)
        return self._tuned

    def _card(self) -> Saved:
        if self._saved is not None:
            return self._saved
        summary = self.run.summary("finetune") or {}
        room = int(summary.get("answer_tokens_max", 64)) + ROOM_TOKENS
        return Saved(plain(self.config), frame(self._split("train")), room)

    def _conversation(self, given: Input) -> tuple[Message, ...]:
        if isinstance(given, str):
            return (*self._card().frame, Message("user", given))
        return tuple(msgspec.convert(turn, Message, from_attributes=True) for turn in given)

    def _said(self, student: Any, conversations: Sequence[Sequence[Message]], batch_size: int) -> list[str]:
        room = self._card().answer_tokens
        answers = dict(student.answer(conversations, max_new_tokens=room, batch_size=batch_size))
        return [answers[place].text for place in range(len(conversations))]

    def _answers(
        self, student: Any, conversations: Sequence[Sequence[Message]], batch_size: int
    ) -> list[str]:
        task = self.task
        return [parse_answer(task, text) or text for text in self._said(student, conversations, batch_size)]

    def _split(self, name: Split) -> list[Pair]:
        path = self.run.splits[name]
        return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []

    def _held_out(self) -> tuple[Split, list[Pair]]:
        splits: tuple[Split, ...] = ("test", "valid")
        for name in splits:
            if pairs := self._split(name):
                return name, pairs
        raise UsageError("no rows are held out", where=str(self.run.root), hint="load_jsonl more rows")


def checked(flags: Mapping[str, Any]) -> dict[str, Any]:
    """`flags` as the command line would read them. Raises UsageError: an unknown one, one out of bounds."""
    fields = {field.name: field for field in dataclasses.fields(FinetuneConfig)}
    found = {}
    for name, value in flags.items():
        if name not in fields or name == "student":
            known = ", ".join(sorted(set(fields) - {"student"}))
            raise UsageError(
                f"there is no flag '{name}'", where=f"Student({name}=…)", hint=f"there are: {known}"
            )
        if value is None or isinstance(value, bool):
            found[name] = value
            continue
        kind = FinetuneConfig.__annotations__[name]
        try:
            found[name] = parameter(kind, fields[name].metadata).convert(value, None, None)
        except click.BadParameter as error:
            raise UsageError(error.message, where=flag(name)) from None
    return found


def frame(pairs: Sequence[Pair]) -> tuple[Message, ...]:
    """What stands before the input in every training row alike: its system message, if they share one."""
    before = {tuple(message for message in pair.messages if message.role == "system") for pair in pairs}
    return before.pop() if len(before) == 1 else ()
