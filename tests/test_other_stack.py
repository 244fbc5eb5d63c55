"""The environment on the other stack: old Gym API on Python 3.11 and 3.12, Gymnasium from 3.13 on.

The other Python is looked for as `make` looks for its own; where there is none, this is skipped and says so. Its environment
holds the game and what the game needs, not torch. Tests of the game run there, except those that import more.

`.ci/run` runs the whole suite on one stack and then on the other. It sets OTHER_STACK_FOLLOWS for the first suite, which leaves
the other stack out, and OTHER_STACK_TESTED for the second. What is left to be shown then is that the bare environment of the
first one's Python can be made, imports all that these tests need, and plays.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

from configs import PROJECT

NEW = sys.version_info >= (3, 13)
CANDIDATES = ("python3.12", "python3.11") if NEW else ("python3.14", "python3.13")
PINS = PROJECT / "constraints" / ("python-3.11.txt" if NEW else "python-3.13.txt")
GAME = ["gym-super-mario-bros", "nes-py", "gymnasium", "numba", "numpy", "opencv-python-headless", "pydantic", "pyyaml"]
OLD_API = ["gym", "shimmy"]
TOOLS = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis"]
# Some levels, each in every style and ROM variant: the long comparison is this stack's own test.
FEW_FRAMES = {"MARIO_PARITY_FRAMES": "10000"}
FEW_LEVELS = "not every_byte or 1-1 or 2-2 or full"
# What plays in the bare environment where the first suite of `.ci/run` has run every test with the same Python and packages.
PLAYING = ("test_console.py", "test_factory.py")
# The 6502 by itself does not depend on the stack.
ALIKE = {"nes/test_cpu.py"}
# What the other environment lacks on purpose. A test file that imports any of it, directly or through a module of the project,
# is not run there. Any other package that is missing there fails this test.
NOT_THERE = {"cloudpickle", "psutil", "stable_baselines3", "torch"}
TESTS = PROJECT / "tests" / "mario_env"


def module_file(name: str) -> Path | None:
    """The file of one of the project's modules; None for any other module."""
    path = PROJECT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def statements(body: list[ast.stmt], functions: Container[str]) -> Iterator[ast.stmt]:
    """The statements that run on import, and those of the functions with these names."""
    for statement in body:
        match statement:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                yield from statements(statement.orelse, functions)
            case ast.FunctionDef(name=name):
                if name in functions:
                    yield from statements(statement.body, functions)
            case _:
                yield statement
                for _, inner in ast.iter_fields(statement):
                    if isinstance(inner, list) and inner and isinstance(inner[0], ast.stmt):
                        yield from statements(inner, functions)


def imports(path: Path, functions: Container[str] = ()) -> Iterator[tuple[str, frozenset[str]]]:
    """Modules that a file imports, and the names that it takes from each."""
    for statement in statements(ast.parse(path.read_text(encoding="utf-8")).body, functions):
        match statement:
            case ast.Import(names=names):
                yield from ((alias.name, frozenset()) for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module, frozenset(alias.name for alias in names)
                yield from ((f"{module}.{alias.name}", frozenset()) for alias in names if module_file(f"{module}.{alias.name}"))


def packages_needed(test: Path) -> set[str]:
    """The packages of others that a test file imports, directly or through the project's modules.

    A function that is imported by name counts with the imports in its body: it is about to be called.
    """
    found, seen, waiting = set(), set(), list(imports(test))
    while waiting:
        name, functions = waiting.pop()
        if (name, functions) in seen:
            continue
        seen.add((name, functions))
        file = module_file(name)
        if file is None:
            found.add(name.partition(".")[0])
            continue
        waiting += imports(file, functions)
        waiting += [(parent, frozenset()) for parent in [name.rpartition(".")[0]] if parent]
    return found


def chosen() -> dict[Path, set[str]]:
    """The test files that are run on the other stack, and the packages that each needs."""
    files = {file: packages_needed(file) for file in sorted(TESTS.rglob("test_*.py"))}
    return {
        file: needed
        for file, needed in files.items()
        if not needed & NOT_THERE and file.relative_to(TESTS).as_posix() not in ALIKE
    }


def test_what_runs_on_the_other_stack_follows_from_the_imports() -> None:
    for needing in ("test_sticky.py", "test_processors.py", "test_public_tools.py", "nes/test_events.py"):
        assert "stable_baselines3" in packages_needed(TESTS / needing), "directly, by a module, or by a function"
    assert {TESTS / name for name in ("test_console.py", "test_facts.py", "nes/test_parity.py")} <= chosen().keys()
    assert {TESTS / name for name in PLAYING} <= chosen().keys()
    assert all((TESTS / name).is_file() for name in ALIKE)


def other_python() -> str | None:
    """A Python of the other stack that runs and has venv."""
    for candidate in (os.environ.get("OTHER_PYTHON"), *CANDIDATES):
        if candidate is None:
            continue
        code = "import sys, venv, ensurepip; print(sys.version_info >= (3, 13), sys.version_info >= (3, 11))"
        try:
            done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        except OSError:
            continue
        if done.stdout.split() == [str(not NEW), "True"]:
            return candidate
    return None


def can_build() -> bool:
    """nes-py of the old stack comes as source."""
    return not NEW or shutil.which("g++") is not None


def prepared(python: str) -> Path:
    """The other environment's Python, made once and kept beside `.venv`."""
    packages = GAME + TOOLS + (OLD_API if NEW else [])
    folder = PROJECT / ".venv-other"
    wanted = hashlib.sha256((python + " ".join(packages) + PINS.read_text()).encode()).hexdigest()
    stamp = folder / "ready"
    binary = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        # The versions alone: hashes would demand that all requirements of these are named here too.
        versions = folder / "versions.txt"
        versions.write_text("\n".join(re.findall(r"^\w.*?(?= \\$)", PINS.read_text(), re.MULTILINE)))
        pip = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(versions)]
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        stamp.write_text(wanted)
    return binary


@pytest.mark.timeout(900)
def test_the_environment_behaves_alike_on_the_other_stack() -> None:
    if os.environ.get("OTHER_STACK_FOLLOWS"):
        pytest.skip("the whole suite runs on the other stack next (.ci/run)")
    python = other_python()
    if python is None or not can_build():
        pytest.skip(f"no Python of the other stack here (looked for {', '.join(CANDIDATES)}; OTHER_PYTHON names one)")
    other, files = prepared(python), chosen()
    needed = sorted(set().union(*files.values()) - {"reference_6502"})
    code = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
    found = subprocess.run([str(other), "-c", code, *needed], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]", "these packages are not in the other environment: add them to GAME or to NOT_THERE"
    if not os.environ.get("OTHER_STACK_TESTED"):
        passed = run_tests(other, "-n2", *map(str, files), "-k", FEW_LEVELS)
    else:
        run_tests(other, "-n0", "--collect-only", *map(str, files))
        passed = run_tests(other, "-n0", *(str(TESTS / name) for name in PLAYING))
    assert " passed" in passed


def run_tests(python: Path, *arguments: str) -> str:
    """What pytest prints in the other environment, where everything passes."""
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", *arguments],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | FEW_FRAMES,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
