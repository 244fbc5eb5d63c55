"""Intervals and robust means for comparing agents.

Few runs and skewed results make plain means misleading: completion gets Wilson's score interval (Wilson 1927), distance and
reward the interquartile mean with percentile-bootstrap intervals (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge
of the Statistical Precipice").

An interval says how far a sample may be off by chance. There is none without chance: a greedy agent in a deterministic game has
one trajectory, or one for each number of idle frames, and there are no others. Where chance plays a part but some episodes are
equal, the interval is that of as many episodes as there are different trajectories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from episodes.schema import TRAJECTORY_COLUMNS

Floats = npt.NDArray[np.float64]

EXHAUSTIVE: Final = frozenset({"greedy", "noop"})
"""Protocols whose episodes are all there are, not a sample."""

_CHUNK: Final = 2_000_000  # numbers that a bootstrap holds in memory at once (16 MB)


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class ProtocolSummary:
    """The results of an agent under one protocol.

    All intervals are None where the protocol is exhaustive, or all episodes are one trajectory. Where some episodes are the
    same trajectory, the intervals are those of a sample of `distinct` episodes. `note` says so.

    Attributes:
        episodes: how many were played.
        distinct: how many different trajectories they are.
        completed: how many completed a level.
        completion: interval for the completion rate (Wilson).
        note: what a reader must know; "" if nothing.
    """

    episodes: int
    distinct: int
    completed: int
    completion: Interval | None
    distance_mean: float
    distance_mean_interval: Interval | None
    distance_interquartile_mean: float
    distance_interval: Interval | None
    reward_mean: float
    reward_mean_interval: Interval | None
    reward_interquartile_mean: float
    reward_interval: Interval | None
    note: str

    @property
    def completion_rate(self) -> float:
        """Completed episodes over all."""
        return self.completed / self.episodes


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion; unlike the textbook interval it is sensible at 0, at n and for small n.

    `successes` need not be an integer: n may be the number of different episodes, fewer than those the rate is taken from.

    Raises:
        ValueError: n is below 1, successes is not in 0 … n, or confidence is not between 0 and 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"{successes} successes out of {n}: there must be at least one trial, and no more successes than trials"
        )
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    rate = successes / n
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    margin = z / scale * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    # At the ends the limits are 0 and 1, which rounding would miss slightly.
    return Interval(
        0.0 if successes == 0 else max(0.0, centre - margin), 1.0 if successes == n else min(1.0, centre + margin), confidence
    )


def means(rows: Floats) -> Floats:
    """Means over the last axis."""
    return np.asarray(rows.mean(axis=-1))


def interquartile_means(rows: Floats) -> Floats:
    """Means over the last axis without the lowest and the highest quarter of the values (rounded down)."""
    n = rows.shape[-1]
    cut = n // 4
    ordered = np.partition(rows, (cut, n - cut - 1), axis=-1) if cut else rows
    return np.asarray(ordered[..., cut : n - cut].mean(axis=-1))


def interquartile_mean(values: Sequence[float] | Floats) -> float:
    """The mean of the middle half of the values.

    Raises:
        ValueError: there are none.
    """
    return float(interquartile_means(_values(values)))


def bootstrap(
    values: Sequence[float] | Floats,
    statistic: Callable[[Floats], Floats],
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    size: int | None = None,
) -> Interval:
    """Percentile-bootstrap interval of a statistic.

    Args:
        values: the sample, shape (n,).
        statistic: reduces the last axis, shape (resamples, n) to (resamples,): `means` or `interquartile_means`.
        seed: one seed gives one interval.
        size: how many values a resample has; None: n. Fewer give a wider interval, for a sample of which fewer are independent.

    Raises:
        ValueError: there are no values, or confidence is not between 0 and 1.
    """
    sample = _values(values)
    size = size or sample.size
    tail = (1 - _checked(confidence)) / 2
    generator = np.random.default_rng(seed)
    found = []
    left = resamples
    while left > 0:
        rows = min(left, max(1, _CHUNK // size))
        found.append(statistic(sample[generator.integers(0, sample.size, size=(rows, size))]))
        left -= rows
    low, high = np.quantile(np.concatenate(found), (tail, 1 - tail))
    return Interval(float(low), float(high), confidence)


def summarise(frame: pd.DataFrame, *, seed: int = 0, confidence: float = 0.95) -> ProtocolSummary:
    """Summarise episodes of one protocol, as `EpisodeStore.episodes` gives them.

    Raises:
        ValueError: there are no episodes.
    """
    if frame.empty:
        raise ValueError("there are no episodes to summarise")
    episodes, distinct = len(frame), distinct_trajectories(frame)
    completed = int(frame["level_completed"].sum())
    is_sample = distinct > 1 and not set(frame["protocol"]) <= EXHAUSTIVE
    distance, reward = (frame[name].to_numpy(dtype=np.float64) for name in ("distance_traveled", "reward"))

    def interval(values: Floats, statistic: Callable[[Floats], Floats]) -> Interval | None:
        return bootstrap(values, statistic, seed, confidence=confidence, size=distinct) if is_sample else None

    return ProtocolSummary(
        episodes=episodes,
        distinct=distinct,
        completed=completed,
        completion=wilson(completed * distinct / episodes, distinct, confidence) if is_sample else None,
        distance_mean=float(means(distance)),
        distance_mean_interval=interval(distance, means),
        distance_interquartile_mean=interquartile_mean(distance),
        distance_interval=interval(distance, interquartile_means),
        reward_mean=float(means(reward)),
        reward_mean_interval=interval(reward, means),
        reward_interquartile_mean=interquartile_mean(reward),
        reward_interval=interval(reward, interquartile_means),
        note=_note(frame, distinct),
    )


def distinct_trajectories(frame: pd.DataFrame) -> int:
    """How many different trajectories the episodes are.

    They are compared by the column `trajectory` of :meth:`episodes.store.EpisodeStore.episodes`. Without it, or if the actions
    of an episode were not kept, they are compared by the other columns of their rows.
    """
    if "trajectory" in frame and frame["trajectory"].notna().all():
        return int(frame["trajectory"].nunique())
    return len(frame[list(TRAJECTORY_COLUMNS)].drop_duplicates())


def _note(frame: pd.DataFrame, distinct: int) -> str:
    episodes, protocols = len(frame), set(frame["protocol"])
    if distinct == 1 and protocols == {"greedy"}:
        return "One trajectory: a greedy agent in a deterministic game plays the same episode every time."
    if protocols == {"noop"}:
        return (
            f"{episodes} episodes, {distinct} different trajectories: one for each number of idle frames is all that a greedy "
            "agent in a deterministic game plays, so there is no interval."
        )
    if episodes == 1 or distinct == episodes:
        return ""
    if distinct == 1:
        return f"All {episodes} episodes are the same trajectory, so this is one result."
    return f"{episodes} episodes, {distinct} different trajectories: intervals count the latter."


def _values(values: Sequence[float] | Floats) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"a sample has shape (n,) with n at least 1; this one has shape {array.shape}")
    return array


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    return confidence
