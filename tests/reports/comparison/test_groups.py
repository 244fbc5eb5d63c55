"""What makes a variant, a group and a seed, and who is left out."""

from collections.abc import Callable
from typing import Any

import pytest

from reports.comparison.groups import ComparedExperiment, differences, group_experiments
from reports.data import ReportError

Make = Callable[..., ComparedExperiment]
Scores = Callable[..., Any]


def test_experiments_are_grouped_by_preset_and_level(experiment: Make, scores: Scores) -> None:
    some = [
        experiment(1, "pqn"),
        experiment(2, "ppo", "seed=1"),
        experiment(3, "ppo", "environment.stage=2"),
        experiment(4, "ppo"),
        # Neither changes the agent.
        experiment(5, "ppo", "seed=2", "evaluate.episodes=7", "report.video=false"),
    ]
    grouping = group_experiments(some, scores(dict.fromkeys(range(1, 6), 0.5)), range(1, 6), "stochastic")
    assert [(group.name, group.ids) for group in grouping.groups] == [
        ("pqn · 1-1", [1]),
        ("ppo · 1-1", [4, 2, 5]),
        ("ppo · 1-2", [3]),
    ]
    assert (grouping.variants, grouping.levels, grouping.common_levels) == (["pqn", "ppo"], [(1, 1), (1, 2)], [(1, 1)])
    assert grouping.left_out == ()


def test_overrides_make_variants_that_are_named_by_what_differs(experiment: Make, scores: Scores) -> None:
    some = [experiment(1), experiment(2, "ppo", "agent.gamma=0.95", "seed=1"), experiment(3, "ppo", "agent.gamma=0.95")]
    grouping = group_experiments(some, scores({1: 0.5, 2: 0.5, 3: 0.5}), [1, 2, 3], "stochastic")
    assert {group.name: group.ids for group in grouping.groups} == {
        "ppo (gamma 0.9) · 1-1": [1],
        "ppo (gamma 0.95) · 1-1": [3, 2],
    }
    assert differences(grouping) == [("agent.gamma", [0.9, 0.95])]


def test_what_was_not_evaluated_or_has_the_same_seed_is_left_out(experiment: Make, scores: Scores) -> None:
    some = [
        experiment(1, name="first"),
        experiment(2, name="again"),
        experiment(3, name="only-evaluated"),
        experiment(4, "ppo", "seed=1", name="running", status="running"),
        experiment(5, "ppo", "seed=1", "evaluate.episodes=101", name="playing", status="running"),
    ]
    grouping = group_experiments(some, scores({1: 0.9, 2: 0.5, 3: 0.7, 5: 0.8}), [1, 2, 4, 5], "stochastic")
    assert [group.ids for group in grouping.groups] == [[2]]
    assert [(each.name, reason) for each, reason in grouping.left_out] == [
        ("first", "has the same configuration and seed as again"),
        ("only-evaluated", "has the same configuration and seed as again"),
        ("running", "not evaluated under stochastic (status: running)"),
        ("playing", "has played 100 of 101 episodes under stochastic (status: running)"),
    ]


def test_without_any_evaluation_there_is_nothing_to_compare(experiment: Make, scores: Scores) -> None:
    with pytest.raises(ReportError, match=r"none of the 1 experiments has a whole evaluation under sticky_decisions \(ppo-1\)"):
        group_experiments([experiment(1)], scores({1: 0.5}), [1], "sticky_decisions")
