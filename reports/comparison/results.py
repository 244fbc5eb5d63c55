"""The figures of a comparison: estimates over seeds, with intervals."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb, prod
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from episodes.across_seeds import (
    curve_band,
    improvement_interval,
    optimality_gaps,
    performance_profile,
    pooled,
    probability_of_improvement,
    stratified_band,
    stratified_interval,
)
from episodes.comparison import EndingCount
from episodes.statistics import Floats, Interval, interquartile_means
from reports.comparison.groups import Group, Grouping, RunInMLflow, level_name
from reports.video import Frame

BINS: Final = 60
"""Spans of a learning curve."""
RATES: Final = (0.5, 0.9)
"""Moving rates of completion whose first time is reported."""
PROFILE_THRESHOLDS: Final = np.linspace(0, 1, 101)

Score = Literal["completion", "distance", "reward"]
"""What is scored: the share of episodes that completed a level, or the mean distance (pixels) or reward of an episode."""


@dataclass(frozen=True)
class Estimate:
    """An interquartile mean over seeds.

    Attributes:
        value: the mean.
        interval: its bootstrap interval; None: there is only one seed on a level.
        scores: of the seeds, float64 of shape (seeds,), or of all seeds on all levels.
    """

    value: float
    interval: Interval | None
    scores: Floats


@dataclass(frozen=True)
class GroupCurve:
    """A learning curve of a group.

    Attributes:
        spans: which of the :data:`BINS` spans the points are, int64 of shape (points,).
        steps: decisions in the middle of each span, float64 of shape (points,).
        mean: interquartile mean over the seeds, float64 of shape (points,).
        band: lower and upper limit of its interval, of the same shape; None: one seed.
    """

    spans: npt.NDArray[np.int64]
    steps: Floats
    mean: Floats
    band: tuple[Floats, Floats] | None

    def at(self, share: float) -> float | None:
        """The mean in the span that ends at this share of all decisions; None if the curve does not have it."""
        (found,) = np.nonzero(self.spans == round(share * BINS) - 1)
        return float(self.mean[found[0]]) if found.size else None


@dataclass(frozen=True)
class Improvement:
    """The probability that a seed of one variant scores higher than one of another.

    Attributes:
        first, second: the variants.
        level: name of the level; "": averaged over the common levels.
        probability: that `first` scores higher; ties count half.
        interval: its bootstrap interval; None: one of the variants has only one seed on a level.
        attainable: the smallest two-sided p-value that the exact Mann-Whitney test could give with so many seeds.
    """

    first: str
    second: str
    level: str
    probability: float
    interval: Interval | None
    attainable: float

    @property
    def verdict(self) -> str:
        """Which variant is better, if that was shown."""
        # The bootstrap of a few seeds that do not overlap has an interval of width 0, which shows nothing.
        if self.interval is None or self.attainable > 1 - self.interval.confidence:
            return "too few seeds"
        if self.interval.low > 0.5:
            return f"{self.first} is better"
        if self.interval.high < 0.5:
            return f"{self.second} is better"
        return "not shown"


@dataclass(frozen=True)
class Efficiency:
    """After how many decisions the seeds of a group first reached a moving rate of completion.

    Attributes:
        rate: the rate.
        steps: of the seeds that reached it, ascending.
        seeds: of the group.
    """

    rate: float
    steps: tuple[int, ...]
    seeds: int

    @property
    def median(self) -> float | None:
        """The median over all seeds; None if it lies among those that did not reach the rate."""
        censored = np.array([*self.steps, *[np.inf] * (self.seeds - len(self.steps))])
        middle = censored[[(self.seeds - 1) // 2, self.seeds // 2]]
        return float(middle.mean()) if np.isfinite(middle).all() else None


@dataclass(frozen=True)
class ComparisonData:
    """The input of a comparison; a task reads it from Postgres and MLflow.

    Attributes:
        grouping: the experiments by variant and level.
        protocol: of the scores.
        scores: :func:`episodes.comparison.evaluation_scores` of all experiments.
        curves: :func:`episodes.comparison.training_curves` of all experiments, with :data:`BINS` spans up to `end`.
        end: decisions where the curves end.
        reached: :func:`episodes.comparison.first_reached` of all experiments, at :data:`RATES`.
        endings: by the name of the group :func:`episodes.comparison.endings`, in bins of :data:`reports.deaths.BIN_WIDTH`.
        replay: returns the frames (uint8 RGB, shape (240, 256, 3)) of the episode with a given id; None: no clips.
        title: of the page.
        sweep_run: the MLflow run of the sweep that is compared; None: there is none.
    """

    grouping: Grouping
    protocol: str
    scores: pd.DataFrame
    curves: pd.DataFrame
    end: int
    reached: Mapping[int, tuple[int | None, ...]]
    endings: Mapping[str, Sequence[EndingCount]] = field(default_factory=dict)
    replay: Callable[[int], Iterable[Frame]] | None = None
    title: str = "Super Mario Bros: comparison by seeds"
    sweep_run: RunInMLflow | None = None


class Results:
    """The figures of a comparison."""

    def __init__(self, data: ComparisonData) -> None:
        self.data = data
        self.grouping = data.grouping
        self._curves: dict[tuple[str, str], GroupCurve | None] = {}
        self._scores: dict[tuple[int, str], dict[str, float]] = {
            (row["experiment_id"], row["protocol"]): {
                "completion": row["completed"] / row["episodes"],
                **{name: float(row[name]) for name in ("episodes", "distance", "reward")},
            }
            for row in data.scores.to_dict("records")
        }

    def estimate(self, group: Group, score: Score = "completion", protocol: str | None = None) -> Estimate | None:
        """The interquartile mean over the seeds of a group; None if no seed played the protocol (default: the comparison's)."""
        scores = self._of_seeds(group, score, protocol or self.data.protocol)
        return _estimate([scores]) if scores.size else None

    def overall(self, variant: str) -> Estimate | None:
        """The completion of a variant over the levels that all variants played; None if there is no such level."""
        strata = self._strata(variant)
        return _estimate(strata) if strata else None

    def optimality_gap(self, variant: str) -> tuple[float, Interval | None]:
        """By how much a variant falls short of completing every episode, over the common levels, and its interval."""
        strata = self._strata(variant)
        return float(optimality_gaps(pooled(strata))), stratified_interval(strata, optimality_gaps)

    def profile(self, variant: str) -> tuple[Floats, tuple[Floats, Floats] | None]:
        """The share of a variant's runs on the common levels above each of :data:`PROFILE_THRESHOLDS`, and its band."""
        strata = self._strata(variant)

        def statistic(scores: Floats) -> Floats:
            return performance_profile(scores, PROFILE_THRESHOLDS)

        return statistic(pooled(strata)), stratified_band(strata, statistic)

    def improvements(self) -> list[Improvement]:
        """Each pair of variants on each level that both played, and then over the common levels if there are several."""
        found = []
        for first, second in combinations(self.grouping.variants, 2):
            for level in self.grouping.levels:
                pair = [self.grouping.group(variant, level) for variant in (first, second)]
                if pair[0] is not None and pair[1] is not None:
                    strata = [[self._of_seeds(each, "completion", self.data.protocol)] for each in pair if each is not None]
                    found.append(_improvement(first, second, level_name(level), strata))
            if len(self.grouping.common_levels) > 1:
                strata = [self._strata(variant) for variant in (first, second)]
                found.append(_improvement(first, second, "", strata))
        return found

    def curve(self, group: Group, score: Literal["completion", "distance"]) -> GroupCurve | None:
        """The learning curve of a group where all of its seeds have episodes; None if there is no such span."""
        key = (group.name, score)
        if key not in self._curves:  # several plots and tables show the same curve
            self._curves[key] = self._group_curve(group, "completed" if score == "completion" else "distance")
        return self._curves[key]

    def efficiency(self, group: Group) -> list[Efficiency]:
        """When the seeds of a group first reached each of :data:`RATES`."""
        found = []
        for index, rate in enumerate(RATES):
            reached = [self.data.reached[number][index] for number in group.ids if number in self.data.reached]
            found.append(Efficiency(rate, tuple(sorted(steps for steps in reached if steps is not None)), len(group.ids)))
        return found

    def random_completion(self, level: tuple[int, int] | None) -> float | None:
        """The share of episodes that a random policy completed on a level, over all experiments; None if none was played."""
        ids = [number for group in self.grouping.groups if group.level == level for number in group.ids]
        rows = self.data.scores[(self.data.scores["protocol"] == "random") & self.data.scores["experiment_id"].isin(ids)]
        return float(rows["completed"].sum() / rows["episodes"].sum()) if len(rows) else None

    def protocols(self) -> list[str]:
        """The other protocols in which an agent of a group played, in alphabetical order."""
        ids = [number for group in self.grouping.groups for number in group.ids]
        played = self.data.scores.loc[self.data.scores["experiment_id"].isin(ids), "protocol"]
        return sorted(set(played) - {"random", self.data.protocol})

    def episodes(self, experiment: int) -> int:
        """The number of episodes in the evaluation of an experiment under the comparison's protocol."""
        return int(self._scores[experiment, self.data.protocol]["episodes"])

    def score(self, experiment: int, score: Score) -> float:
        """The score of one experiment under the comparison's protocol."""
        return self._scores[experiment, self.data.protocol][score]

    def _of_seeds(self, group: Group, score: Score, protocol: str) -> Floats:
        played = [self._scores[number, protocol] for number in group.ids if (number, protocol) in self._scores]
        return np.array([scores[score] for scores in played], dtype=np.float64)

    def _strata(self, variant: str) -> list[Floats]:
        """The completion of a variant's seeds on each common level."""
        groups = [self.grouping.group(variant, level) for level in self.grouping.common_levels]
        return [self._of_seeds(group, "completion", self.data.protocol) for group in groups if group is not None]

    def _group_curve(self, group: Group, column: str) -> GroupCurve | None:
        curves = np.array([self._curve(number, column) for number in group.ids])
        known = np.isfinite(curves).all(axis=0)
        if not known.any():
            return None
        mean, band = curve_band(curves[:, known])
        (spans,) = np.nonzero(known)
        return GroupCurve(spans, (spans + 0.5) * self.data.end / BINS, mean, band)

    def _curve(self, experiment: int, column: str) -> Floats:
        """The curve of one experiment, float64 of shape (BINS,): NaN before its first and after its last episode."""
        rows = self.data.curves[self.data.curves["experiment_id"] == experiment]
        curve: Floats = np.full(BINS, np.nan)
        if len(rows):
            places, values = (rows[name].to_numpy(dtype=np.float64) for name in ("bin", column))
            # A span in which no episode ended lies on the line between its neighbours.
            curve = np.interp(np.arange(BINS), places, values, left=np.nan, right=np.nan)
        return curve


def _estimate(strata: Sequence[Floats]) -> Estimate:
    scores = pooled(strata)
    return Estimate(float(interquartile_means(scores)), stratified_interval(strata, interquartile_means), scores)


def _improvement(first: str, second: str, level: str, strata: Sequence[Sequence[Floats]]) -> Improvement:
    orders = prod(comb(x.size + y.size, x.size) for x, y in zip(*strata, strict=True))
    return Improvement(
        first, second, level, probability_of_improvement(*strata), improvement_interval(*strata), min(1.0, 2 / orders)
    )
