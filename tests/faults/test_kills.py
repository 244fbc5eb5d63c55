"""The whole pipeline, killed again and again, is in the end the one that was left alone: weights, rows, figures."""

import hashlib
import logging
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from agents import latest_checkpoint, load_agent
from configs import PROJECT, Settings
from episodes.records import quality_results
from tasks.experiment import load_experiment, open_store
from tasks.phases import finished
from tests.conftest import MARIO
from tracking import resolve_tracking_uri
from tracking.client import connect

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

LOG = logging.getLogger(__name__)
BEFORE_TRAINING = b"'data quality: integration' - Finished"
STEPS = 6_000
KILLS = int(os.environ.get("MARIO_FAULT_KILLS", "20"))
CLOCKS = ["id", "experiment_id", "timestamp", "duration_seconds"]
AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "dqn": {
        "algorithm": "dqn",
        "learning_rate": 1e-3,
        "buffer_size": 2_000,
        "learning_starts": 200,
        "batch_size": 16,
        "train_freq": 4,
        "target_update_interval": 200,
        "n_steps": 3,
        "double": True,
        "dueling": True,
        "prioritised": {},
        "network": {"features": "small", "features_dim": 32},
    },
}


def preset(algorithm: str, folder: Path) -> Path:
    """The tiny preset, with random starts and sticky actions, long enough to be killed often."""
    values = yaml.safe_load((PROJECT / "tests" / "data" / "tiny.yaml").read_text())
    values["environment"] |= {"noop_frames": 20, "sticky_actions": 0.25}
    values["train"] |= {"total_steps": STEPS, "checkpoint_every": 250, "n_envs": 4, "device": "cpu"}
    if AGENTS[algorithm]:
        values["extends"], values["agent"] = "dqn", AGENTS[algorithm]
    path = folder / f"{algorithm}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@dataclass(frozen=True)
class Moment:
    """When a run is killed: when its training has come to this step, and so many seconds later."""

    step: int
    seconds: float

    def await_in(self, log: Path, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None and self._reached(log) < self.step:
            time.sleep(0.05)
        time.sleep(self.seconds)

    def _reached(self, log: Path) -> int:
        _, begun, after = log.read_bytes().partition(BEFORE_TRAINING)
        if not begun:
            return -1
        return max((int(step.replace(b",", b"")) for step in re.findall(rb"step ([\d,]+)", after)), default=0)


def moments(draw: random.Random) -> list[Moment]:
    """Spread over the training, each further than those before, none at its end; every third while it starts."""
    found = []
    for number in range(KILLS):
        share = (number + draw.random()) / (KILLS + 4)
        anywhere = Moment(int(share * STEPS), draw.uniform(0, 0.4))
        found.append(Moment(0, draw.uniform(0, 1.5)) if number % 3 == 0 else anywhere)
    return found


def run(path: Path, name: str, moment: Moment | None) -> tuple[int, str]:
    """`mario run`; killed at a moment, or left alone."""
    log = path.with_name(f"{name}.log")
    with log.open("wb") as output:
        # A busy machine takes longer for Prefect's temporary server.
        environment = os.environ | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
        command = [MARIO, "run", str(path), "--experiment", name]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        if moment is not None:
            moment.await_in(log, process)
            # With its group: Prefect's temporary server would outlive it, twenty times.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return code, log.read_text()


@pytest.mark.parametrize("algorithm", AGENTS)
def test_a_run_that_is_killed_again_and_again(algorithm: str, settings: Settings, tmp_path: Path) -> None:
    path, draw = preset(algorithm, tmp_path), random.Random(algorithm)
    code, output = run(path, f"{algorithm}-unharmed", None)
    assert code == 0, output
    unharmed = outcome(settings, f"{algorithm}-unharmed")
    name, steps = f"{algorithm}-killed", []
    for number, moment in enumerate(moments(draw)):
        code, output = run(path, name, moment)
        assert code == -signal.SIGKILL, output
        assert "'full training" not in output, "it was killed after its training: nothing was tested"
        found = latest_checkpoint(settings.experiment_directory(name))
        steps.append(found.steps if found else 0)
        LOG.info("%s: kill %d, the newest checkpoint is of step %d", algorithm, number + 1, steps[-1])
    code, output = run(path, name, None)
    assert code == 0, output
    assert "exactly as without an interruption" in output
    assert steps == sorted(steps)
    assert len(set(steps)) > KILLS / 3, "it was nearly always killed at the same place"

    killed = outcome(settings, name)
    pd.testing.assert_frame_equal(killed.pop("rows"), unharmed.pop("rows"))
    assert len(unharmed["metrics"]["train/loss"]) > 3
    assert killed == unharmed


def curves(settings: Settings, run_id: str) -> dict[str, dict[int, float]]:
    """All metrics of the training but those by the clock: values by step. In the order they were logged, steps go forward."""
    client = connect(resolve_tracking_uri(None, settings.home))
    found = {}
    for name in client.get_run(run_id).data.metrics:
        if name.startswith(("train/", "rollout/", "validate/")):
            points = sorted(client.get_metric_history(run_id, name), key=lambda point: point.timestamp)
            steps = [point.step for point in points]
            assert steps == sorted(steps), name
            found[name] = {point.step: point.value for point in points}
    return found


def outcome(settings: Settings, name: str) -> dict[str, Any]:
    """What a run left: the rows of its training, its weights, its counts, its metrics; its rows were found to be in order."""
    with open_store(settings) as store:
        stored = store.experiment(name)
        rows = store.episodes(stored.id, phase="train").drop(columns=CLOCKS)
        checks = quality_results(store, stored.id)
        actions = [store.episode(int(number)).actions for number in store.episodes(stored.id, phase="train")["id"]]
    weights = load_agent(settings.experiment_directory(name) / "model").model.state_dict()
    record = finished(load_experiment(name, settings), "train")
    assert record is not None
    assert record.details["episodes"] + record.details["validation_episodes"] == len(rows)
    assert len(record.details["validations"]) > 20
    for phase in ("integration", "train", "evaluate"):
        assert checks[phase].passed, phase
    assert stored.record.status == "completed"
    assert stored.record.mlflow_run_id is not None
    return {
        "metrics": curves(settings, stored.record.mlflow_run_id),
        "rows": rows,
        "actions": actions,
        "weights": hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest(),
        "counts": [record.details[key] for key in ("steps", "frames", "episodes", "reward_sum", "validations")],
    }
