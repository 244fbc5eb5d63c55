"""The progress of experiments as Postgres counts it, and whether a process runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord
from episodes.leases import acquire
from tests.episodes.conftest import ORIGIN

MakeRow = Callable[..., EpisodeRow]
MakeRecord = Callable[..., ExperimentRecord]


@pytest.fixture
def begun(lone_store: EpisodeStore, record: MakeRecord) -> Callable[..., int]:
    """Begins an experiment of a preset."""

    def begin(name: str, preset: str, **columns: Any) -> int:
        config = {"name": preset, "train": {"total_steps": 2_000_000}}
        return lone_store.create_experiment(record(name=name, config=config, **columns))

    return begin


def test_the_newest_come_first_with_what_they_have_played(
    lone_store: EpisodeStore, begun: Callable[..., int], row: MakeRow, outbox: Path
) -> None:
    first, second = begun("first", "ppo", status="completed"), begun("second", "dqn")
    with lone_store.writer(outbox, "run 1") as writer:
        for index in range(3):
            writer.put(row(first, index, global_step=100 * index))
            writer.put(row(first, index, phase="evaluate", protocol="stochastic", global_step=900, level_completed=index > 0))
        # Of another phase and other protocols: neither steps of the training nor episodes of the evaluation.
        writer.put(row(first, 0, phase="integration", global_step=5_000))
        writer.put(row(first, 0, protocol="greedy", global_step=6_000))
        writer.put(row(first, 0, phase="evaluate", protocol="noop", level_completed=True))

    newest, oldest = lone_store.overview(10)

    assert (newest.id, newest.name, newest.preset, newest.status) == (second, "second", "dqn", "running")
    assert (newest.steps, newest.total_steps, newest.played, newest.completed) == (0, 2_000_000, 0, 0)
    assert (oldest.id, oldest.name, oldest.preset, oldest.status) == (first, "first", "ppo", "completed")
    assert (oldest.steps, oldest.total_steps, oldest.played, oldest.completed) == (200, 2_000_000, 3, 2)
    assert newest.recent is None
    assert oldest.recent == 0.0
    assert [each.name for each in lone_store.overview(1)] == ["second"]
    assert [each.name for each in lone_store.overview(10, names=["first", "third"])] == ["first"]
    assert [each.name for each in lone_store.overview(10, status="completed")] == ["first"]
    assert [each.name for each in lone_store.overview(10, preset="ppo", status="running")] == []


def test_the_recent_share_is_of_the_last_hundred_training_episodes(
    lone_store: EpisodeStore, begun: Callable[..., int], row: MakeRow, outbox: Path
) -> None:
    learning = begun("learning", "ppo")
    with lone_store.writer(outbox, "run 1") as writer:
        for index in range(150):
            writer.put(row(learning, index, global_step=10 * index, level_completed=index < 50 or index >= 125))
    assert lone_store.overview(1)[0].recent == 0.25


def test_what_a_process_runs_is_told_from_what_none_does(lone_store: EpisodeStore, begun: Callable[..., int]) -> None:
    begun("gone", "ppo")
    held = begun("held", "ppo")
    lease = acquire(lone_store, held, ORIGIN, seconds=60)
    try:
        assert {each.name: each.held for each in lone_store.overview(10)} == {"gone": False, "held": True}
        assert [each.name for each in lone_store.overview(10, held=True)] == ["held"]
        assert [each.name for each in lone_store.overview(10, held=False)] == ["gone"]
    finally:
        lease.release()
    assert not any(each.held for each in lone_store.overview(10))
