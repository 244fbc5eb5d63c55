"""`mario evaluate`: an unavailable Postgres, evaluations that continue, overrides, and shipped figures."""

import logging
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from agents import build, ship
from agents.policies import save_model
from configs import PROJECT, ConfigError, Settings, load
from episodes import EpisodeStore, StoreUnavailableError
from episodes.schema import EPISODES
from flows.evaluating import evaluate_model
from flows.models import Trust
from mario_env import make_vec
from spool import count_pending
from tasks.experiment import spool_of
from tests.conftest import PASSWORD, Postgres
from tracking import resolve_tracking_uri
from tracking.client import connect

TINY = str(PROJECT / "tests" / "data" / "tiny.yaml")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained agent."""
    config = load(TINY, ["environment.stall_after=12", "evaluate.protocols=[sticky, random]", "train.device=cpu"])
    env = make_vec(config.environment, 1, seed=0)
    path = save_model(tmp_path, config, build(config, env, device="cpu"))
    env.close()
    return path


def test_rows_of_an_evaluation_wait_while_postgres_is_unavailable(
    model: Path, postgres: Postgres, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("episodes.writer._CLOSING_SECONDS", 1.0)  # its timeout at the end
    settings = Settings(home, postgres.url, None)
    name, count = "judged", 12
    outbox = spool_of(settings.experiment_directory(name), 1) / "episodes.sqlite"

    class StopPostgres(logging.Handler):
        """Stops Postgres after the first protocol."""

        def emit(self, record: logging.LogRecord) -> None:
            if f"{count} episodes in" in record.getMessage():
                postgres.stop()

    stop = StopPostgres()
    logging.getLogger("tasks.evaluate").addHandler(stop)
    pattern = r"episodes wait in .*episodes\.sqlite.*--experiment judged"
    with caplog.at_level("INFO"), pytest.raises(StoreUnavailableError, match=pattern) as caught:
        evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    logging.getLogger("tasks.evaluate").removeHandler(stop)
    left = count_pending(outbox)
    assert left >= count, "all of the second protocol, played while Postgres was away"
    assert PASSWORD not in str(caught.value) + caplog.text

    postgres.start()
    with caplog.at_level("INFO"):
        _, figures = evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    assert "12 episodes are already recorded" in caplog.text
    assert {protocol: each["episodes"] for protocol, each in figures["protocols"].items()} == {"sticky": count, "random": count}
    with EpisodeStore.open(postgres.url, home) as store:
        stored = store.experiment(name)
        rows = store.episodes(stored.id, phase="evaluate")
    assert stored.record.status == "completed"
    assert len(rows) == 2 * count
    assert count_pending(outbox) == 0
    client = connect(resolve_tracking_uri(None, home))
    run = client.get_run(stored.record.mlflow_run_id)
    assert client.get_experiment(run.info.experiment_id).name == "mario-1-1"
    assert [each.tags[0].value for each in run.inputs.dataset_inputs] == ["evaluation"]
    played = f"The model `{model}` plays level 1-1 under the protocols sticky, random. Nothing is trained."
    assert run.data.tags["mlflow.note.content"].startswith(played)


def test_an_evaluation_that_an_earlier_version_left_incomplete_starts_again(
    model: Path, postgres: Postgres, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows have other indices. With them the evaluation would have too many episodes."""
    settings = Settings(home, postgres.url, None)
    name, count = "earlier", 3
    evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    with EpisodeStore.open(postgres.url, home) as store:
        stored = store.experiment(name)
        steps = stored.record.config["train"]["total_steps"]
        with store.transaction("pretending") as connection:
            sticky = (EPISODES.c.experiment_id == stored.id) & (EPISODES.c.protocol == "sticky")
            connection.execute(delete(EPISODES).where(sticky & (EPISODES.c.env_index == 2)))
            connection.execute(
                update(EPISODES).where(sticky & (EPISODES.c.env_index == 1)).values(env_index=0, episode_index=1)
            )
    with caplog.at_level("INFO"):
        _, figures = evaluate_model(str(model), count, settings, Trust(anyway=True), name)
    assert {protocol: each["episodes"] for protocol, each in figures["protocols"].items()} == {"sticky": count, "random": count}
    assert f"left the evaluation of {name} incomplete; it starts again" in caplog.text
    with EpisodeStore.open(postgres.url, home) as store:
        assert store.count(stored.id, "evaluate") == 2 * count
        assert store.count(store.experiment(f"{name}-at-{steps}").id, "evaluate") == 2 * count - 1


def test_a_model_plays_another_level(model: Path, postgres: Postgres, home: Path) -> None:
    settings = Settings(home, postgres.url, None)
    overrides = ["environment.stage=2", "environment.sticky_actions=0.1", "evaluate.protocols=[greedy]", "evaluate.n_envs=1"]
    _, figures = evaluate_model(str(model), None, settings, Trust(anyway=True), "elsewhere", overrides)
    assert (figures["environment"]["world"], figures["environment"]["stage"]) == (1, 2)
    assert figures["overrides"] == overrides
    with EpisodeStore.open(postgres.url, home) as store:
        stored = store.experiment("elsewhere")
        rows = store.episodes(stored.id, phase="evaluate")
    assert stored.record.config["environment"]["stage"] == 2
    assert (rows["world"].item(), rows["stage"].item()) == (1, 2)


def test_figures_of_other_settings_are_not_compared_with_the_shipped_figures(
    model: Path, postgres: Postgres, home: Path, tmp_path: Path
) -> None:
    settings = Settings(home, postgres.url, None)
    told = {"greedy": {"episodes": 1, "completed": 1, "completion": None}}
    description = ship(model, tmp_path / "shipped", evaluation=told, origin={})
    short = ["evaluate.protocols=[greedy]", "environment.stage=2"]
    _, changed = evaluate_model(str(description), None, settings, Trust(anyway=True), "changed", short)
    assert "confirmation" not in changed


def test_figures_of_another_number_of_games_at_a_time_are_compared(
    model: Path, postgres: Postgres, home: Path, tmp_path: Path
) -> None:
    """`evaluate.n_envs` changes how fast the same episodes are played."""
    settings = Settings(home, postgres.url, None)
    told = {"greedy": {"episodes": 1, "completed": 0, "completion": None}}
    description = ship(model, tmp_path / "shipped", evaluation=told, origin={})
    overrides = ["evaluate.n_envs=1", "environment.stage=1"]
    _, figures = evaluate_model(str(description), 1, settings, Trust(anyway=True), "faster", overrides)
    assert figures["overrides"] == overrides
    assert figures["confirmation"]["told"] == told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("environment.actions=complex", r"was trained with 7 actions, and environment\.actions has 12: set it to 7 actions"),
        ("environment.stage=5", r"--set environment\.stage=5: environment\.stage: .*less than or equal to 4"),
        ("agent.gamma=0.5", r"--set agent\.gamma=0\.5: only environment, evaluate, seed can be set here"),
        ("environment.stag=2", "did you mean environment.stage"),
    ],
)
def test_an_environment_that_the_model_cannot_play_is_refused_before_any_work(
    given: str, message: str, model: Path, tmp_path: Path
) -> None:
    nowhere = Settings(tmp_path / "home", "postgresql://nobody@127.0.0.1:1/none", None)
    with pytest.raises(ConfigError, match=message):
        evaluate_model(str(model), None, nowhere, Trust(anyway=True), "refused", [given])
