"""Checks that the episode store can be written to, before a training depends on it."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import insert, select

from episodes import boundary
from episodes.errors import StoreError
from episodes.schema import EPISODES, EXPERIMENTS, EpisodeRow, ExperimentRecord
from episodes.store import EpisodeStore


def check_writable(store: EpisodeStore) -> None:
    """Write an experiment and an episode of NumPy scalars, and read the episode back.

    Everything happens in one transaction that is rolled back, so no row stays.

    Raises:
        StoreError: the database refuses, or returns another value; the message names the column.
    """
    row = _numpy_row()
    with store.transaction("the smoke test's row") as connection:
        transaction = connection.begin_nested()
        experiment = boundary.row_values(EXPERIMENTS, _values(_experiment()))
        experiment_id = connection.execute(insert(EXPERIMENTS).values(experiment).returning(EXPERIMENTS.c.id)).scalar_one()
        written = boundary.row_values(EPISODES, _values(row) | {"experiment_id": experiment_id})
        episode_id = connection.execute(insert(EPISODES).values(written).returning(EPISODES.c.id)).scalar_one()
        read = connection.execute(select(EPISODES).where(EPISODES.c.id == episode_id)).one()._mapping
        transaction.rollback()
    for name, value in written.items():
        if read[name] != value:
            raise StoreError(f"{store.masked_url}: the column {name} was given {value!r} and returned {read[name]!r}")


def _values(record: EpisodeRow | ExperimentRecord) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _experiment() -> ExperimentRecord:
    return ExperimentRecord(
        name="smoke test",
        config={},
        config_hash="",
        seed=0,
        python_version="",
        device="",
        host="",
        started=datetime.now(UTC),
    )


def _numpy_row() -> EpisodeRow:
    """A row as a game written with NumPy gives it: every number is a NumPy scalar."""
    numbers: dict[str, Any] = {
        "env_index": np.int64(0),
        "episode_index": np.int32(0),
        "reward": np.float32(12.5),
        "steps": np.int64(10),
        "frames": np.uint16(40),
        "duration_seconds": np.float64(0.25),
        "global_step": np.int64(10),
        "exploration_rate": np.float64(0.5),
        "distance_traveled": np.int32(123),
        "x_pos": np.uint16(163),
        "y_pos": np.int16(79),
        "score": np.int64(100),
        "coins": np.uint8(1),
        "time": np.int16(390),
        "life": np.uint8(3),
        "world": np.uint8(1),
        "stage": np.uint8(1),
        "level_completed": np.bool_(False),
    }
    return EpisodeRow(
        experiment_id=0,
        phase="smoke",
        protocol="training",
        timestamp=datetime.now(UTC),
        status="small",
        end_reason="stalled",
        **numbers,
    )
