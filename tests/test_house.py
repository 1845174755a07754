"""The house holds: imports go down the floors, nothing heavy loads early, every knob is read."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev.readme import written
from distill import config, prompts
from distill.cli import cli
from distill.options import flag

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "distill"
# A module imports only from floors below its own; those on one floor do not import each other.
FLOORS = (
    {"errors", "types", "results"},
    {"config", "menu", "tongue"},
    {"prompts", "parse", "weights", "scouted"},
    {"score", "wording"},
    {"ask", "store"},
    {"teacher", "student"},
    {"judge", "planning"},
    {"filters", "report", "traffic"},
    {"probing", "naming", "headroom", "worth"},
    {"auditing", "logged_tasks"},
    {"deciding", "improving", "probe_sets", "proposing", "reasons"},
    {"scouting"},
    {"answering", "given", "saturation", "judging"},
    {"bettering"},
    {"making"},
    {"lift", "preparing", "held_out", "clustering", "rounds", "pairing"},
    {"refilling"},
    {"systems", "reasking"},
    {"timing"},
    {"steps"},
    {"panel"},
    {"options", "console"},
    {"views", "views_explore", "views_rows", "views_training", "views_suspects", "keys"},
    {"views_review"},
    {"workplace"},
    {"opened"},
    {"jury", "workflow_explore"},
    {"workflow", "workflow_data"},
    {"reviewing", "refining", "leaving", "workflow_suspects"},
    {"cli", "api"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {
    "aiohttp",
    "uvloop",
    "pyarrow",
    "torch",
    "transformers",
    "datasets",
    "peft",
    "openai",
    "httpx",
    "numpy",
    "rich",
    "scipy",
    "matplotlib",
}
CONFIGS = (
    config.TeacherConfig,
    config.SpendConfig,
    config.ExploreConfig,
    config.GenerateConfig,
    config.ImportConfig,
    config.ExportConfig,
    config.FinetuneConfig,
    config.CompareConfig,
    config.ReviewConfig,
    config.FailuresConfig,
    config.SuspectsConfig,
)


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "distill":
            parts = node.module.split(".")[1:]
            yield from ([parts[0]] if parts else [name.name for name in node.names])
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("distill."))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_floors_below(path):
    room = room_of(path)
    for other in imported(ast.parse(path.read_text())):
        if other in (room, "__version__"):
            continue
        assert FLOOR[other] < FLOOR[room], (
            f"{room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"
        )


def test_steps_do_not_know_each_other():
    for path in (PACKAGE / "steps").glob("*.py"):
        assert "distill.steps" not in path.read_text().replace('"""', "")


def test_only_the_console_prints():
    for path in modules():
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printed = [call for call in calls if getattr(call.func, "id", "") == "print"]
        assert not printed, path


def test_only_the_run_folder_knows_a_file_name():
    for path in modules():
        if path.name not in ("jsonl.py", "run.py"):
            assert not re.search(r'/ "[a-z]+\.jsonl"', path.read_text()), path


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from distill.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "distill explore" in done.stdout
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_help_of_every_command_loads_nothing_heavy(command):
    code = (
        f"import sys; from distill.cli import main\ntry: main(['{command}', '-h'])\nexcept SystemExit: pass\n"
    )
    code += "print('LOADED', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}
    assert not loaded & HEAVY


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_knob_is_read_somewhere(kind):
    source = "\n".join(path.read_text() for path in modules() if path.name not in ("config.py", "options.py"))
    read = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert {field.name for field in dataclasses.fields(kind)} <= read


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_knob_has_help_and_a_flag_of_its_own(kind):
    flags = [flag(field.name) for field in dataclasses.fields(kind)]
    assert len(set(flags)) == len(flags)
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(kind))


def test_every_command_and_flag_stands_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name, command in cli.commands.items():
        assert f"distill {name}" in readme, name
        assert command.help
    for kind in CONFIGS:
        for field in dataclasses.fields(kind):
            assert f"`{flag(field.name)}`" in readme, flag(field.name)


def test_tables_of_the_readme_are_those_of_config_and_results():
    readme = (ROOT / "README.md").read_text()
    assert written(readme) == readme, "run: make docs"


def test_every_template_is_used():
    source = "\n".join(path.read_text() for path in modules())
    unused = [path.stem for path in prompts.folder().glob("*.txt") if f'"{path.stem}"' not in source]
    assert not unused


def test_no_module_is_a_drawer():
    assert not [path for path in modules() if path.stem in ("utils", "helpers", "common", "misc")]


def test_files_and_functions_stay_readable():
    for path in modules():
        text = path.read_text()
        assert text.count("\n") <= 300, f"{path} is {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno <= 60, f"{path}: {node.name}"
