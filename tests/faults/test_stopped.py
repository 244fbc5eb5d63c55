"""A whole run is stopped in its training, another process completes the experiment, and the first goes on."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from agents import latest_checkpoint
from configs import PROJECT, Settings
from episodes import EpisodeStore
from episodes.attempts import attempts
from episodes.records import finished_phase, quality_results
from episodes.schema import RecordedPhase
from tests.conftest import MARIO, PASSWORD, Postgres
from tests.stopping import stop_between_writes
from tracking import resolve_tracking_uri
from tracking.client import connect

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

STEPS, EVERY = 6_144, 256
NAME = "stopped"


class Run:
    """`mario run` of the experiment, in a process of its own."""

    def __init__(self, preset: Path, url: str, log: Path) -> None:
        self.log = log
        variables = {"DATABASE_URL": url, "COLUMNS": "200", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [MARIO, "run", str(preset), "--experiment", NAME], stdout=output, stderr=output, env=os.environ | variables
            )

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)


@pytest.fixture
def start(tmp_path: Path, postgres: Postgres) -> Iterator[Callable[[], Run]]:
    """Starts the run with the tiny preset, many checkpoints and a short lease."""
    values = yaml.safe_load((PROJECT / "tests" / "data" / "tiny.yaml").read_text())
    values["train"] |= {"total_steps": STEPS, "checkpoint_every": EVERY, "device": "cpu"}
    values["retry"] |= {"lease_seconds": 5}
    preset = tmp_path / "stopped.yaml"
    preset.write_text(yaml.safe_dump(values))
    runs: list[Run] = []

    def begin() -> Run:
        runs.append(Run(preset, postgres.url, tmp_path / f"run-{len(runs)}.log"))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def recorded(store: EpisodeStore, settings: Settings) -> dict[str, Any]:
    """All that is recorded of the experiment."""
    stored = store.experiment(NAME)
    client = connect(resolve_tracking_uri(None, settings.home))
    assert stored.record.mlflow_run_id is not None
    run = client.get_run(stored.record.mlflow_run_id)
    return {
        "experiment": stored,
        "rows": store.episodes(stored.id).to_dict("records"),
        "phases": {phase: finished_phase(store, stored.id, phase) for phase in get_args(RecordedPhase)},
        "quality": quality_results(store, stored.id),
        "run": run.to_dictionary(),
        "histories": {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics},
        "versions": [each.version for each in client.search_model_versions(f"run_id='{run.info.run_id}'")],
        "alias": client.get_model_version_by_alias("mario-test", NAME).version,
    }


def test_a_stopped_run_is_completed_by_another_and_records_nothing_more(
    start: Callable[[], Run], postgres: Postgres, settings: Settings
) -> None:
    directory = settings.experiment_directory(NAME)
    first = start()
    first.until(lambda: latest_checkpoint(directory) is not None)
    postgres.stop()
    postgres.start()
    with EpisodeStore.open(postgres.url, postgres.home) as store:
        # The lease survives the restart, because it is a row, and the holder records on.
        experiment = store.find_experiment(NAME)
        assert experiment is not None
        rows, expires = store.count(experiment, "train"), attempts(store, experiment)[0].expires
        first.until(lambda: store.count(experiment, "train") > rows and attempts(store, experiment)[0].expires != expires)
        stop_between_writes(first.process.pid, store)
        assert finished_phase(store, experiment, "train") is None, "it was to be stopped in its training"
    second = start()
    while second.process.wait() != 0:
        assert "is being run by another process" in second.log.read_text(), second.log.read_text()
        second = start()
    with EpisodeStore.open(postgres.url, postgres.home) as store:
        before = recorded(store, settings)
        assert before["experiment"].record.status == "completed"
        assert before["phases"]["train"].details["steps"] == STEPS
        assert all(result.passed for result in before["quality"].values())
        assert [each.attempt for each in attempts(store, before["experiment"].id)] == [1, 2]

        os.kill(first.process.pid, signal.SIGCONT)
        assert first.process.wait() == 1
        output = first.log.read_text()
        assert recorded(store, settings) == before
    error = output[output.rindex("error: ") :]
    assert error.startswith(f"error: attempt 1 at experiment {NAME} is over, and records nothing more: attempt 2 took over on")
    assert "Traceback" not in output
    assert "retry" not in output.lower()
    assert PASSWORD not in output
