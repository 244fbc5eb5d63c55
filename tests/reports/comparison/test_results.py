"""The figures of a comparison: groups instead of seeds, and what few seeds do not show."""

from collections.abc import Callable

import pytest

from reports.comparison.groups import ComparedExperiment
from reports.comparison.results import BINS, ComparisonData, Efficiency, Results

Make = Callable[..., ComparedExperiment]
Compare = Callable[..., ComparisonData]
Scored = tuple[ComparedExperiment, float]


def seeds(experiment: Make, preset: str, shares: list[float], first: int, *overrides: str) -> list[Scored]:
    """Experiments with the seeds 0, 1, ... and their completion."""
    return [(experiment(first + seed, preset, f"seed={seed}", *overrides), share) for seed, share in enumerate(shares)]


def results(comparison: Compare, *groups: list[Scored]) -> Results:
    every = [pair for group in groups for pair in group]
    return Results(comparison([each for each, _ in every], {each.id: share for each, share in every}))


def test_a_group_has_the_mean_of_the_middle_half_of_its_seeds(experiment: Make, comparison: Compare) -> None:
    found = results(comparison, seeds(experiment, "ppo", [0.0, 0.6, 0.7, 0.8, 1.0], 1))
    (group,) = found.grouping.groups
    estimate = found.estimate(group)
    assert estimate is not None
    assert estimate.interval is not None
    assert estimate.value == pytest.approx(0.7)
    assert 0 < estimate.interval.low < 0.7 < estimate.interval.high < 1
    assert found.estimate(group, "completion", "noop") is None
    assert found.protocols() == ["sticky"]
    assert found.random_completion((1, 1)) == 0


def test_a_difference_is_shown_by_enough_seeds_that_do_not_overlap(experiment: Make, comparison: Compare) -> None:
    good, bad = [0.9, 0.92, 0.94, 0.96], [0.1, 0.12, 0.14, 0.16]
    four = results(comparison, seeds(experiment, "ppo", good, 1), seeds(experiment, "pqn", bad, 11)).improvements()
    assert [(each.probability, each.verdict) for each in four] == [(1.0, "ppo is better")]
    three = results(comparison, seeds(experiment, "pqn", bad[:3], 1), seeds(experiment, "ppo", good[:3], 11)).improvements()
    assert [(each.probability, each.verdict) for each in three] == [(0.0, "too few seeds")]
    one = results(comparison, seeds(experiment, "ppo", good[:1], 1), seeds(experiment, "pqn", bad, 11)).improvements()
    assert [(each.interval, each.verdict) for each in one] == [(None, "too few seeds")]
    mixed = results(
        comparison, seeds(experiment, "ppo", good[:2] + bad[:2], 1), seeds(experiment, "pqn", good[2:] + bad[2:], 11)
    )
    assert [each.verdict for each in mixed.improvements()] == ["not shown"]


def test_levels_are_strata_of_three_seeds_each(experiment: Make, comparison: Compare) -> None:
    found = results(
        comparison,
        seeds(experiment, "ppo", [0.9, 0.91, 0.92], 1),
        seeds(experiment, "ppo", [0.5, 0.51, 0.52], 11, "environment.stage=2"),
        seeds(experiment, "pqn", [0.8, 0.81, 0.82], 21),
        seeds(experiment, "pqn", [0.4, 0.41, 0.42], 31, "environment.stage=2"),
        seeds(experiment, "pqn", [0.1], 41, "environment.stage=3"),
    )
    overall = found.overall("ppo")
    assert overall is not None
    assert overall.interval is not None
    # Resampling levels too would give a far wider interval.
    assert overall.interval.high - overall.interval.low < 0.03
    assert found.grouping.common_levels == [(1, 1), (1, 2)]
    assert [(each.level, each.verdict) for each in found.improvements()] == [
        ("1-1", "too few seeds"),
        ("1-2", "too few seeds"),
        ("", "ppo is better"),
    ]
    gap, interval = found.optimality_gap("ppo")
    assert interval is not None
    assert gap == pytest.approx(1 - 0.71)
    assert interval.low < gap < interval.high


def test_a_curve_is_drawn_where_all_seeds_have_episodes(experiment: Make, comparison: Compare) -> None:
    pair = [each for each, _ in seeds(experiment, "ppo", [0.6, 0.8], 1)]
    data = comparison(pair, {1: 0.6, 2: 0.8})
    gaps = data.curves[~((data.curves["experiment_id"] == 2) & data.curves["bin"].isin([0, 5, BINS - 1]))]
    found = Results(comparison(pair, {1: 0.6, 2: 0.8}, curves=gaps))
    curve = found.curve(found.grouping.groups[0], "completion")
    assert curve is not None
    assert curve.band is not None
    assert curve.spans.tolist() == list(range(1, BINS - 1))
    assert curve.mean == pytest.approx(0.7 * curve.spans / BINS)  # the gap in the middle lies on the line
    assert curve.at(0.5) == pytest.approx(0.7 * (BINS / 2 - 1) / BINS)
    assert curve.at(1.0) is None


@pytest.mark.parametrize(
    ("steps", "count", "median"),
    [((100, 300, 500), 3, 300), ((100, 300), 3, 300), ((100,), 3, None), ((100, 300), 4, None), ((100, 300, 500), 4, 400)],
)
def test_the_median_counts_seeds_that_did_not_reach_the_rate(steps: tuple[int, ...], count: int, median: float | None) -> None:
    assert Efficiency(0.5, steps, count).median == median
