"""The choice of the best and the typical episode."""

from collections.abc import Callable

import pandas as pd

from reports.choice import choose_episodes, headline_protocol

Rows = Callable[..., pd.DataFrame]


def table(*rows: tuple[int, str, bool, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "protocol", "level_completed", "distance_traveled", "reward"])


def test_the_best_episode_is_chosen_by_completion_distance_and_reward() -> None:
    rows = table(
        (1, "stochastic", False, 3300, 400.0),
        (2, "stochastic", True, 3121, 310.0),
        (3, "sticky", True, 3121, 312.0),
        (4, "greedy", True, 3121, 312.0),
        (5, "random", True, 3500, 999.0),
    )
    chosen = choose_episodes(rows)
    assert chosen is not None
    assert (chosen.best, chosen.best_protocol) == (3, "sticky")


def test_the_typical_episode_is_nearest_to_the_median_of_the_most_informative_protocol() -> None:
    distances = [100, 300, 500, 900, 2000]
    rows = table(
        *((10 + index, "stochastic", False, distance, distance / 10) for index, distance in enumerate(distances)),
        *((20 + index, "greedy", False, 2500, 250.0) for index in range(50)),
    )
    chosen = choose_episodes(rows)
    assert chosen is not None
    assert (chosen.typical, chosen.typical_protocol) == (12, "stochastic")
    assert (chosen.best, chosen.best_protocol) == (20, "greedy")


def test_ties_are_broken_by_the_median_reward_and_then_by_the_id() -> None:
    rows = table(*((id, "sticky", False, 500, reward) for id, reward in [(1, 90.0), (2, 50.0), (3, 50.0), (4, 10.0)]))
    chosen = choose_episodes(rows)
    assert chosen is not None
    assert chosen.typical == 2


def test_a_single_episode_is_best_and_typical() -> None:
    chosen = choose_episodes(table((4, "greedy", False, 10, 1.0)))
    assert chosen is not None
    assert chosen.best == chosen.typical == 4


def test_nothing_to_choose_from(rows: Rows) -> None:
    assert choose_episodes(table()) is None
    assert choose_episodes(table((1, "random", True, 3000, 1.0))) is None
    assert choose_episodes(rows(3).drop(columns="id")) is None


def test_training_rows_can_be_chosen_from(rows: Rows) -> None:
    chosen = choose_episodes(rows(9, "training"))
    assert chosen is not None
    assert chosen.typical_protocol == "training"


def test_the_headline_protocol(rows: Rows) -> None:
    assert headline_protocol(pd.concat([rows(1, "greedy"), rows(1, "noop"), rows(1, "random")])) == "noop"
    assert headline_protocol(rows(1, "random")) is None
