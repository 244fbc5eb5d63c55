"""Learning curves, throughput, and the positions where episodes end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from episodes.training import Training
from reports.curves import learning_curve, throughput, window_size
from reports.deaths import BIN_WIDTH, endings, levels_of

Rows = Callable[..., pd.DataFrame]
Make = Callable[[pd.DataFrame], Training]


def test_the_curve_is_the_mean_of_the_last_window(rows: Rows, training: Make) -> None:
    curve = learning_curve(training(rows(400, "training").sample(frac=1, random_state=0)), "distance_traveled")
    assert curve.window == 20
    assert np.all(np.diff(curve.steps) > 0)
    assert curve.mean[-1] == pytest.approx(curve.values[-20:].mean())
    assert np.all(curve.low[30:] <= curve.high[30:])


@pytest.mark.parametrize(("episodes", "window"), [(0, 1), (1, 1), (2, 1), (9, 3), (60, 10), (400, 20), (5000, 100)])
def test_the_window_grows_with_the_episodes(episodes: int, window: int) -> None:
    assert window_size(episodes) == window


def test_booleans_give_shares(rows: Rows, training: Make) -> None:
    assert learning_curve(training(rows(30, "training", completed=10)), "level_completed").mean[-1] == 1.0


def test_throughput_is_measured_between_ends_of_episodes(rows: Rows, training: Make) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ends = [start + timedelta(seconds=10.0 * (index + 1)) for index in range(100)]
    steps = np.arange(1, 101) * 250
    speed = throughput(training(rows(100, "training").assign(timestamp=ends, duration_seconds=10.0, global_step=steps)))
    assert speed is not None
    assert speed.mean == pytest.approx(25)
    assert speed.steps_per_second == pytest.approx(np.full(25, 25.0))
    assert speed.hours[-1] < 1000 / 3600


def test_throughput_of_few_episodes(rows: Rows, training: Make) -> None:
    assert throughput(training(rows(0, "training"))) is None
    one = throughput(training(rows(1, "training")))
    assert one is not None
    assert one.mean == pytest.approx(100)


def test_endings_are_shares_of_all_episodes(rows: Rows) -> None:
    own = rows(50, completed=10)
    own.loc[:4, "stage"] = 2
    found = endings(own, (1, 1), 3161)
    assert found.episodes == 50
    assert sum(shares.sum() for shares in found.shares.values()) == pytest.approx(0.9)
    assert found.shares["completed"].sum() == pytest.approx(0.2)
    assert found.shares["completed"][int(3161 // BIN_WIDTH)] == pytest.approx(0.2)
    assert found.edges[-1] >= 3161


def test_an_unknown_end_reason_is_kept(rows: Rows) -> None:
    assert set(endings(rows(3).assign(end_reason="abducted"), (1, 1), 3161).shares) == {"abducted"}


def test_levels_are_in_the_order_of_the_game(rows: Rows) -> None:
    own = pd.concat([rows(5).assign(stage=2), rows(9), rows(2).assign(world=4), rows(1).assign(world=2)])
    assert levels_of(own) == [(1, 1), (1, 2), (4, 1)]
