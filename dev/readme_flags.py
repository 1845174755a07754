"""Writes the flags of every command into README.md, from config.py: `make docs`; a test checks it."""

import dataclasses
from pathlib import Path

from distill import config
from distill.options import flag

START, END = "<!-- flags: made by dev/readme_flags.py -->", "<!-- end of flags -->"
COMMANDS = {
    "distill explore": config.ExploreConfig,
    "distill generate": config.GenerateConfig,
    "distill finetune": config.FinetuneConfig,
    "distill compare": config.CompareConfig,
    "the teacher (explore, generate, compare)": config.TeacherConfig,
}


def shown(value: object) -> str:
    """A default as the table has it."""
    return (
        {None: "", True: "on", False: "off"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def table() -> str:
    """One Markdown table a command."""
    parts = []
    for command, kind in COMMANDS.items():
        rows = [
            f"| `{flag(field.name)}` | {shown(field.default)} | {field.metadata['help']} |"
            for field in dataclasses.fields(kind)
        ]
        parts.append(
            "\n".join([f"**{command}**\n", "| flag | default | what it does |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def written(readme: str) -> str:
    """The README with the tables in place."""
    head, rest = readme.split(START)
    return f"{head}{START}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = Path(__file__).parent.parent / "README.md"
    path.write_text(written(path.read_text()))
