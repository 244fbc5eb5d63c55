"""Makes the helper modules in this folder importable, in the tests and in the processes they start."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Toy networks gain nothing from threads, and other processes need the cores."""
    torch.set_num_threads(1)


@pytest.fixture
def process_environment() -> dict[str, str]:
    """Environment variables for a Python process that imports the project and `toy_game`."""
    project = Path(__file__).parent.parent.parent
    return {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
