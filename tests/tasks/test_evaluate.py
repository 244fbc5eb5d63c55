"""Evaluations on several levels."""

from typing import Any

import pandas as pd

from configs import PROJECT, Config, Settings, load
from episodes.schema import TRAJECTORY_COLUMNS
from tasks.evaluate import level_metrics, level_summaries, level_table, levels_of_rows, of_trained_levels, play_protocols
from tasks.experiment import open_experiment_store
from tasks.starting import running_experiment

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


def test_every_level_is_played_and_none_twice(settings: Settings) -> None:
    short = [
        "environment.levels=[1-1, 1-2]",
        "evaluate.levels=[4-2]",
        "evaluate.protocols=[random]",
        "environment.max_steps=12",
    ]
    config = load(str(PROJECT / "tests" / "data" / "tiny.yaml"), ["train.curriculum={}", *short])
    agent: Any = None  # the random policy is none
    with running_experiment(config, "several-levels", settings, None) as experiment, open_experiment_store(experiment) as store:
        summaries, counts = play_protocols(experiment, agent, store)
        again, recorded = play_protocols(experiment, agent, store)
        rows = store.episodes(experiment.id, phase="evaluate").sort_values("env_index")
        starts = [store.episode(int(number)).start for number in rows["id"]]
    assert (summaries["random"].episodes, counts["random"][0]) == (4, 6)
    assert (again, recorded) == (summaries, counts)
    # No episode of an evaluation begins along a demonstration.
    assert starts == [{"noop_frames": 0, "level": level} for level in ("1-1", "1-2", "4-2") for _ in range(2)]
    assert levels_of_rows(config, rows).tolist() == [start["level"] for start in starts if start is not None]
    assert rows["env_index"].tolist() == [*range(6)]
