"""An evaluation whose Postgres goes away: its rows wait, and the same command with the experiment's name ends it."""

import logging
from pathlib import Path

import pytest

from agents import build
from agents.models import save_model
from configs import PROJECT, Settings, load
from episodes import EpisodeStore, StoreUnavailableError
from flows.evaluating import evaluate_model
from flows.models import Trust
from mario_env import make_vec
from spool import waiting
from tests.conftest import PASSWORD, Postgres

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An agent that has learned nothing."""
    config = load(TINY, ["environment.stall_after=12", "evaluate.protocols=[noop, random]", "train.device=cpu"])
    env = make_vec(config.environment, 1, seed=0)
    path = save_model(tmp_path, config, build(config, env, device="cpu"))
    env.close()
    return path


def test_rows_of_an_evaluation_wait_while_postgres_is_away(
    model: Path, postgres: Postgres, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("episodes.writer._CLOSING_SECONDS", 1.0)  # how long it waits at the end
    settings = Settings(home, postgres.url, None)
    name, count = "judged", 12
    spool = settings.experiment_directory(name) / "spool" / "episodes.spool"

    class StopPostgres(logging.Handler):
        """Stops it when the first protocol has been played."""

        def emit(self, record: logging.LogRecord) -> None:
            if f"{count} episodes in" in record.getMessage():
                postgres.stop()

    stop = StopPostgres()
    logging.getLogger("tasks.evaluate").addHandler(stop)
    pattern = r"episodes wait in .*episodes\.spool.*--experiment judged"
    with caplog.at_level("INFO"), pytest.raises(StoreUnavailableError, match=pattern) as caught:
        evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    logging.getLogger("tasks.evaluate").removeHandler(stop)
    left = waiting(spool)
    assert left >= count, "all of the second protocol, played while Postgres was away"
    assert PASSWORD not in str(caught.value) + caplog.text

    postgres.start()
    with caplog.at_level("INFO"):
        _, figures = evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    assert "12 episodes were played before" in caplog.text
    assert {protocol: each["episodes"] for protocol, each in figures["protocols"].items()} == {"noop": count, "random": count}
    with EpisodeStore.open(postgres.url, home) as store:
        stored = store.experiment(name)
        rows = store.episodes(stored.id, phase="evaluate")
    assert stored.record.status == "completed"
    assert len(rows) == 2 * count
    assert waiting(spool) == 0
