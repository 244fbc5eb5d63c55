"""The number of torch threads, and how idle threads wait."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from toy_game import AGENTS, SHAPE
from twins import Killed, digest, run, twin_config

from agents import latest_checkpoint
from agents.device import best_of, candidates
from agents.training.thread_choice import CHOICE, measure_update
from configs import PROJECT, from_dict
from mario_env.processors import usable_processors

SPACE = Box(0, 255, SHAPE, np.uint8)

# The first imports of each kind of process; MLflow loads a served model, and Prefect's worker a flow.
PROCESSES = {
    "the command": "import flows.command_line, flows.running, agents",
    "a worker": "import prefect, flows.train_mario, agents",
    "a served model": "import mlflow.pyfunc, agents",
    "the writer of metrics": "import tracking.kv_writer",
    "games in processes": "import mario_env.processes",
    "a benchmark": "import benchmarks.learner",
    "tests": "import conftest, torch",
}


def spin_count(code: str, **variables: str) -> str:
    """How often libgomp spins before it sleeps, as it reports when it is loaded."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'tests'}", **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    (line,) = {line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line}
    return line.split("'")[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch has another OpenMP")
@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_idle_threads_sleep_in_every_process(code: str) -> None:
    assert spin_count(code) == "0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch has another OpenMP")
def test_a_setting_of_the_user_is_kept() -> None:
    assert int(spin_count("import agents", OMP_WAIT_POLICY="ACTIVE")) > 1_000


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 0.95}, 1),
        ({1: 1.0, 2: 3.0, 4: 0.5}, 4),
        ({1: 1.0, 2: 0.6, 4: 0.58}, 2),
        ({3: 0.0}, 3),
    ],
)
def test_more_threads_must_be_a_tenth_faster(seconds: dict[int, float], best: int) -> None:
    assert best_of(seconds) == best


@pytest.mark.parametrize("agent", [*AGENTS, "noisy", "whole rollouts"])
def test_a_measurement_changes_no_state(agent: str) -> None:
    values = AGENTS.get(agent) or {**AGENTS["qrdqn"], **({"noisy": True} if agent == "noisy" else {"gradient_steps": -1})}
    config = from_dict({"name": "threads", "agent": values}, source="test")
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    seconds = measure_update(config, SPACE, 3, [1, 2], budget=0.0)

    assert sorted(seconds) == [1, 2]
    assert all(0 < each < 60 for each in seconds.values())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_candidates_do_not_exceed_the_threads_of_torch() -> None:
    torch.set_num_threads(3)
    try:
        assert candidates() == [count for count in (1, 2, 3) if count <= usable_processors()]
    finally:
        torch.set_num_threads(1)


def test_a_training_measures_once_and_keeps_the_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = twin_config("ppo", torch_threads=None)
    seen: list[int] = []

    def note(_: object) -> None:
        seen.append(torch.get_num_threads())

    def killed_at(episodes: int) -> None:
        def note_and_kill(_: object) -> None:
            note(_)
            if len(seen) == episodes:
                raise Killed

        with pytest.raises(Killed):
            run(config, tmp_path, note_and_kill)
        seen.clear()

    killed_at(2)
    assert json.loads((tmp_path / CHOICE).read_text())["threads"] == 1  # the maximum in the tests
    # As if it had chosen two. A training without a checkpoint does not measure again ...
    (tmp_path / CHOICE).write_text(json.dumps({"threads": 2}))
    killed_at(9)
    # ... and neither does one with a checkpoint, which has the number.
    (tmp_path / CHOICE).unlink()
    assert latest_checkpoint(tmp_path) is not None
    run(config, tmp_path, note)
    assert set(seen) == {2}
    assert "exactly as without an interruption" in caplog.text
    assert torch.get_num_threads() == 1

    whole = tmp_path / "whole"
    run(twin_config("ppo", torch_threads=2), whole, note)
    assert digest(whole) == digest(tmp_path)


def test_a_configured_number_overrides_the_measured_one(tmp_path: Path) -> None:
    (tmp_path / CHOICE).write_text(json.dumps({"threads": 2}))
    seen: set[int] = set()
    run(twin_config("dqn", torch_threads=1), tmp_path, lambda _: seen.add(torch.get_num_threads()), total=60)
    assert seen == {1}


@pytest.mark.parametrize("damaged", ['{"threads": 0}', "{", "[]"])
def test_a_damaged_choice_is_measured_again(tmp_path: Path, damaged: str) -> None:
    (tmp_path / CHOICE).write_text(damaged)
    seen: set[int] = set()
    run(twin_config("dqn", torch_threads=None), tmp_path, lambda _: seen.add(torch.get_num_threads()), total=60)
    assert seen == {1}


def test_a_restarted_training_measures_again(tmp_path: Path) -> None:
    (tmp_path / CHOICE).write_text(json.dumps({"threads": 2}))
    seen: set[int] = set()
    config = twin_config("dqn", torch_threads=None)
    run(config, tmp_path, lambda _: seen.add(torch.get_num_threads()), total=60, resume=False)
    assert seen == {1}
