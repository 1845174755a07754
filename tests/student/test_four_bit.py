"""QLoRA by bitsandbytes itself, in a process where it is found: `make setup` lays it apart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_qlora_on_4_bit_weights():
    apart = Path(sys.prefix) / "qlora"
    assert apart.is_dir(), "bitsandbytes is missing: make setup"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ROOT / "tests" / "student" / "four_bit_checks.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(apart)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
