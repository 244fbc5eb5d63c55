"""A whole run whose Postgres goes away in the midst of its training: it trains on, and every row arrives once."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from agents import latest_checkpoint
from configs import PROJECT, Settings
from episodes import EpisodeStore
from episodes.records import finished_phase, quality_results
from spool import count_pending
from tests.conftest import MARIO, PASSWORD, Postgres

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

STEPS, EVERY = 4_096, 256


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """The tiny preset, with many checkpoints."""
    values = yaml.safe_load((PROJECT / "tests" / "data" / "tiny.yaml").read_text())
    values["train"] |= {"total_steps": STEPS, "checkpoint_every": EVERY, "device": "cpu"}
    path = tmp_path / "away.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class Run:
    """`mario run` of one experiment, in a process of its own.

    Attributes:
        log: what it prints.
        directory: the experiment's folder.
    """

    def __init__(self, preset: Path, name: str, url: str, settings: Settings) -> None:
        self.log = preset.with_name(f"{name}.log")
        self.directory = settings.experiment_directory(name)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [MARIO, "run", str(preset), "--experiment", name],
                stdout=output,
                stderr=output,
                env=os.environ
                | {"DATABASE_URL": url, "COLUMNS": "200", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"},
            )

    @property
    def outbox(self) -> Path:
        """The file of the newest attempt's rows that wait."""
        return max((self.directory / "spool").glob("attempt-*")) / "episodes.sqlite"

    @property
    def spooled(self) -> int:
        """How many rows wait."""
        return count_pending(self.outbox)

    @property
    def checkpoint(self) -> int:
        """The step of the newest checkpoint."""
        found = latest_checkpoint(self.directory)
        return found.steps if found else 0

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def end(self) -> tuple[int, str]:
        """Wait for it; exit code and all that was printed."""
        return self.process.wait(), self.log.read_text()


@pytest.fixture
def start(preset: Path, postgres: Postgres, settings: Settings) -> Iterator[Callable[[str], Run]]:
    """Starts a run by its experiment's name."""
    runs: list[Run] = []

    def begin(name: str) -> Run:
        runs.append(Run(preset, name, postgres.url, settings))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def require_all_rows(run: Run, name: str, postgres: Postgres) -> None:
    """Each episode that was counted has one row, the rules hold, and nothing waits any more."""
    with EpisodeStore.open(postgres.url, postgres.home) as store:
        stored = store.experiment(name)
        trained = finished_phase(store, stored.id, "train")
        assert quality_results(store, stored.id)["train"].passed
        rows = store.episodes(stored.id, phase="train", protocol="training")
    assert trained is not None
    assert trained.details["steps"] == STEPS
    assert stored.record.status == "completed"
    assert len(rows) == trained.details["episodes"]
    assert float(rows.reward.sum()) == pytest.approx(trained.details["reward_sum"])
    assert run.spooled == 0


def test_training_goes_on_while_postgres_is_away_for_a_while(start: Callable[[str], Run], postgres: Postgres) -> None:
    run = start("away-for-a-while")
    run.until(lambda: run.checkpoint > 0)
    before = run.checkpoint
    postgres.stop()
    # Were training to wait for the server, it would wait for ever: it is started again only when training has come far.
    run.until(lambda: run.checkpoint >= before + 6 * EVERY and run.spooled > 0)
    postgres.start()
    code, output = run.end()

    assert code == 0, output
    assert len(re.findall(r"cannot be reached; the run goes on and its episodes wait in \S+/episodes\.sqlite", output)) == 1
    assert re.search(r"is back after .*: \d+ episodes that waited are being sent", output)
    assert PASSWORD not in output
    require_all_rows(run, "away-for-a-while", postgres)


def test_what_waits_when_postgres_stays_away_is_written_by_the_next_start(
    start: Callable[[str], Run], postgres: Postgres
) -> None:
    name = "stays-away"
    run = start(name)
    run.until(lambda: run.checkpoint > 0)
    postgres.stop()
    code, output = run.end()

    assert code == 1, output
    assert run.checkpoint == STEPS, "it was trained to its end"
    assert (run.directory / "model" / "manifest.json").exists()
    error = output[output.rindex("error: ") :]
    assert run.spooled > 3
    assert f"{run.spooled} episodes in {run.outbox} wait for Postgres" in error
    assert f"--experiment {name}" in error
    assert "Traceback" not in error
    assert PASSWORD not in output

    postgres.start()
    with EpisodeStore.open(postgres.url, postgres.home) as store:
        assert finished_phase(store, store.experiment(name).id, "train") is None
    again = start(name)
    code, output = again.end()
    assert code == 0, output
    assert "nothing left to train" in output
    require_all_rows(again, name, postgres)
