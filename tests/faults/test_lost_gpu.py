"""A GPU that fails for good ends the process, and a new one goes on with the experiment from its newest checkpoint.

There is no GPU here: torch's own exception for such a failure is raised from an update on the CPU, in a real run.
"""

import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs import Settings
from tasks.experiment import load_experiment, open_store
from tasks.phases import finished
from tests.conftest import TINY

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

# Read by every Python process that finds it on its path. The training's updates fail once the second checkpoint is there.
SITE = """
import glob, os, sys
if any(part.endswith("/mario") for part in sys.orig_argv):
    import torch
    step = torch.optim.Adam.step
    def failing(self, *arguments, **more):
        failures = int(os.environ["FAILURES"])
        done = int(os.environ.get("MARIO_NEW_PROCESSES", "0"))
        if done < failures and len(glob.glob(os.environ["CHECKPOINTS"])) > 1:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return step(self, *arguments, **more)
    torch.optim.Adam.step = failing
"""


@pytest.fixture
def failing(tmp_path: Path, home: Path) -> Any:
    """The variables of a run of the experiment `name` that loses its GPU so many times."""
    (tmp_path / "sitecustomize.py").write_text(SITE)

    def variables(name: str, failures: int) -> dict[str, str]:
        checkpoints = home / "experiments" / name / "checkpoints" / "step-*" / "manifest.json"
        return {"PYTHONPATH": str(tmp_path), "FAILURES": str(failures), "CHECKPOINTS": str(checkpoints)}

    return variables


def test_a_lost_gpu_costs_a_process_and_nothing_else(mario: Any, settings: Settings, failing: Any) -> None:
    name = "lost-gpu"
    done = mario("run", TINY, "--experiment", name, **failing(name, 1))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "CUDA error: an illegal memory access was encountered" in output
    assert "continuing in a new process in 0 s (1 of at most 1, retry.attempts)" in output
    assert re.search(r"resuming from \S+step-000001024 at step 1,024", output)
    assert "Traceback" not in output.rpartition("continuing in a new process")[2]
    trained = finished(load_experiment(name, settings), "train")
    assert trained is not None
    with open_store(settings) as store:
        stored = store.experiment(name)
        assert stored.record.status == "completed"
        assert store.count(stored.id, "train", "training") == trained.details["episodes"]
        assert list(store.experiments()["name"]).count(name) == 1
    left = [
        each.info["cmdline"] for each in psutil.process_iter(["cmdline"]) if f"{name}" in " ".join(each.info["cmdline"] or [])
    ]
    assert left == []


def test_a_gpu_that_is_lost_again_and_again_is_given_up(mario: Any, settings: Settings, failing: Any) -> None:
    name = "given-up"
    done = mario("run", TINY, "--experiment", name, **failing(name, 9))
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert output.count("continuing in a new process in") == 1
    assert "stays unusable for this process" in done.stderr.rpartition("error: ")[2]
    assert finished(load_experiment(name, settings), "train") is None
    with open_store(settings) as store:
        assert store.experiment(name).record.status == "failed"
