"""Statistics over trained agents: one score for each seed and level, instead of one for each episode.

The measures are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(https://arxiv.org/abs/2108.13264): interquartile mean, optimality gap, performance profile and probability of improvement, each
with a stratified bootstrap. The strata are the levels: for each level, a resample draws as many of its seeds as there are, with
replacement. An interval therefore says how much another set of seeds could change the figure.

Scores are given as *strata*: for each level one float64 array of shape (seeds,). Levels may have different numbers of seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from episodes.statistics import Floats, Interval, interquartile_means

RESAMPLES: Final = 2000
SEED: Final = 0
"""The bootstrap's seed. It is fixed, so that the same scores give the same report."""

FEW_SEEDS: Final = 4
"""Up to this number of seeds, the interval of one level's interquartile mean reaches from the lowest seed to the highest.

The interquartile mean of a resample is the lowest seed's score in 25 % of the resamples of 2 seeds, in 3.7 % of those of 3, and
in 5.1 % of those of 4. A 95 % interval leaves out 2.5 % on each side. With 5 seeds it is 0.7 %.
"""

_CHUNK: Final = 2_000_000  # numbers that a bootstrap holds in memory at once (16 MB)

Strata = Sequence[Floats]
Statistic = Callable[[Floats], Floats]


def optimality_gaps(scores: Floats, target: float = 1.0) -> Floats:
    """By how much the scores fall short of `target` on average over the last axis. Scores above it count as `target`."""
    return np.asarray(target - np.minimum(scores, target).mean(axis=-1))


def performance_profile(scores: Floats, thresholds: Floats) -> Floats:
    """The share of scores above each threshold.

    Args:
        scores: shape (..., n).
        thresholds: shape (m,).

    Returns:
        Shares, float64 of shape (..., m).
    """
    return np.asarray((scores[..., None] > thresholds).mean(axis=-2))


def probability_of_improvement(first: Strata, second: Strata) -> float:
    """The probability that a seed of `first` scores higher than one of `second` on the same level; ties count half.

    It is the Mann-Whitney U statistic divided by the number of pairs, averaged over the levels.

    Args:
        first, second: for each level the scores of the seeds; the same levels in the same order.

    Raises:
        ValueError: the levels differ in number, or one has no score.
    """
    _check(first)
    _check(second)
    if len(first) != len(second):
        raise ValueError(f"the scores are of {len(first)} and {len(second)} levels: compare the same levels")
    return float(np.mean([_improvements(x, y) for x, y in zip(first, second, strict=True)]))


def improvement_interval(
    first: Strata, second: Strata, *, seed: int = SEED, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval | None:
    """The bootstrap interval of :func:`probability_of_improvement`; None if a level has only one seed.

    Both sets of seeds are resampled independently, and each level for itself.
    """
    probability_of_improvement(first, second)  # checks the scores
    if not (_has_interval(first) and _has_interval(second)):
        return None
    generator = np.random.default_rng(seed)
    found = np.zeros(resamples)
    for x, y in zip(first, second, strict=True):
        at = 0
        for rows in _portions(resamples, x.size * y.size):
            drawn = _draw(x, rows, generator), _draw(y, rows, generator)
            found[at : at + rows] += _improvements(*drawn)
            at += rows
    return _percentiles(found / len(first), confidence)


def pooled(strata: Strata) -> Floats:
    """The scores of all levels in one float64 array of shape (scores,)."""
    return np.concatenate(_check(strata))


def stratified_interval(
    strata: Strata, statistic: Statistic, *, seed: int = SEED, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval | None:
    """The percentile-bootstrap interval of a statistic of all scores; None if a level has only one seed.

    Args:
        strata: for each level the scores of its seeds.
        statistic: reduces the last axis, shape (resamples, scores) to (resamples,).
        seed, resamples: of the bootstrap.
        confidence: of the interval.

    Raises:
        ValueError: a level has no score.
    """
    if not _has_interval(_check(strata)):
        return None
    return _percentiles(_resampled(strata, statistic, seed, resamples), confidence)


def stratified_band(
    strata: Strata, statistic: Statistic, *, seed: int = SEED, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[Floats, Floats] | None:
    """Lower and upper limits of a statistic with several values, such as a profile; None if a level has only one seed.

    Args:
        strata: for each level the scores of its seeds.
        statistic: from shape (resamples, scores) to (resamples, m).
        seed, resamples: of the bootstrap.
        confidence: of each limit by itself; the band as a whole is not simultaneous.

    Returns:
        Two float64 arrays of shape (m,).
    """
    if not _has_interval(_check(strata)):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled(strata, statistic, seed, resamples), (tail, 1 - tail), axis=0)
    return low, high


def curve_band(
    curves: Floats, *, seed: int = SEED, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[Floats, tuple[Floats, Floats] | None]:
    """The interquartile mean over seeds at each point of a curve, and its bootstrap band. A seed is resampled as a whole.

    Args:
        curves: one row for each seed, float64 of shape (seeds, points), without NaN.
        seed, resamples: of the bootstrap.
        confidence: of each point by itself.

    Returns:
        The means, float64 of shape (points,), and two limits of the same shape; None instead of them for a single seed.
    """
    seeds, points = curves.shape
    means = interquartile_means(curves.T)
    if seeds < 2 or points == 0:
        return means, None
    generator = np.random.default_rng(seed)
    found = [
        interquartile_means(np.swapaxes(curves[generator.integers(0, seeds, size=(rows, seeds))], 1, 2))
        for rows in _portions(resamples, curves.size)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), (tail, 1 - tail), axis=0)
    return means, (low, high)


def _improvements(x: Floats, y: Floats) -> Floats:
    """The share of pairs with x > y, ties counted half; shapes (..., n) and (..., m) to (...)."""
    difference = np.sign(x[..., :, None] - y[..., None, :])
    return np.asarray((1 + difference.mean(axis=(-2, -1))) / 2)


def _resampled(strata: Strata, statistic: Statistic, seed: int, resamples: int) -> Floats:
    """The statistic of each resample, shape (resamples, ...)."""
    generator = np.random.default_rng(seed)
    size = sum(scores.size for scores in strata)
    return np.concatenate(
        [
            statistic(np.concatenate([_draw(scores, rows, generator) for scores in strata], axis=-1))
            for rows in _portions(resamples, size)
        ]
    )


def _draw(scores: Floats, rows: int, generator: np.random.Generator) -> Floats:
    """Resamples of one level with replacement, shape (rows, seeds)."""
    return np.asarray(scores[generator.integers(0, scores.size, size=(rows, scores.size))])


def _portions(resamples: int, size: int) -> Iterator[int]:
    """Numbers that sum to `resamples`, such that so many resamples of `size` numbers fit into memory."""
    left = resamples
    while left > 0:
        rows = min(left, max(1, _CHUNK // max(1, size)))
        yield rows
        left -= rows


def _percentiles(values: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high), confidence)


def _has_interval(strata: Strata) -> bool:
    """Whether chance could have given other scores: each level has at least two seeds."""
    return all(scores.size > 1 for scores in strata)


def _check(strata: Strata) -> Strata:
    if not strata or any(scores.ndim != 1 or scores.size == 0 for scores in strata):
        shapes = [scores.shape for scores in strata]
        raise ValueError(f"scores are one array of shape (seeds,) for each level, with at least one seed: these have {shapes}")
    return strata
