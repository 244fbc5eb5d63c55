"""Figures of many experiments, as Postgres computes them from rows that the store's writer wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from episodes import EpisodeRow, EpisodeStore, ExperimentRecord
from episodes.comparison import (
    endings,
    evaluation_scores,
    experiment_names,
    first_reached,
    read_experiments,
    training_curves,
)

MakeRow = Callable[..., EpisodeRow]
MakeRecord = Callable[..., ExperimentRecord]


@pytest.fixture
def pair(store: EpisodeStore, record: MakeRecord) -> list[int]:
    """Two new experiments."""
    return [store.create_experiment(record()) for _ in range(2)]


@pytest.fixture
def write(store: EpisodeStore, row: MakeRow, outbox: Path) -> Callable[..., None]:
    """Writes episodes of one experiment; each is a dictionary of columns. A key `actions` stores the actions too."""

    def write_all(experiment: int, episodes: list[dict[str, Any]]) -> None:
        with store.writer(outbox, "run 1") as writer:
            for index, columns in enumerate(episodes):
                actions = columns.pop("actions", None)
                stored = {} if actions is None else {"start": {"level": "1-1"}, "actions": actions}
                writer.put(row(experiment, index, **columns), **stored)

    return write_all


def tuples(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None))


def test_the_evaluation_is_one_row_for_each_experiment_and_protocol(
    store: EpisodeStore, pair: list[int], write: Callable[..., None]
) -> None:
    judged = {"phase": "evaluate", "protocol": "stochastic"}
    write(pair[0], [judged | {"level_completed": index < 3, "distance_traveled": 100 * index} for index in range(4)])
    write(pair[1], [judged | {"protocol": "sticky", "reward": 7.5}, {"level_completed": True}])

    found = evaluation_scores(store, pair)

    assert tuples(found[["experiment_id", "protocol", "episodes", "completed", "distance"]]) == [
        (pair[0], "stochastic", 4, 3, 150.0),
        (pair[1], "sticky", 1, 0, 300.0),
    ]
    assert found["reward"].iloc[1] == 7.5
    assert evaluation_scores(store, pair[1:])["protocol"].tolist() == ["sticky"]


def test_curves_are_means_over_equal_spans(store: EpisodeStore, pair: list[int], write: Callable[..., None]) -> None:
    steps = [0, 249, 250, 999, 1_000, 1_003]
    write(pair[0], [{"global_step": step, "level_completed": step >= 999, "distance_traveled": step} for step in steps])
    write(pair[1], [{"global_step": 10, "protocol": "stochastic"}, {"global_step": 600, "phase": "integration"}])

    found = training_curves(store, pair, end=1_000, bins=4)

    assert tuples(found) == [
        (pair[0], 0, 2, 0.0, 124.5),
        (pair[0], 1, 1, 0.0, 250.0),
        (pair[0], 3, 3, 1.0, pytest.approx(3_002 / 3)),
    ]


def test_a_rate_counts_when_a_whole_window_has_reached_it(
    store: EpisodeStore, pair: list[int], write: Callable[..., None]
) -> None:
    # Written out of order, as parallel environments do. By steps: 1 1 0 0 1 1 0 1 1 1.
    done = [True, True, False, False, True, True, False, True, True, True]
    order = [3, 1, 2, 0, 4, 5, 9, 8, 7, 6]
    write(pair[0], [{"global_step": 100 * index, "level_completed": done[index]} for index in order])
    # Along a demonstration it is easier: such episodes do not count.
    write(pair[0], [{"global_step": 250, "level_completed": True, "start_decision": 40}] * 4)
    write(pair[1], [{"level_completed": True}, {"level_completed": True}])

    found = first_reached(store, pair, [0.5, 0.6, 0.75, 1.0], window=4)

    # The first two are no whole window. 3 of 4 is the first above 60 %.
    assert found == {pair[0]: (300, 700, 700, None), pair[1]: (None,) * 4}


def test_endings_are_counted_by_bin_and_name_an_episode_that_can_be_replayed(
    store: EpisodeStore, pair: list[int], write: Callable[..., None]
) -> None:
    judged = {"phase": "evaluate", "protocol": "stochastic"}
    write(pair[0], [judged | {"x_pos": 63}, judged | {"x_pos": 64}, judged | {"x_pos": 127, "actions": bytes(100)}])
    write(pair[1], [judged | {"x_pos": 100, "actions": bytes(100)}, judged | {"x_pos": 100, "end_reason": "stalled"}])
    write(pair[1], [judged | {"protocol": "sticky"}])

    found = endings(store, pair, "stochastic", 64)

    assert [(each.level, each.bin, each.reason, each.episodes) for each in found] == [
        ((1, 1), 0, "died", 1),
        ((1, 1), 1, "died", 3),
        ((1, 1), 1, "stalled", 1),
    ]
    without, episode, also_without = (each.episode for each in found)
    assert without is also_without is None
    assert episode is not None
    shown = store.episode(episode)
    assert (shown.row.experiment_id, shown.row.x_pos) == (pair[0], 127)


def test_experiments_are_read_by_id(store: EpisodeStore, pair: list[int]) -> None:
    names = experiment_names(store)
    read = read_experiments(store, pair[::-1])
    assert [each.id for each in read] == pair
    assert [each.record.name for each in read] == [names[number] for number in pair]
    assert read[0] == store.experiment(pair[0])
