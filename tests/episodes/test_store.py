"""Experiments and episodes: what is put in comes out."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event

import configs
from episodes import EpisodeRow, EpisodeStore, ExperimentRecord, FencingToken, RowError, StoreError
from episodes.schema import EPISODES, EXPERIMENTS, PROTOCOLS
from episodes.store import Totals
from tasks.experiment import recorded_totals

MakeRow = Callable[..., EpisodeRow]


def test_an_experiment_is_read_back(store: EpisodeStore, record: Callable[..., ExperimentRecord]) -> None:
    given = record(
        name="whole", packages={"torch": "2.13.0"}, git_commit="abc", git_dirty=True, mlflow_run_id="r", seed=np.int64(7)
    )
    found = store.experiment(store.create_experiment(given))
    assert found.record == replace(given, seed=7)
    assert type(found.record.seed) is int


def test_a_name_is_given_once(store: EpisodeStore, record: Callable[..., ExperimentRecord]) -> None:
    first = store.create_experiment(record(name="once", seed=1))
    with pytest.raises(StoreError, match=r"uq_experiments_name.*There is an experiment of that name: choose another one"):
        store.create_experiment(record(name="once", seed=2))
    assert store.experiment("once").id == first
    assert store.experiment(str(first)).record.name == "once"


@pytest.mark.parametrize("unknown", [0, -1, 2**70, "nobody", "'; DROP TABLE episodes; --", "9" * 30, "²"])
def test_an_unknown_experiment_is_an_error(store: EpisodeStore, unknown: Any) -> None:
    with pytest.raises(StoreError, match="there is no experiment"):
        store.experiment(unknown)


def test_an_experiment_is_updated(store: EpisodeStore, experiment: int) -> None:
    ended = datetime(2026, 1, 3, tzinfo=UTC)
    store.update_experiment(FencingToken(experiment, 0), status="completed", ended=ended)
    found = store.experiment(experiment).record
    assert (found.status, found.ended) == ("completed", ended)
    frame = store.experiments().set_index("id")
    assert frame.loc[experiment, "status"] == "completed"


def test_an_experiment_is_found_by_exactly_its_name(store: EpisodeStore, experiment: int) -> None:
    record = store.experiment(experiment).record
    assert store.find_experiment(record.name) == experiment
    assert store.find_experiment(record.name + "x") is None
    assert store.find_experiment(str(experiment)) is None


def test_every_protocol_of_the_configuration_can_be_stored() -> None:
    assert set(configs.PROTOCOLS) < set(PROTOCOLS)


def test_updates_of_what_is_not_there_are_errors(store: EpisodeStore, experiment: int) -> None:
    with pytest.raises(RowError, match="experiments has no column state; it has id, name"):
        store.update_experiment(FencingToken(experiment, 0), state="completed")
    with pytest.raises(RowError, match="the allowed values are running, completed, failed, interrupted"):
        store.update_experiment(FencingToken(experiment, 0), status="done")
    with pytest.raises(StoreError, match="there is no experiment 0"):
        store.update_experiment(FencingToken(0, 0), status="completed")


def test_an_episode_comes_back_with_all_it_takes_to_play_it_again(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    actions = np.random.default_rng(0).integers(0, 7, 30_000, dtype=np.uint8).tobytes()
    delays = np.random.default_rng(1).integers(0, 5, 30_000, dtype=np.uint8).tobytes()
    given = row(experiment, reward=np.float64(0.1) + 0.2, level_completed=np.True_)
    with store.writer(outbox, "run 1") as writer:
        writer.put(given, {"noop_frames": np.int64(3)}, actions, delays)
        writer.put(row(experiment, 1), {"noop_frames": 0}, actions, b"")
    first, second = (int(number) for number in store.episodes(experiment).id)
    found = store.episode(first)
    assert found.row == replace(given, level_completed=True)
    assert (found.start, found.actions, found.delays) == ({"noop_frames": 3}, actions, delays)
    assert (store.episode(second).actions, store.episode(second).delays) == (actions, b"")
    assert found.experiment.id == experiment
    assert found.experiment.record.config["environment"]["game"] == "level"


def test_episodes_are_the_same_trajectory_when_start_actions_and_delays_are(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    played = [
        ({"noop_frames": 0}, b"\x01\x02", b""),
        ({"noop_frames": 0}, b"\x01\x02", None),
        ({"noop_frames": 1}, b"\x01\x02", b""),
        ({"noop_frames": 0}, b"\x01\x03", b""),
        ({"noop_frames": 0}, b"\x01\x02", b"\x00\x04"),
    ]
    with store.writer(outbox, "run 1") as writer:
        for index, (start, actions, delays) in enumerate(played):
            writer.put(row(experiment, index), start, actions, delays)
        writer.put(row(experiment, len(played)))
    found = [None if pd.isna(each) else each for each in store.episodes(experiment).trajectory]
    assert found[0] == found[1]
    assert len(set(found[1:-1])) == 4
    assert found[-1] is None


def test_without_actions_the_row_alone_is_kept(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1", store_actions=False) as writer:
        writer.put(row(experiment), {"noop_frames": 3}, b"\x01")
    found = store.episode(int(store.episodes(experiment).id.iloc[0]))
    assert (found.start, found.actions) == (None, None)


def test_the_same_episode_twice_is_one_row_with_its_first_actions(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    for actions in (b"\x01", b"\x02"):
        with store.writer(outbox, "run 1") as writer:
            writer.put(row(experiment), {}, actions)
            writer.put(row(experiment), {}, actions * 2)
    assert store.count(experiment) == 1
    assert store.episode(int(store.episodes(experiment).id.iloc[0])).actions == b"\x01"


def test_episodes_are_selected_by_phase_and_protocol(store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path) -> None:
    with store.writer(outbox, "run 1") as writer:
        for index in range(3):
            writer.put(row(experiment, index))
            writer.put(row(experiment, index, env_index=2, timestamp=datetime(2026, 1, 1, tzinfo=UTC)))
            writer.put(row(experiment, index, phase="evaluate", protocol="greedy"))
        writer.put(row(experiment, 0, phase="evaluate", protocol="noop"))
    assert len(store.episodes(experiment)) == 10
    assert store.count(experiment, "train") == 6
    assert store.count(experiment, "evaluate", "noop") == 1
    assert set(store.episodes(experiment, "evaluate", "greedy").protocol) == {"greedy"}
    assert store.next_episode_indices(experiment, "train", "training") == {0: 3, 2: 3}
    assert store.next_episode_indices(experiment, "smoke", "training") == {}
    with pytest.raises(RowError, match=r"episodes\.phase cannot hold 'training'"):
        store.episodes(experiment, "training")


def test_episodes_are_counted_and_added_up_by_the_database(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    with store.writer(outbox, "run 1") as writer:
        for index in range(50):
            writer.put(row(experiment, index, reward=0.1 * index))
        writer.put(row(experiment, 0, phase="evaluate", protocol="noop", reward=1000.0))
    fetched: list[int] = []

    def note(_connection: Any, cursor: Any, *_: Any) -> None:
        fetched.append(cursor.rowcount)

    event.listen(store.engine, "after_cursor_execute", note)
    totals = store.totals(experiment, "train", "training")
    counted = recorded_totals(store, experiment, "train")
    assert store.totals(experiment, "smoke") == Totals(0, 0.0, None, None)
    assert store.count(experiment) == 51
    assert max(fetched) == 1, "no rows are loaded to be counted"
    frame = store.episodes(experiment, "train")
    assert max(fetched) == 50
    event.remove(store.engine, "after_cursor_execute", note)
    assert totals.episodes == counted.episodes == len(frame)
    assert totals.reward_sum == counted.reward_sum == pytest.approx(frame.reward.sum(), rel=1e-12)
    assert (totals.first, totals.last) == (frame.timestamp.min(), frame.timestamp.max())
    assert (totals.seconds, store.totals(experiment, "smoke").seconds) == (490.0, 0.0)


def test_frames_have_every_column_and_pandas_own_types(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    with store.writer(outbox, "run 1") as writer:
        writer.put(row(experiment))
    frame = store.episodes(experiment)
    assert list(frame.columns) == [*EPISODES.columns.keys(), "trajectory"]
    assert (frame.steps.dtype, frame.reward.dtype, frame.level_completed.dtype) == (np.int64, np.float64, np.bool_)
    assert str(frame.timestamp.dtype).endswith("UTC]")
    values = frame.drop(columns="id").iloc[0].to_dict()
    assert values.pop("trajectory") is None, "no actions were kept"
    assert values == asdict(row(experiment))


def test_the_latest_episodes_come_newest_first_with_their_experiment(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    with store.writer(outbox, "run 1") as writer:
        for index in range(5):
            writer.put(row(experiment, index))
    latest = store.latest(2)
    assert list(latest.episode_index) == [4, 3]
    assert list(latest.experiment) == [store.experiment(experiment).record.name] * 2


def test_an_unknown_episode_is_an_error(store: EpisodeStore) -> None:
    with pytest.raises(StoreError, match="there is no episode 0"):
        store.episode(0)


def test_the_nearest_experiment_is_named(store: EpisodeStore, record: Callable[..., ExperimentRecord]) -> None:
    store.create_experiment(record(name="ppo-level-1-1"))
    with pytest.raises(StoreError, match=r"there is no experiment 'ppo-level-11' in .*; similar names: ppo-level-1-1"):
        store.experiment("ppo-level-11")


def test_an_experiment_with_episodes_is_not_deleted_by_accident(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path
) -> None:
    with store.writer(outbox, "run 1") as writer:
        writer.put(row(experiment))
    with pytest.raises(StoreError, match="fk_episodes_experiment_id"), store.transaction("deleting") as connection:
        connection.execute(EXPERIMENTS.delete().where(EXPERIMENTS.c.id == experiment))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_the_database_itself_refuses_what_is_no_finite_number(
    store: EpisodeStore, experiment: int, row: MakeRow, outbox: Path, value: str
) -> None:
    with store.writer(outbox, "run 1") as writer:
        writer.put(row(experiment))
    with pytest.raises(StoreError, match="ck_episodes_reward_finite"), store.transaction("spoiling") as connection:
        connection.execute(EPISODES.update().where(EPISODES.c.experiment_id == experiment).values(reward=float(value)))
