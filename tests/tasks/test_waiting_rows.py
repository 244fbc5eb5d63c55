"""Phases with rows that wait on disk: their messages and refusals."""

from pathlib import Path
from typing import Any

import pytest

from configs import PROJECT, Settings, load
from spool import Outbox
from tasks.experiment import Experiment, open_experiment_store, rows_waiting
from tasks.phases import PhaseRecord
from tasks.quality import QualityError, check_rows
from tasks.transient import is_transient

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """An experiment whose Postgres does not answer."""
    settings = Settings(tmp_path, "postgresql://mario:kn0wn-password@127.0.0.1:1/mario", None)
    return Experiment(1, "waits", load(TINY), "0" * 32, tmp_path / "experiments" / "waits", settings)


@pytest.fixture
def rows(experiment: Experiment) -> int:
    """The number of the experiment's rows that wait on disk."""
    outbox = Outbox(experiment.episode_outbox, experiment.owner)
    outbox.append([b"{}"] * 3)
    outbox.close()
    return 3


def test_the_quality_phase_refuses_while_rows_wait(experiment: Experiment, rows: int) -> None:
    check: Any = check_rows.fn
    with pytest.raises(QualityError) as caught:
        check(experiment, "train", PhaseRecord("train", 1.0, {"episodes": 3}))
    assert f"{rows} episodes in {experiment.episode_outbox} wait for Postgres" in str(caught.value)
    assert "--experiment waits" in str(caught.value)


def test_a_phase_without_postgres_reports_waiting_rows(experiment: Experiment, rows: int) -> None:
    with pytest.raises(Exception, match=r"3 episodes in .*episodes\.sqlite wait for Postgres") as caught:
        open_experiment_store(experiment)
    assert is_transient(caught.value)
    assert "mario:***@127.0.0.1:1" in str(caught.value)
    assert "kn0wn-password" not in str(caught.value)
    assert caught.value.__context__ is None


def test_without_waiting_rows_none_are_reported(experiment: Experiment) -> None:
    assert rows_waiting(experiment) == {}
    with pytest.raises(Exception, match="refused") as caught:
        open_experiment_store(experiment)
    assert "wait" not in str(caught.value)
