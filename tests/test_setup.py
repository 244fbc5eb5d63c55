"""Which Python is built with, and what continuous integration runs: the scripts themselves, on a PATH made for the test."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from configs import PROJECT

FIND = PROJECT / "constraints" / "find-python.sh"
# What the scripts call beside a Python.
TOOLS = ("sh", "bash", "env", "dirname", "cat", "mktemp", "rm", "sleep")


def program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def real_python(path: Path) -> Path:
    """This Python under another name."""
    return program(path, f'exec "{sys.executable}" "$@"')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that is the whole PATH: the tools of the scripts, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def run(path: Path, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(path), "HOME": str(path)} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_newest_python_that_runs_is_chosen(path: Path) -> None:
    program(path / "python3.14", "echo 'not switched on here' >&2; exit 127")
    real_python(path / "python3.13")
    real_python(path / "python3.11")

    assert run(path, "sh", FIND).stdout == "python3.13\n"
    assert run(path, "sh", FIND, "3.11", "3.12").stdout == "python3.11\n"


def test_one_that_pyenv_has_and_does_not_switch_on_here_is_found(path: Path, tmp_path: Path) -> None:
    program(path / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    program(path / "pyenv", f'echo "{tmp_path}/pyenv"')
    installed = real_python(tmp_path / "pyenv" / "versions" / "3.13.9" / "bin" / "python3.13")
    real_python(path / "python3.11")

    assert run(path, "sh", FIND).stdout == "python3.11\n", "what is on the PATH comes first"
    assert run(path, "sh", FIND, "3.14", "3.13").stdout == f"{installed}\n"


def test_no_python_is_a_message(path: Path) -> None:
    none = run(path, "sh", FIND)
    named = run(path, "sh", FIND, PYTHON="/no/python")

    assert none.returncode == named.returncode == 1
    assert "needs Python 3.11 to 3.14" in none.stderr
    assert "PYTHON=/no/python cannot be used" in named.stderr


def integration(path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`.ci/run` in a copy of the project's scripts, with a `make` that says how it was called."""
    project = path.parent / "project"
    (project / ".ci").mkdir(parents=True)
    (project / "constraints").mkdir()
    shutil.copy(PROJECT / ".ci" / "run", project / ".ci" / "run")
    shutil.copy(FIND, project / "constraints")
    for folder in (".venv", ".venv-newest"):
        real_python(project / folder / "bin" / "python")
    told = "${OTHER_STACK_FOLLOWS:+, other stack follows}${OTHER_STACK_TESTED:+, tested}${OTHER_PYTHON:+, other: $OTHER_PYTHON}"
    program(path / "make", f'echo "make $*{told}"')
    return run(path, "bash", project / ".ci" / "run", **variables)


def test_integration_tests_both_stacks_and_kills_runs_on_one(path: Path) -> None:
    for version in ("3.11", "3.12", "3.13"):
        real_python(path / f"python{version}")
    done = integration(path, PYTHON="/a/persons/own")

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("make")] == [
        "make setup PYTHON=python3.11 VENV=.venv",
        "make test VENV=.venv, other stack follows",
        "make setup PYTHON=python3.13 VENV=.venv-newest",
        "make types VENV=.venv-newest",
        "make test VENV=.venv-newest, tested, other: python3.11",
        "make e2e VENV=.venv",
        "make faults VENV=.venv",
    ]


def test_integration_with_one_python_runs_everything_there_and_says_so(path: Path) -> None:
    real_python(path / "python3.13")
    done = integration(path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("make")] == [
        "make setup PYTHON=python3.13 VENV=.venv",
        "make test VENV=.venv",
        "make e2e VENV=.venv",
        "make faults VENV=.venv",
    ]
    assert "only python3.13 is here" in done.stderr


def test_integration_ends_at_the_first_failure(path: Path) -> None:
    for version in ("3.11", "3.13"):
        real_python(path / f"python{version}")
    integration(path)
    program(path / "make", 'echo "make $*"; [ "$1" != test ]')
    done = run(path, "bash", path.parent / "project" / ".ci" / "run")

    assert done.returncode != 0
    assert done.stdout.count("make test") == 1
    assert "make faults" not in done.stdout


def test_integration_sets_up_in_the_background_and_fails_if_that_fails(path: Path, tmp_path: Path) -> None:
    """The first suite ends once the second set-up has begun: one after the other, they would wait for each other for ever."""
    for version in ("3.11", "3.13"):
        real_python(path / f"python{version}")
    integration(path)
    begun = tmp_path / "begun"
    program(
        path / "make",
        f"""echo "make $*"
        case "$*" in
        setup*newest) echo "no such file" >&2; : >{begun}; exit 3 ;;
        test*) while [ ! -e {begun} ]; do sleep 0.1; done ;;
        esac""",
    )
    done = run(path, "bash", path.parent / "project" / ".ci" / "run")

    assert done.returncode == 3
    assert "no such file" in done.stdout, "what a set-up says is seen"
    assert done.stdout.index("make test VENV=.venv\n") < done.stdout.index("make setup PYTHON=python3.13"), "in one piece"
    assert "make test VENV=.venv-newest" not in done.stdout


