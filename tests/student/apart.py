"""Checks that want packages which `make setup` lays apart: run in a process where those are found."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def passes_with(folder: str, checks: str) -> None:
    """Every check in that file passes, and none is skipped, with the packages in `.venv/folder`."""
    apart = Path(sys.prefix) / folder
    assert apart.is_dir(), f"{apart} is missing: make setup"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ROOT / "tests" / "student" / checks],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(apart)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
