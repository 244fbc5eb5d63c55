"""The headline of the report and its key figures."""

from collections.abc import Callable

import pandas as pd
import pytest

from reports.data import ExperimentData, PhaseTiming, ReportData, ReportError, RuleCheck
from reports.results import duration, headline, index_of_best, number, percent, protocol_summaries
from reports.tables import cards, provenance_rows

Rows = Callable[..., pd.DataFrame]
Make = Callable[..., ExperimentData]


def said(experiment: ExperimentData) -> str:
    found = headline(experiment, protocol_summaries(experiment))
    return f"{found.sentence} {found.detail}".replace("\u202f", " ")


def test_the_headline_has_completion_interval_distance_and_reference(experiment: Make) -> None:
    text = said(experiment())
    # The four completed episodes are the same trajectory.
    interval = "95 % interval 7.3 % to 44 %, counting 16 different trajectories"
    assert text.startswith(f"DQN-Mario completes level 1-1 in 4 of 20 episodes ({interval})")
    assert "% of the level." in text
    assert "A random policy travels" in text
    assert "clearly further" in text


def test_no_difference_is_claimed_if_intervals_overlap(experiment: Make, rows: Rows) -> None:
    same = pd.concat([rows(20, first_id=100), rows(20, "random", first_id=200)])
    assert "no difference has been shown" in said(experiment(evaluation=same))


def test_an_agent_worse_than_chance_is_reported(experiment: Make, rows: Rows) -> None:
    worse = pd.concat([rows(20, distance=200, first_id=100), rows(20, "random", distance=1500, first_id=200)])
    assert "worse than chance" in said(experiment(evaluation=worse))


def test_repetitions_of_one_trajectory_are_not_counted_as_many(experiment: Make, rows: Rows) -> None:
    one = pd.concat([rows(1, "greedy", completed=1)] * 20).assign(id=range(20))
    text = said(experiment(evaluation=pd.concat([one, rows(20, "random", distance=400, first_id=200)])))
    assert "completes level 1-1 on the one trajectory it plays" in text
    assert "of 20 episodes (" not in text
    assert "trajectory" in text.split("one trajectory", 1)[1]


def test_without_an_evaluation_training_episodes_are_reported_as_such(experiment: Make, rows: Rows) -> None:
    none = rows(0)
    assert said(experiment(evaluation=none)).startswith("Not evaluated: in its last 60 training episodes")
    assert said(experiment(evaluation=none, train=rows(1, "training"))).startswith(
        "Not evaluated: in its only training episode"
    )
    assert said(experiment(evaluation=none, train=none)).startswith("No episode has been played yet.")


def test_what_the_agent_saw_is_told_if_it_saw_no_frames(experiment: Make) -> None:
    seen = {"game": "full", "observation": "tiles"}
    text = said(experiment(config={"environment": seen, "agent": {"algorithm": "ppo"}}))
    assert text.startswith("PPO-tiles-Mario completes at least one level in 4 of 20")


def test_the_full_game_has_no_share_of_a_level(experiment: Make) -> None:
    text = said(experiment(config={"environment": {"game": "full"}, "agent": {"algorithm": "ppo"}}))
    assert text.startswith("PPO-Mario completes at least one level in 4 of 20")
    assert "of the level" not in text


def test_random_is_last(experiment: Make, rows: Rows) -> None:
    own = pd.concat([rows(3, protocol) for protocol in ("random", "noop", "greedy", "sticky", "stochastic")])
    assert list(protocol_summaries(experiment(evaluation=own))) == ["greedy", "stochastic", "sticky", "noop", "random"]


def test_the_best_experiment_is_found(experiment: Make, rows: Rows) -> None:
    some = [experiment(evaluation=rows(0)), experiment(), experiment(evaluation=rows(20, completed=9))]
    assert index_of_best([headline(each, protocol_summaries(each)) for each in some]) == 2


def test_cards(experiment: Make) -> None:
    own = experiment(
        phases=[PhaseTiming("train", 3725.0)],
        quality=[RuleCheck("not null", True), RuleCheck("in range", False, failing_count=2)],
    )
    shown = {card["label"]: card for card in cards(own, headline(own, protocol_summaries(own)))}
    assert shown["Completion"]["value"].replace("\u202f", " ") == "20 %"
    assert shown["Training steps"]["note"] == "60 episodes in 1 h 2 min"
    assert shown["Data quality"]["value"] == "1 / 2"
    assert shown["Data quality"]["note"] == "1 failed"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "1" + "00 %"),
        (0.0001, "< 0.1 %"),
        (0.99999, "> 99.9 %"),
        (0.123, "12 %"),
        (0.052, "5.2 %"),
        (0.995, "99.5 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share).replace("\u202f", " ") == text


@pytest.mark.parametrize(("value", "text"), [(1234567, "1 234 567"), (-0.2, "0"), (-12, "−12"), (12.4, "12")])
def test_number(value: float, text: str) -> None:
    assert number(value).replace("\u202f", " ") == text


@pytest.mark.parametrize(("seconds", "text"), [(4.21, "4.2 s"), (59.4, "59 s"), (59.9, "1 min 0 s"), (3600, "1 h 0 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_provenance_is_ordered_and_has_no_empty_values() -> None:
    rows = provenance_rows(
        {"zoo": "x", "seed": 0, "git_dirty": True, "git_commit": "abc", "torch_version": None, "packages": {"a": "1"}}
    )
    assert rows == [("Commit", "abc"), ("Uncommitted changes", "yes"), ("Seed", "0"), ("Packages", "a 1"), ("Zoo", "x")]


def test_rows_without_a_column_are_refused(experiment: Make, rows: Rows) -> None:
    with pytest.raises(ReportError, match="evaluation rows of experiment dqn-one lack the columns x_pos, stage"):
        experiment(evaluation=rows(3).drop(columns=["x_pos", "stage"]))


def test_a_report_without_experiments_is_refused() -> None:
    with pytest.raises(ReportError, match="no experiment"):
        ReportData([])
