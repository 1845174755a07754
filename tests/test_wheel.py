"""What `pip install` gives: the command, and the prompts inside the package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_wheel_installed_bare_has_its_command_and_prompts(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    templates = {path.relative_to(ROOT / "prompts").as_posix() for path in (ROOT / "prompts").rglob("*.txt")}
    assert {"role.txt", "zh/role.txt"} <= templates
    assert {f"distill/templates/{name}" for name in templates} <= set(inside)
    page = {f"distill/report/page/{name}" for name in ("template.html.j2", "style.css", "script.js")}
    assert page <= set(inside)
    assert not [name for name in inside if name.startswith(("tests/", "examples/", "runs/"))]
    # Bare: the package and what --help needs, nothing else of its dependencies.
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(bare)], check=True)
    python = bare / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "click", "msgspec"], check=True)
    helped = subprocess.run(
        [bare / "bin" / "distill", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "distill generate --n 1000" in helped.stdout
    code = "from distill.prompts import folder, read; "
    code += "print(folder(), read('student'), ascii(read('role', 'zh')))"
    read = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert str(bare) in read.stdout
    assert "$instruction" in read.stdout
    assert ascii("二十年").strip("'") in read.stdout
