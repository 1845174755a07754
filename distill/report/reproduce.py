"""How to make the run again, from run.json: the commands, the models, the versions, the fingerprints. Pure.

Refuses to tell of the machine it was made on: of a path only the last part, of an address no query.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from distill import config
from distill.report.plain import visible

Record = Mapping[str, Any]
STEPS = (
    ("generate", config.GenerateConfig),
    ("finetune", config.FinetuneConfig),
    ("compare", config.CompareConfig),
)


def reproduce(report: Record, receipt: Record, run: Record, metrics: Record | None) -> dict[str, Any]:
    """`commands` (a line each), `versions`, and `prints`: fingerprints of all it was made from."""
    commands = all_of(run, receipt)
    made = {**((metrics or {}).get("made_from") or {}), **(report.get("made_from") or {})}
    looks = re.compile(r"[0-9a-f]{12,64}")
    prints = {key: value for key, value in made.items() if isinstance(value, str) and looks.fullmatch(value)}
    return {
        "commands": [visible(command) for command in commands],
        "versions": {visible(key): visible(str(value)) for key, value in (run.get("versions") or {}).items()},
        "prints": {visible(key): value for key, value in prints.items()},
    }


def all_of(run: Record, receipt: Record) -> list[str]:
    """Every command, in order: imports and rounds of refilling are told by the receipt.

    The first one takes the run's task.toml, as explore left it or a person wrote it.
    """
    name = ["--run", run["name"]] if run.get("name") else []
    steps = {
        step: [step, *flags(run.get(step) or {}, kind), *teacher(run, step)]
        for step, kind in STEPS
        if run.get(step) is not None
    }
    imports = [
        ["import", private(each["file"]), *flags(each.get("how") or {}, config.ImportConfig)]
        for each in receipt.get("imports") or ()
    ]
    made = [*imports, *[steps.pop("generate")]] if "generate" in steps else imports
    if not made and not steps:
        return []
    trained = list(steps.values())
    for round_ in receipt.get("refills") or ():
        again = ["generate", "--from-failures", "--n", str(round_["asked"]), *teacher(run, "generate")]
        made += [*trained, ["failures"], again]
    words = [["pick", "--task", "task.toml"], *made, *trained]
    return [shlex.join(["distill", *name, *each]) for each in words]


def teacher(run: Record, step: str) -> list[str]:
    """The flags that choose the teacher, for the steps that ask one."""
    return flags(run.get("teacher") or {}, config.TeacherConfig) if step != "finetune" else []


def flags(given: Record, kind: Any) -> list[str]:
    """The flags that differ from their defaults, as they are typed."""
    typed: list[str] = []
    for field in dataclasses.fields(kind):
        value = given.get(field.name, field.default)
        if value == field.default or value in (None, [], ()):
            continue
        name = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            typed += [name] if value else [f"--no-{name[2:]}"]
        else:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                typed += [name, private(str(each))]
    return typed


def private(text: str) -> str:
    """A path as its last part, an address without user, query and fragment; all else as it is."""
    if "://" in text:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    return text.rsplit("/", 1)[-1] if text.startswith(("/", "~", "..")) else text
