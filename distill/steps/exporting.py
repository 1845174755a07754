"""The run's pairs as a dataset others can load: a folder, its card and, if asked, a repository on the Hub.

Refuses to send anything before the token and the name are known to be there.
"""

from pathlib import Path
from typing import Any

from distill.config import ExportConfig
from distill.errors import UsageError
from distill.report.card import card
from distill.store import hub, jsonl
from distill.store.dataset import HUB_NAMES, MADE_BY, check_ours, file_name, write_dataset
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import Pair, Progress, Split


def export_data(run: Run, config: ExportConfig, progress: Progress) -> dict[str, Any]:
    """Write the three splits and their card; what was written, and where it was sent.

    Raises UsageError where there are no pairs or the folder is somebody else's, CredentialsError without a
    token, DistillError where the Hub cannot be reached: the folder is written by then.
    """
    task, receipt = read_task(run.task), run.summary("generate")
    splits = {name: pairs for name in HUB_NAMES if (pairs := read_split(run, name))}
    if not splits or receipt is None:
        raise UsageError("there are no pairs", where=str(run.pairs), hint="distill generate, or import FILE")
    key = hub.token() if config.push and hub.check_name(config.push) else ""
    folder = config.out or run.dataset
    check_ours(folder)
    progress.begin("writing the dataset", sum(map(len, splits.values())))
    files = {HUB_NAMES[name]: file_name(name, config.format) for name in splits}
    text = card(task, splits, files, receipt, teacher_name(run), MADE_BY)
    write_dataset(folder, splits, task.label_names, text, config.format)
    progress.advance(sum(map(len, splits.values())))
    address = None
    if config.push:
        progress.say(f"sending it to {config.push} …")
        address = hub.push(folder, config.push, key=key, public=config.public)
    return {
        "folder": str(folder),
        "format": config.format,
        "rows": {HUB_NAMES[name]: len(pairs) for name, pairs in splits.items()},
        "pushed": address,
    }


def read_split(run: Run, name: Split) -> list[Pair]:
    """The pairs of a split; none where it is not there."""
    path = run.splits[name]
    return [pair for _, pair in jsonl.read(path, Pair)] if path.exists() else []


def teacher_name(run: Run) -> str:
    """What the teacher is called, without the folder it lies in or the address it is at."""
    settings = run.settings().get("teacher", {})
    name = str(settings.get("teacher", ""))
    if name == "local":
        return f"the embedded model{of(settings.get('local_model'))}"
    return Path(name).name if name.startswith(("/", ".", "~")) else name


def of(model: str | None) -> str:
    """ " SmolLM2.gguf", or nothing where it is the installed one."""
    return f" {Path(model).name}" if model else ""
