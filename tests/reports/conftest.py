"""Rows and frames for the tests of reports."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from episodes.training import LAST, Training
from reports.choice import choose_episodes
from reports.data import ExperimentData
from reports.video import Frame

Rows = Callable[..., pd.DataFrame]
CURVE = ["global_step", "distance_traveled", "reward", "level_completed"]


@pytest.fixture
def rows() -> Rows:
    """A function that makes `count` episode rows of one protocol, with ids from `first_id` and distances around `distance`."""

    def make(
        count: int, protocol: str = "stochastic", *, distance: float = 800, completed: int = 0, first_id: int = 1
    ) -> pd.DataFrame:
        random = np.random.default_rng(first_id)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        travelled = np.clip(random.normal(distance, 150, count), 10, 3000).astype(int)
        done = np.arange(count) >= count - completed
        travelled[done] = 3121
        steps = travelled // 8 + 5
        return pd.DataFrame(
            {
                "id": np.arange(first_id, first_id + count),
                "phase": "train" if protocol == "training" else "evaluate",
                "protocol": protocol,
                "timestamp": [start + timedelta(seconds=2.0 * index) for index in range(count)],
                "reward": travelled * 0.1 - 2.5,
                "steps": steps,
                "frames": steps * 4,
                "duration_seconds": steps / 100,
                "global_step": np.cumsum(steps),
                "distance_traveled": travelled,
                "x_pos": travelled + 40,
                "world": 1,
                "stage": 1,
                "level_completed": done,
                "y_pos": 79,
                "score": travelled // 100 * 50,
                "coins": 0,
                "time": 400 - steps // 6,
                "life": 2,
                "status": "small",
                "end_reason": np.where(done, "completed", "died"),
            }
        )

    return make


def training_of(rows: pd.DataFrame) -> Training:
    """The training that these rows are, as Postgres gives it."""
    if rows.empty:
        rows = pd.DataFrame(columns=[*CURVE, "id", "protocol", "timestamp", "duration_seconds"])
    ordered = rows.sort_values("global_step", kind="stable")
    by_time = rows.sort_values("timestamp", kind="stable")
    ends = pd.to_datetime(by_time["timestamp"], utc=True)
    begin = ends.min() - pd.Timedelta(seconds=float(by_time["duration_seconds"].iloc[0]) if len(rows) else 0)
    chosen = choose_episodes(rows)
    ids = (None, None) if chosen is None else (chosen.best, chosen.typical)
    return Training(
        episodes=len(rows),
        steps=int(ordered["global_step"].max()) if len(rows) else 0,
        completed=int(rows["level_completed"].sum()),
        curve=ordered[CURVE].assign(shown=True),
        pace=pd.DataFrame({"seconds": (ends - begin).dt.total_seconds(), "steps": by_time["global_step"].cummax()}),
        paces=max(1, min(60, len(rows) // 4)),
        spans=pd.DataFrame(),
        last=ordered.tail(LAST),
        best=ids[0],
        typical=ids[1],
        chosen=rows[rows["id"].isin(ids)],
        validation=pd.DataFrame(columns=CURVE),
    )


@pytest.fixture
def training() -> Callable[[pd.DataFrame], Training]:
    """A function that makes the training of some rows."""
    return training_of


@pytest.fixture
def experiment(rows: Rows) -> Callable[..., ExperimentData]:
    """A function that makes an experiment; by default with 60 training, 20 stochastic and 20 random episodes."""

    def make(**changes: Any) -> ExperimentData:
        values: dict[str, Any] = {
            "name": "dqn-one",
            "id": 7,
            "config": {"name": "dqn", "environment": {"game": "level", "world": 1, "stage": 1}, "agent": {"algorithm": "dqn"}},
            "provenance": {"git_commit": "abc1234", "git_dirty": False, "seed": 3, "device": "cpu"},
            "train": rows(60, "training", distance=600),
            "evaluation": pd.concat([rows(20, completed=4, first_id=100), rows(20, "random", distance=400, first_id=200)]),
        }
        values |= changes
        return ExperimentData(**values | {"train": training_of(values["train"])})

    return make


@pytest.fixture
def scrolling() -> Callable[..., list[Frame]]:
    """A function that makes frames of a camera moving over a landscape of `width` columns by `speed` pixels per frame."""

    def make(count: int = 60, *, width: int = 1200, speed: int = 3) -> list[Frame]:
        land = (
            np.random.default_rng(0).integers(0, 255, (30, width // 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        )
        starts = [min(index * speed, width - 256) for index in range(count)]
        return [np.ascontiguousarray(land[:, start : start + 256]) for start in starts]

    return make
