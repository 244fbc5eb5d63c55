"""The environment on the other stack: old Gym API on Python 3.11 and 3.12, Gymnasium from 3.13 on.

The other Python is looked for as `make` looks for its own; where there is none, this is skipped and says so. Its environment
holds the game and what the game needs, not torch: what is tested there is what depends on the stack. `.ci/run` sets
OTHER_STACK_FOLLOWS for the first of its two suites: the second is the whole suite on the other stack, and runs this test too,
with the first one's Python.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
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
# Everything of tests/mario_env but what goes through stable-baselines3, and so torch, and the 6502 by itself.
LEFT_OUT = (
    *("test_vector.py", "test_snapshots.py", "test_stable_baselines.py"),
    *("nes/test_games.py", "nes/test_events.py", "nes/test_cpu.py"),
)


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
    left_out = [f"--ignore=tests/mario_env/{name}" for name in LEFT_OUT]
    done = subprocess.run(
        [str(prepared(python)), "-m", "pytest", "-q", "-n2", "tests/mario_env", "-k", FEW_LEVELS, *left_out],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | FEW_FRAMES,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
