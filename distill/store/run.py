"""The run folder: the only module that knows a file name. Steps talk to each other through it.

A step's summary file is written last, so its existence means the step is done; it carries `made_from`,
the digest of each thing it was made from, so a change upstream makes it stale by name.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import filelock
import msgspec

from distill.errors import RunLocked, UsageError
from distill.store import jsonl
from distill.types import Split

Step = Literal["explore", "generate", "finetune", "compare", "judge"]
"""What pays for calls of its own. The judge of compare is no step, but has a folder in that of compare."""
STEPS: tuple[Step, ...] = ("explore", "generate", "finetune", "compare")
FOLDERS: dict[Step, str] = {
    "explore": "1-explore",
    "generate": "2-generate",
    "finetune": "3-finetune",
    "compare": "4-compare",
    "judge": "4-compare/judge",
}
SUMMARIES: dict[Step, str] = {
    "explore": "summary.json",
    "generate": "receipt.json",
    "finetune": "metrics.json",
    "compare": "report.json",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str, *, where: str = "--run") -> str:
    """`name`, if it may become a folder: letters, digits, '.', '_' and '-'. Raises UsageError."""
    if not NAME.fullmatch(name) or ".." in name or name == "current":
        raise UsageError(
            f"{name!r} cannot be a run name",
            where=where,
            hint="letters, digits, '.', '_' and '-', 64 at most",
        )
    return name


class Run:
    """One folder `runs/<name>/` and every path in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name
        self.config = root / "run.json"
        self.task = root / "task.toml"
        self.tasks = root / "1-explore" / "tasks.jsonl"
        self.probes = root / "1-explore" / "probes.jsonl"
        self.requests = root / "1-explore" / "requests.jsonl"
        self.picked_requests = root / "1-explore" / "picked.jsonl"
        self.explored_html = root / "1-explore" / "report.html"
        self.candidates = root / "2-generate" / "candidates.jsonl"
        self.corrections = root / "2-generate" / "rules.toml"
        self.pairs = root / "2-generate" / "pairs.jsonl"
        self.refills = root / "2-generate" / "refills.jsonl"
        self.audit = root / "2-generate" / "audit.jsonl"
        self.suspects = root / "2-generate" / "suspects.jsonl"
        self.corrections = root / "2-generate" / "rules.toml"
        self.splits: dict[Split, Path] = {
            name: root / "2-generate" / f"{name}.jsonl" for name in ("train", "valid", "test")
        }
        self.adapter = root / "3-finetune" / "adapter"
        self.metrics = root / "3-finetune" / "metrics.jsonl"
        self.loss_plot = root / "3-finetune" / "loss.png"
        self.mask = root / "3-finetune" / "mask.txt"
        self.checkpoint = root / "3-finetune" / "checkpoint.safetensors"
        self.reports = root / "3-finetune" / "reports"
        self.curve = root / "3-finetune" / "curve"
        self.curve_points = self.curve / "points.jsonl"
        self.curve_plot = root / "3-finetune" / "learning-curve.png"
        self.answers = root / "4-compare" / "answers.jsonl"
        self.html = root / "4-compare" / "report.html"
        self.judged = root / "4-compare" / "judged.jsonl"
        self.cascade = root / "4-compare" / "cascade.json"
        self.exported_cascade = self.adapter / "cascade.json"
        self.review = root / "4-compare" / "review.jsonl"
        self.reviewed = root / "4-compare" / "review.json"
        self.failures = root / "4-compare" / "failures.json"
        self.own_answers = root / "4-compare" / "own.jsonl"
        self.rounds = root / "4-compare" / "rounds.jsonl"
        self.dataset = root / "5-export" / "dataset"

    @staticmethod
    def open(runs_dir: Path, name: str | None, *, create: bool = False) -> "Run":
        """Run `name` (None: the one `runs/current` names), which becomes the current one.

        Raises UsageError where the name is unfit, or there is no such run and `create` is False.
        """
        current = runs_dir / "current"
        if name is None and current.is_file():
            name = check_name(current.read_text(encoding="utf-8").strip(), where=str(current))
        if name is None and not create:
            raise UsageError(
                "there is no run yet", where=str(runs_dir), hint='start one: distill explore "BRIEF"'
            )
        root = runs_dir / check_name(name or "first")
        if not root.is_dir():
            if not create:
                known = sorted(path.parent.name for path in runs_dir.glob("*/run.json"))
                raise UsageError(
                    f"there is no run '{root.name}'",
                    where="--run",
                    hint=f"known: {', '.join(known) or 'none yet'}",
                )
            try:
                root.mkdir(parents=True)
            except OSError as error:
                raise jsonl.full_disk(root, error) from None
        run = Run(root)
        if not run.config.exists():
            run.record("schema", 1)
        if not current.is_file() or current.read_text(encoding="utf-8").strip() != run.name:
            jsonl.replace_bytes(current, [run.name.encode() + b"\n"])
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run against other processes. Raises RunLocked at once where one is at work."""
        lock = filelock.FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunLocked(
                f"another distill process is working on run '{self.name}'",
                where=str(self.root),
                hint="wait for it, or use another --run",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def settings(self) -> dict[str, Any]:
        """What run.json says; empty where there is none yet. Raises UsageError where it is damaged."""
        if not self.config.exists():
            return {}
        return read_json(self.config)

    def record(self, section: str, value: Any) -> None:
        """Write one section of run.json."""
        jsonl.replace_json(self.config, {**self.settings(), section: value})

    def folder(self, step: Step) -> Path:
        """The step's folder, made if need be."""
        path = self.root / FOLDERS[step]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise jsonl.full_disk(path, error) from None
        return path

    def ledger(self, step: Step) -> Path:
        """Where the step's teacher calls are written."""
        return self.root / FOLDERS[step] / "calls.jsonl"

    def journal(self, step: Step) -> Path:
        """Where a budget keeps what the step has in flight."""
        return self.root / FOLDERS[step] / "budget.json"

    def batches(self, step: Step) -> Path:
        """Where the step's batches are remembered while the endpoint works on them."""
        return self.root / FOLDERS[step] / "batches.jsonl"

    def unsupported(self, identity: str) -> list[str]:
        """What the endpoint of that identity turned out not to take, by this run's earlier calls."""
        return list(self.settings().get("endpoints", {}).get(identity, []))

    def remember_unsupported(self, identity: str, name: str) -> None:
        """Write down that it does not take `name`, so that no later command asks it again."""
        known = self.settings().get("endpoints", {})
        names = sorted({*known.get(identity, []), name})
        self.record("endpoints", {**known, identity: names})

    def ledgers(self) -> list[Path]:
        """Every ledger of the run: an answer bought by any step is never bought again by another."""
        return [path for step in STEPS if (path := self.ledger(step)).exists()]

    def summary_path(self, step: Step) -> Path:
        """The file that says a step is done."""
        return self.root / FOLDERS[step] / SUMMARIES[step]

    def summary(self, step: Step) -> dict[str, Any] | None:
        """What the step left when it was done, or None."""
        path = self.summary_path(step)
        return read_json(path) if path.exists() else None

    def begin(self, step: Step) -> None:
        """Take the step's summary away: from here until `finish` it is not done."""
        self.folder(step)
        self.summary_path(step).unlink(missing_ok=True)

    def finish(self, step: Step, summary: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
        """Write the step's summary, the last thing it does."""
        jsonl.replace_json(self.summary_path(step), {"schema": 1, **summary, "made_from": dict(made_from)})

    def changed(
        self, step: Step, made_from: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> list[str]:
        """The names of what differs from when the step was done; empty if nothing does.

        A knob that there was not yet, and that stands at its value of `defaults`, makes no difference.
        Raises UsageError where the step is not done.
        """
        summary = self.summary(step)
        if summary is None:
            raise UsageError(
                f"{step} is not done yet", where=str(self.summary_path(step)), hint=f"run: distill {step}"
            )
        before, now, new = (
            msgspec.json.decode(msgspec.json.encode(dict(values)))
            for values in (summary.get("made_from", {}), made_from, defaults or {})
        )
        return sorted(name for name in {*before, *now} if before.get(name, new.get(name)) != now.get(name))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises UsageError where it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"damaged: {error}", where=str(path), hint="restore or delete the file, then run again"
        ) from None


def digest(path: Path | None) -> str | None:
    """A fingerprint of a file's bytes, or None where there is no such file."""
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
