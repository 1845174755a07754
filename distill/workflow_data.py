"""The commands that bring pairs in, look at them and take them out: `import`, `inspect-data`, `export-data`.

Refuses to give a run that has pairs another task.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from distill import views
from distill.config import ExportConfig, FinetuneConfig, ImportConfig
from distill.console import Bar
from distill.errors import DataError, UsageError
from distill.options import fill
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.workplace import Context, filled, needs, workplace


def import_file(
    context: Context, file: Path, given: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[Any]]:
    """`distill import`."""
    from distill.steps import importing as step

    config = filled(ImportConfig, given)
    if not file.exists():
        raise UsageError(f"no such file: {file}", where="FILE")
    with workplace(context, create=True) as place:
        if config.task is not None:
            take_task(place.run, config.task)
        summary = step.already(place.run, file, config)
        if summary is None:
            place.record("import", config)
            with Bar(place.console) as bar:
                summary = step.import_pairs(place.run, file, config, bar)
        else:
            place.console.say(f"{file.name} is imported and nothing changed; this is what it left:")
        return summary, views.imported(place.run, summary)


def take_task(run: Run, file: Path) -> None:
    """Make `file` the run's task. Raises UsageError where its pairs are of another one."""
    task = read_task(file)
    if run.task.exists():
        before = read_task(run.task)
        if msgspec.structs.replace(before, prompt=task.prompt) == task:
            return  # the prompt that was found best for it stays
        if run.pairs.exists():
            raise UsageError(
                f"this run has pairs of task '{before.name}', which differs from this file",
                where="--task",
                hint="leave --task out to add to them, or start another run: distill --run NAME import …",
            )
    jsonl.replace_bytes(run.task, [file.read_bytes()])


def export_data(context: Context, given: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[Any]]:
    """`distill export-data`."""
    from distill.steps import exporting as step

    config = fill(ExportConfig, given)
    if config.public and not config.push:
        raise UsageError("there is nothing to make public", where="--public", hint="--push owner/name")
    with workplace(context) as place:
        needs(place.run, "generate")
        with Bar(place.console) as bar:
            summary = step.export_data(place.run, config, bar)
        return summary, views.exported(summary)


def inspect_data(
    context: Context, count: int, given: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[Any]]:
    """`distill inspect-data`; flags left out are those that finetune was last given."""
    from distill.steps import inspecting as step
    from distill.views_rows import inspected

    with workplace(context) as place:
        before = place.run.settings().get("finetune", {})
        if given.get("student") is not None:
            before = {**before, "student_kind": "causal"}  # whose kind was that of another one
        config = fill(FinetuneConfig, given, before)
        if config.stage == "sft":
            needs(place.run, "generate")
        with Bar(place.console) as bar:
            summary = step.inspect_data(place.run, config, count, bar)
        return summary, inspected(place.console, summary)


def refuse_unfit(summary: Mapping[str, Any]) -> None:
    """Raise DataError where a row fails a check."""
    failed = [check for check in summary["checks"] if check["failed"]]
    if failed:
        rows = ", ".join(name for check in failed for name in check["rows"][:3])
        reasons = "; ".join(check["why"] or check["holds"] for check in failed)
        raise DataError(
            f"finetune would refuse these rows: {reasons}",
            where=f"rows {rows}" if rows else "--student",
            hint="drop or mend them; for long ones: --on-long drop or trim-prompt",
        )
