"""The training of a report, as Postgres selects and computes it, against the same from all rows."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from episodes import EpisodeRow, EpisodeStore, training
from episodes.training import Training, mastered_after, read_training
from reports.choice import choose_episodes
from reports.curves import learning_curve, throughput
from tests.episodes.conftest import Server

MakeRow = Callable[..., EpisodeRow]
COLUMNS = ("distance_traveled", "reward", "level_completed")


@pytest.fixture(scope="module")
def database_url(server: Server) -> Iterator[str]:
    """By TCP only: it makes no difference here how the database is reached."""
    name = server.new_database()
    yield server.by_tcp.set(database=name).render_as_string(hide_password=False)
    server.drop_database(name)


@pytest.fixture(scope="module")
def played(store: EpisodeStore, record: Callable[..., Any], row: MakeRow, tmp_path_factory: pytest.TempPathFactory) -> int:
    """1 030 training episodes in two environments, resumed once from an earlier checkpoint, with validations."""
    experiment = store.create_experiment(record())
    random = np.random.default_rng(0)
    start = datetime(2026, 1, 2, tzinfo=UTC)
    with store.writer(tmp_path_factory.mktemp("rows") / "rows.sqlite", "run 1") as writer:
        for index in range(1_030):
            x = int(random.integers(50, 3_000))
            writer.put(
                row(
                    experiment,
                    index // 2,
                    env_index=index % 2,
                    # Both environments end an episode at the same moment now and then.
                    timestamp=start + timedelta(seconds=(index // 2 + index % 2 * (index % 6)) * 1.5),
                    global_step=100 * (index + 1) - (20_000 if index > 600 else 0),
                    distance_traveled=x // 100 * 100,
                    reward=float(random.normal(x / 10)),
                    level_completed=x > 2_500,
                ),
                {"noop_frames": 0},
                bytes([index % 7]),
            )
        for index in range(6):
            step = 1_000 * (index // 2)
            writer.put(row(experiment, index, protocol="stochastic", global_step=step, distance_traveled=100 * index))
        writer.put(row(experiment, phase="evaluate", protocol="greedy", distance_traveled=9_999))
    return experiment


@pytest.fixture
def rows(store: EpisodeStore, played: int) -> pd.DataFrame:
    """All training episodes."""
    return store.episodes(played, "train", "training")


@pytest.fixture
def found(store: EpisodeStore, played: int) -> Training:
    """What the report is given."""
    return read_training(store, played)


def test_sums_and_last_episodes_are_those_of_all_rows(found: Training, rows: pd.DataFrame) -> None:
    assert (found.episodes, found.steps, found.completed) == (1_030, 83_000, int(rows["level_completed"].sum()))
    pd.testing.assert_frame_equal(found.last, rows.sort_values("global_step", kind="stable").tail(100).reset_index(drop=True))
    assert found.last["trajectory"].notna().all()


def test_the_chosen_episodes_are_those_of_all_rows(found: Training, rows: pd.DataFrame) -> None:
    chosen = choose_episodes(rows)
    assert chosen is not None
    assert (found.best, found.typical) == (chosen.best, chosen.typical)
    assert set(found.chosen["id"]) == {chosen.best, chosen.typical}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_curve_of_few_episodes_has_them_all(found: Training, rows: pd.DataFrame, column: str) -> None:
    ordered = rows.sort_values("global_step", kind="stable")[column].astype(float)
    curve = learning_curve(found, column)
    assert curve.values.tolist() == ordered.tolist()
    assert curve.mean == pytest.approx(ordered.rolling(curve.window, min_periods=curve.window // 4).mean(), nan_ok=True)


@pytest.mark.parametrize("column", COLUMNS)
def test_the_points_of_a_thinned_curve_lie_on_the_curve_of_all_episodes(
    store: EpisodeStore, played: int, found: Training, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """Each point has the mean and the quartiles of the episodes before it, although most of the rows were not read."""
    whole = learning_curve(found, column)
    monkeypatch.setattr(training, "ALL", 1_000)
    monkeypatch.setattr(training, "POINTS", 7)
    monkeypatch.setattr(training, "WINDOW", whole.window)

    thinned = read_training(store, played)
    curve = learning_curve(thinned, column)

    assert len(thinned.curve) == 7 * whole.window < found.episodes
    at = [-(-1_030 * point // 7) - 1 for point in range(1, 8)]
    for name in ("steps", "values", "mean", "low", "high"):
        assert getattr(curve, name) == pytest.approx(getattr(whole, name)[at]), name


def test_the_speed_is_that_of_all_rows(found: Training, rows: pd.DataFrame) -> None:
    """The counter ran backwards once; that counts as no progress."""
    assert len(found.pace) < len(rows) / 4
    by_time = rows.sort_values("timestamp", kind="stable")
    seconds = (by_time["timestamp"] - by_time["timestamp"].iloc[0]).dt.total_seconds() + by_time["duration_seconds"].iloc[0]
    counter = np.maximum.accumulate(by_time["global_step"])
    edges = np.linspace(0.0, seconds.iloc[-1], 61)
    rates = np.diff(np.interp(edges, [0, *seconds], [0, *counter])) / np.diff(edges)

    speed = throughput(found)

    assert speed is not None
    assert speed.steps_per_second == pytest.approx(rates)
    assert speed.steps_per_second.min() == 0
    assert speed.mean == pytest.approx(83_000 / seconds.iloc[-1])


def test_spans_are_means_over_equal_numbers_of_decisions(store: EpisodeStore, record: Any, row: MakeRow, outbox: Path) -> None:
    experiment = store.create_experiment(record())
    steps = [1, 10, 11, *range(30, 47), 100, 100]  # 22 episodes: two spans, up to 50 and up to 100
    with store.writer(outbox, "run 1") as writer:
        for index, step in enumerate(steps):
            writer.put(row(experiment, index, global_step=step, distance_traveled=step, level_completed=step == 100))

    found = read_training(store, experiment)

    assert found.spans[["steps", "episodes", "distance_mean", "completed_share"]].to_numpy().tolist() == [
        [50, 20, pytest.approx(sum(steps[:20]) / 20), 0.0],
        [100, 2, 100.0, 1.0],
    ]


def test_validations_are_means_by_step(found: Training) -> None:
    means = found.validation[["global_step", "distance_traveled"]].to_numpy().tolist()
    assert means == [[0, 50.0], [1_000, 250.0], [2_000, 450.0]]


def test_an_experiment_without_episodes_has_an_empty_training(store: EpisodeStore, experiment: int) -> None:
    found = read_training(store, experiment)
    assert (found.episodes, found.steps, found.best, found.typical) == (0, 0, None, None)
    assert found.curve.empty
    assert found.pace.empty
    assert len(found.spans) == 1
    assert throughput(found) is None


def test_a_level_is_mastered_when_95_of_100_episodes_in_a_row_complete_it(
    store: EpisodeStore, record: Callable[..., Any], row: MakeRow, tmp_path: Path
) -> None:
    def train(outcomes: list[bool], **columns: Any) -> int:
        experiment = store.create_experiment(record())
        with store.writer(tmp_path / f"{experiment}.sqlite", "run 1") as writer:
            # Rows are written in another order than that of their steps.
            for number in reversed(range(len(outcomes))):
                done = outcomes[number]
                writer.put(row(experiment, number, global_step=10 * (number + 1), level_completed=done, **columns))
        return experiment

    failed, completed = [False], [True]
    assert mastered_after(store, train(failed * 5 + completed * 99)) == 1_000, "5 failures among the first 100"
    assert mastered_after(store, train(failed * 6 + completed * 99)) == 1_010, "the first of them is forgotten"
    assert mastered_after(store, train(completed * 99)) is None, "there are no 100 episodes"
    assert mastered_after(store, train((failed + completed * 15) * 20)) is None, "never more than 94"
    assert mastered_after(store, train((failed + completed * 15) * 20), 0.9) == 1_000
    assert mastered_after(store, train(completed * 100, start_decision=4)) is None, "none began at the level's start"
