"""The hooks of pre-commit run what is installed, and find what they are there for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import PROJECT

pytestmark = pytest.mark.one_python

CONFIGURED = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS: dict[str, dict[str, Any]] = {hook["id"]: hook for repository in CONFIGURED["repos"] for hook in repository["hooks"]}


def run(hook: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the hook's command on one file, with the programs of the environment that runs the tests."""
    program, *arguments = HOOKS[hook]["entry"].split()
    folder, name = program.rsplit("/", 1)
    assert folder == ".venv/bin"
    command = [str(Path(sys.executable).with_name(name)), *arguments, str(path)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)


def test_no_hook_is_fetched_from_anywhere() -> None:
    assert {repository["repo"] for repository in CONFIGURED["repos"]} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


@pytest.mark.parametrize(
    ("hook", "text", "found"),
    [
        ("ruff-check", "import os\n", "F401"),
        ("mypy", 'number: int = "one"\n', "Incompatible types in assignment"),
    ],
)
def test_a_hook_passes_clean_code_and_names_what_is_wrong(hook: str, text: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text("number = 1\n")
    clean = run(hook, path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    path.write_text(text)
    faulty = run(hook, path)
    assert faulty.returncode == 1
    assert found in faulty.stdout


def test_the_format_hook_mends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text("number=1")
    done = run("ruff-format", path)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "number = 1\n"


def test_every_hook_is_tried_here() -> None:
    assert HOOKS.keys() == {"ruff-check", "ruff-format", "mypy"}
