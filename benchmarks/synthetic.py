"""Episodes and MLflow runs that are made up, in any number, but look like those of a training on one level."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from configs.levels import FINISH_X
from episodes import EpisodeRow
from tracking import TrackedRun
from tracking.client import connect

ENVIRONMENTS: Final = 16
PROTOCOLS: Final = ("greedy", "stochastic", "sticky", "sticky_decisions", "noop", "random")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SECONDS: Final = 0.25  # between the ends of two training episodes
# As the shipped agents play: zlib makes 0.40 to 0.45 byte of an action, 0.50 of a random one.
_REPEATED: Final = 0.3
_STREAM: Final = 500_000

Play = tuple[EpisodeRow, dict[str, Any], bytes]
"""A row, where the episode started, and its actions."""


def evaluation_episodes(rows: int) -> int:
    """How many of an experiment's rows are evaluation episodes under each of the protocols."""
    return min(100, rows // 16)


def episodes(experiment: int, level: tuple[int, int], rows: int, seed: int) -> Iterator[Play]:
    """The episodes of one experiment: a training that learns the level, validations on the way, then the evaluation."""
    random = np.random.default_rng(seed)
    make = partial(_play, random, experiment, level, _stream(random))
    each = evaluation_episodes(rows)
    validations = min(200, rows // 50)
    training = rows - validations - each * len(PROTOCOLS)
    step = 0
    for index in range(training):
        skill = index / training
        play = make(skill, index, "train", "training", step)
        step += play[0].steps
        yield play
    for index in range(validations):
        skill = (index // 20 + 1) * 20 / max(20, validations)
        yield make(skill, index, "train", "stochastic", int(skill * step))
    for protocol in PROTOCOLS:
        for index in range(each):
            skill = 0.05 if protocol == "random" else 1.0
            yield make(skill, index, "evaluate", protocol, step)


def _play(
    random: np.random.Generator,
    experiment: int,
    level: tuple[int, int],
    actions: bytes,
    skill: float,
    index: int,
    phase: str,
    protocol: str,
    step: int,
) -> Play:
    """The episode `index` of an agent that completes the level with the probability skill ** 2."""
    completed = bool(random.random() < skill**2)
    finish = FINISH_X[level]
    x = finish if completed else int(min(finish - 20, 60 + random.gamma(2.0, 200 + 700 * skill)))
    steps = int(20 + x / 11 + random.exponential(30))
    row = EpisodeRow(
        experiment_id=experiment, phase=phase, protocol=protocol, env_index=index % ENVIRONMENTS,
        episode_index=index // ENVIRONMENTS, timestamp=_START + timedelta(seconds=index * _SECONDS),
        reward=0.1 * x - 0.01 * steps, steps=steps, frames=4 * steps, duration_seconds=steps / 60,
        global_step=step + (steps if protocol == "training" else 0), exploration_rate=0.0, distance_traveled=x - 40, x_pos=x,
        y_pos=79 + 16 * int(random.integers(0, 8)), score=100 * int(random.integers(0, 40)), coins=int(random.integers(0, 20)),
        time=max(0, 400 - steps // 6), life=2, status="small", world=level[0], stage=level[1], level_completed=completed,
        end_reason="completed" if completed else "died",
    )  # fmt: skip
    begin = int(random.integers(0, _STREAM - steps))
    return row, {"noop_frames": 0}, actions[begin : begin + steps]


def _stream(random: np.random.Generator) -> bytes:
    """Actions from 0 to 6, some of them held for several decisions, of which each episode gets a stretch."""
    drawn = random.choice(7, size=_STREAM, p=(0.04, 0.18, 0.16, 0.27, 0.15, 0.18, 0.02)).astype(np.uint8)
    fresh = random.random(_STREAM) >= _REPEATED
    fresh[0] = True
    held: bytes = drawn[np.maximum.accumulate(np.where(fresh, np.arange(_STREAM), 0))].tobytes()
    return held


def tracked_runs(uri: str, home: Path, config: dict[str, Any], runs: int, dumps: int, metrics: int) -> list[str]:
    """Runs in the SQLite store `uri`, each with the configuration and `metrics` curves of `dumps` points; returns their ids.

    The first is logged as a training does it. Statements copy its rows to the others, because MLflow takes hours for so many.
    """
    with TrackedRun.open(uri, "benchmark", "run-0", home=home) as run:
        run.log_config(config)
        for dump in range(dumps):
            run.log_metrics({f"train/metric_{number}": dump + number / 7 for number in range(metrics)}, 4096 * dump)
        run.flush()
    client = connect(uri, home)
    made = [client.create_run(run.experiment_id, run_name=f"run-{number}").info.run_id for number in range(1, runs)]
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
        for table in ("params", "metrics", "latest_metrics"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "run_uuid"]
            names = ", ".join(columns)
            copy = f"INSERT INTO {table} ({names}, run_uuid) SELECT {names}, ? FROM {table} WHERE run_uuid = ?"  # noqa: S608 (names of tables)
            database.executemany(copy, [(number, run.run_id) for number in made])
    return [run.run_id, *made]
