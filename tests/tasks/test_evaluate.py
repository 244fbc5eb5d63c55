"""Evaluations on several levels."""

import pandas as pd

from configs import Config, load
from episodes.schema import TRAJECTORY_COLUMNS
from tasks.evaluate import level_metrics, level_summaries, level_table, of_trained_levels

SETTINGS = ["evaluate.episodes=2", "evaluate.noop_frames=3", "evaluate.protocols=[greedy, stochastic, noop]"]
EACH = {"greedy": 1, "stochastic": 2, "noop": 3}


def evaluated(*overrides: str) -> tuple[Config, pd.DataFrame]:
    """A configuration with three levels, and the rows of its evaluation: the first level is always completed."""
    config = load("ppo", [*SETTINGS, *overrides])
    rows = [
        {
            **dict.fromkeys(TRAJECTORY_COLUMNS, 0),
            "protocol": protocol,
            "env_index": number,
            "level_completed": number < each,
            "distance_traveled": 100 * (number // each) + number,
            "reward": 1.0,
        }
        for protocol, each in EACH.items()
        for number in range(3 * each)
    ]
    return config, pd.DataFrame(rows)


def test_each_level_has_its_own_figures() -> None:
    config, rows = evaluated("environment.levels=[1-1, 1-2]", "evaluate.levels=[4-2]")
    levels = level_summaries(config, rows)
    assert list(levels) == ["1-1", "1-2", "4-2"]
    for level, rate in (("1-1", 1.0), ("1-2", 0.0), ("4-2", 0.0)):
        assert {name: own.episodes for name, own in levels[level].items()} == EACH
        assert {own.completion_rate for own in levels[level].values()} == {rate}
    metrics = level_metrics(levels)
    assert metrics["evaluate/noop/level/1-1/completion"] == 1.0
    assert metrics["evaluate/greedy/level/4-2/distance_iqm"] == 202
    assert level_table(levels)[-1]["protocol"] == "noop, level 4-2"


def test_levels_that_were_not_trained_on_do_not_count_in_the_result() -> None:
    config, rows = evaluated("environment.levels=[1-1, 1-2]", "evaluate.levels=[4-2]")
    assert of_trained_levels(config, rows)["protocol"].value_counts().to_dict() == {name: 2 * n for name, n in EACH.items()}
    config, rows = evaluated("evaluate.levels=[1-2, 4-2]")
    assert of_trained_levels(config, rows)["protocol"].value_counts().to_dict() == EACH


def test_one_level_needs_no_table_of_levels() -> None:
    config, rows = evaluated()
    assert level_summaries(config, rows) == {}
    assert len(of_trained_levels(config, rows)) == len(rows)