def test_integration_ends_the_set_up_in_the_background_when_a_test_fails(path: Path, tmp_path: Path) -> None:
    for version in ("3.11", "3.13"):
        real_python(path / f"python{version}")
    integration(path)
    begun = tmp_path / "begun"
    program(
        path / "make",
        f"""case "$*" in
        setup*newest) echo $$ >{begun}.part; mv {begun}.part {begun}; exec sleep 600 ;;
        test*) while [ ! -e {begun} ]; do sleep 0.1; done; exit 2 ;;
        esac""",
    )
    (path / "mv").symlink_to(str(shutil.which("mv")))
    done = run(path, "bash", path.parent / "project" / ".ci" / "run")

    assert done.returncode == 2
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(begun.read_text())).wait(20)


def test_integration_refuses_an_environment_of_another_python(path: Path) -> None:
    real_python(path / "python3.13")
    integration(path)
    program(path.parent / "project" / ".venv" / "bin" / "python", "echo 3.1")
    done = run(path, "bash", path.parent / "project" / ".ci" / "run")

    assert done.returncode == 1
    assert ".venv holds another Python" in done.stderr


CHROMIUM = PROJECT / "tests" / "e2e" / "install-chromium.sh"


def test_a_browser_that_runs_is_not_installed_again(path: Path) -> None:
    program(path / "chromium", "echo Chromium 1")
    program(path / "apt-get", "exit 1")

    assert run(path, "sh", CHROMIUM).returncode == 0


@pytest.mark.parametrize(("user", "installs_as"), [("0", ""), ("1000", "sudo ")])
def test_a_missing_browser_is_installed(path: Path, user: str, installs_as: str) -> None:
    program(path / "id", f"echo {user}")
    program(path / "sudo", 'echo "sudo $*"; "$@"')
    program(path / "apt-get", f'echo "apt-get $*"; case "$*" in *install*) mv {path}/browser {path}/chromium;; esac')
    program(path / "browser", "echo Chromium 1")
    (path / "mv").symlink_to(str(shutil.which("mv")))
    done = run(path, "sh", CHROMIUM)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{installs_as}apt-get update -qq\n" in done.stdout
    assert done.stdout.endswith("chromium chromium-sandbox\nChromium 1\n")
    assert ("sudo" in done.stdout) == bool(installs_as)


def test_a_browser_that_cannot_be_installed_is_a_message(path: Path) -> None:
    named = run(path, "sh", CHROMIUM, "/no/chrome")
    program(path / "apt-get", "exit 100")
    program(path / "id", "echo 1000")
    nobody = run(path, "sh", CHROMIUM)
    program(path / "id", "echo 0")
    offline = run(path, "sh", CHROMIUM)

    assert named.returncode == nobody.returncode == offline.returncode == 1
    assert "/no/chrome does not run" in named.stderr
    assert "only root can install it: apt-get install chromium" in nobody.stderr
    assert "Chromium could not be installed" in offline.stderr


def wheel(folder: Path, name: str, code: str = "") -> Path:
    """A wheel of one module, version 1."""
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")
    return path


# A build backend whose editable wheel lies ready.
BACKEND = """
import shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    shutil.copy("toy-1-py3-none-any.whl", folder)
    return "toy-1-py3-none-any.whl"
"""
TOY = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "toy"
version = "1"
"""


def test_set_up_refuses_a_file_that_is_not_the_one_that_was_locked(tmp_path: Path) -> None:
    """The Makefile's own recipe, with lock files of two small wheels, and a changed byte in one of them."""
    project, files = tmp_path / "project", tmp_path / "files"
    files.mkdir()
    (project / "constraints").mkdir(parents=True)
    shutil.copy(PROJECT / "Makefile", project)
    for script in (FIND, FIND.with_name("install.sh")):
        shutil.copy(script, project / "constraints")
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(TOY)
    wheel(project, "toy")
    for name, locks in (("tool", ["build"]), ("small", ["python-3.11", "python-3.13"])):
        digest = hashlib.sha256(wheel(files, name, "answer = 41").read_bytes()).hexdigest()
        for lock in locks:
            (project / "constraints" / f"{lock}.txt").write_text(f"{name}==1 \\\n    --hash=sha256:{digest}\n")
    (project / "constraints" / "torch-cpu.txt").write_text(f"torch==1+cpu \\\n    --hash=sha256:{'0' * 64}\n")
    original = (files / "small-1-py3-none-any.whl").read_bytes()

    def set_up() -> "subprocess.CompletedProcess[str]":
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(files), "PYTHON": sys.executable}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
        command = ["make", "setup", "VENV=venv", f"PYTHON={sys.executable}"]
        return subprocess.run(
            command, cwd=project, env=environment | settings, capture_output=True, text=True, timeout=200, check=False
        )

    wheel(files, "small", "answer = 42")
    refused = set_up()
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (project / "venv" / "ready").exists()
    python = project / "venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import small"], capture_output=True, check=False).returncode != 0

    (files / "small-1-py3-none-any.whl").write_bytes(original)
    done = set_up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        subprocess.run([python, "-c", "import small; print(small.answer)"], capture_output=True, check=True).stdout == b"41\n"
    )
