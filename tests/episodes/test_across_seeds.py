"""Statistics over seeds: the published examples, their definitions, and what few seeds cannot say."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.across_seeds import (
    FEW_SEEDS,
    curve_band,
    improvement_interval,
    optimality_gaps,
    performance_profile,
    pooled,
    probability_of_improvement,
    stratified_band,
    stratified_interval,
)
from episodes.statistics import Floats, Interval, interquartile_mean, interquartile_means

# The matrices (runs x tasks) of rliable's own tests, and what rliable says of them (tests/rliable/metrics_test.py).
PUBLISHED_X = np.array([[1, 2], [2, 2], [1, 1], [2, 1]], dtype=np.float64)
PUBLISHED_Y = np.array([[1, 1], [2, 2], [3, 3]], dtype=np.float64)


def strata(matrix: Floats) -> list[Floats]:
    """The columns of a matrix of runs and tasks."""
    return list(matrix.T)


def matrices(lowest: int = 1) -> st.SearchStrategy[list[Floats]]:
    level = st.lists(st.integers(0, 5), min_size=lowest, max_size=7).map(lambda scores: np.array(scores, dtype=np.float64))
    return st.lists(level, min_size=1, max_size=4)


def test_rliables_published_examples() -> None:
    assert interquartile_mean(pooled(strata(PUBLISHED_X))) == 1.5
    assert interquartile_mean(pooled(strata(PUBLISHED_Y))) == 2
    assert probability_of_improvement(strata(PUBLISHED_X), strata(PUBLISHED_Y)) == pytest.approx(1 / 3)


def test_the_matrices_of_rliables_interval_test_lie_within_their_intervals() -> None:
    x = np.arange(5 * 16, dtype=np.float64).reshape(5, 16)
    y = np.flip(x, axis=0)
    for matrix in (x, y):
        interval = stratified_interval(strata(matrix), interquartile_means)
        assert interval is not None
        assert interval.low < interquartile_mean(matrix.ravel()) == 39.5 < interval.high
    improvement = improvement_interval(strata(x), strata(y))
    assert improvement is not None
    assert improvement.low < probability_of_improvement(strata(x), strata(y)) == 0.5 < improvement.high


@settings(max_examples=50)
@given(matrices(), st.data())
def test_definitions_agree_with_scipys(first: list[Floats], data: st.DataObject) -> None:
    second = [
        np.array(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=7)), dtype=np.float64) for _ in range(len(first))
    ]
    u = [
        scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / (x.size * y.size)
        for x, y in zip(first, second, strict=True)
        if np.ptp(np.concatenate([x, y])) != 0  # scipy warns where all values are equal
    ]
    equal = len(first) - len(u)
    assert probability_of_improvement(first, second) == pytest.approx((sum(u) + 0.5 * equal) / len(first))
    assert probability_of_improvement(first, second) == pytest.approx(1 - probability_of_improvement(second, first))
    assert interquartile_mean(pooled(first)) == pytest.approx(scipy.stats.trim_mean(pooled(first), 0.25))


@settings(max_examples=20)
@given(matrices(lowest=2))
def test_the_interval_agrees_with_the_average_of_resamples_drawn_one_by_one(levels: list[Floats]) -> None:
    """The strata are kept: the mean's bootstrap distribution has the variance that levels resampled apart have."""
    band = stratified_interval(levels, lambda rows: rows.mean(axis=-1), resamples=4000, confidence=0.6827)
    assert band is not None
    sizes = np.array([scores.size for scores in levels])
    deviation = np.sqrt(sum(scores.size * scores.var() for scores in levels)) / sizes.sum()
    centre = pooled(levels).mean()
    # One step of the discrete distribution, for small samples.
    step = 5 / sizes.sum()
    assert band.low == pytest.approx(centre - deviation, abs=0.3 * deviation + step)
    assert band.high == pytest.approx(centre + deviation, abs=0.3 * deviation + step)


def test_one_seed_has_no_interval_and_few_seeds_have_their_range() -> None:
    for one in ([np.array([0.9])], [np.array([0.9, 0.8]), np.array([0.5])]):
        assert stratified_interval(one, interquartile_means) is None
        assert stratified_band(one, lambda rows: performance_profile(rows, np.array([0.5]))) is None
        assert improvement_interval(one, one) is None
    for seeds in range(2, FEW_SEEDS + 1):
        assert stratified_interval([np.arange(seeds) / 4], interquartile_means) == Interval(0, (seeds - 1) / 4)
    more = stratified_interval([np.arange(FEW_SEEDS + 1) / 4], interquartile_means)
    assert more is not None
    assert 0 < more.low < more.high < FEW_SEEDS / 4


def test_the_same_scores_give_the_same_interval() -> None:
    scores = [np.array([0.1, 0.4, 0.5, 0.9]), np.array([0.2, 0.7, 0.8])]
    assert stratified_interval(scores, interquartile_means) == stratified_interval(scores, interquartile_means)
    assert improvement_interval(scores, scores[::-1]) == improvement_interval(scores, scores[::-1])


def test_a_profile_falls_from_all_runs_to_those_above_the_threshold() -> None:
    thresholds = np.array([-0.1, 0.0, 0.5, 1.0])
    scores = [np.array([0.0, 1.0]), np.array([0.5, 0.7])]
    assert performance_profile(pooled(scores), thresholds).tolist() == [1.0, 0.75, 0.5, 0.0]
    band = stratified_band(scores, lambda rows: performance_profile(rows, thresholds))
    assert band is not None
    assert band[0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert band[1].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_the_optimality_gap_does_not_reward_scores_above_the_target() -> None:
    assert optimality_gaps(np.array([[0.5, 1.5], [1.0, 1.0]])).tolist() == [0.25, 0.0]


def test_a_curve_has_a_band_over_seeds() -> None:
    curves = np.array([[0.0, 0.5, 1.0], [0.0, 0.7, 1.0], [0.0, 0.9, 1.0], [0.0, 0.9, 1.0]])
    means, band = curve_band(curves)
    assert means.tolist() == [0.0, pytest.approx(0.8), 1.0]
    assert band is not None
    low, high = band
    assert (low[0], high[0], low[2], high[2]) == (0, 0, 1, 1)
    assert 0.5 <= low[1] < 0.8 < high[1] <= 0.9
    assert curve_band(curves[:1])[1] is None


def test_scores_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 levels"):
        probability_of_improvement([np.ones(2), np.ones(2)], [np.ones(2)])
    for wrong in ([], [np.ones(0)], [np.ones((2, 2))]):
        with pytest.raises(ValueError, match="at least one seed"):
            stratified_interval(wrong, interquartile_means)
