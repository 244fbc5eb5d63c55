"""Series of the training over steps and time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from episodes.comparison import WINDOW
from episodes.training import Training

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One value over the training, per episode and over a moving window.

    All arrays are float64 of shape (points,), in the order of `steps`. Each episode is a point, unless there are very many.

    Attributes:
        steps: environment steps at the end of the episode.
        values: the value of the episode.
        mean, low, high: mean, lower and upper quartile over the last `window` episodes; NaN for the first quarter window.
        window: episodes in a window.
    """

    steps: Series
    values: Series
    mean: Series
    low: Series
    high: Series
    window: int


def learning_curve(train: Training, column: str) -> Curve:
    """The curve of `column` over ``global_step``. Booleans count as 0 and 1."""
    window = window_size(train.episodes)
    values = train.curve[column].astype(float)
    rolling = values.rolling(window, min_periods=max(1, window // 4))
    shown = train.curve["shown"].to_numpy(dtype=bool)

    def points(series: pd.Series) -> Series:
        return np.asarray(series.to_numpy(dtype=np.float64)[shown])

    return Curve(
        steps=points(train.curve["global_step"]),
        values=points(values),
        mean=points(rolling.mean()),
        low=points(rolling.quantile(0.25)),
        high=points(rolling.quantile(0.75)),
        window=window,
    )


def validation_points(train: Training, column: str) -> tuple[Series, Series]:
    """The training steps of each validation's policy, and the mean of `column` over its episodes; float64 arrays."""
    means = train.validation
    return means["global_step"].to_numpy(dtype=np.float64), means[column].to_numpy(dtype=np.float64)


def window_size(episodes: int) -> int:
    """Episodes in a moving window: a twentieth of all, but at least 1 and at most :data:`episodes.comparison.WINDOW`."""
    return int(min(WINDOW, max(1, episodes // 20, min(10, episodes // 3))))


@dataclass(frozen=True)
class Throughput:
    """The speed of the training over time.

    Attributes:
        hours: hours since the start, float64 of shape (spans,).
        steps_per_second: environment steps per second, float64 of shape (spans,).
        mean: the mean over the whole training.
    """

    hours: Series
    steps_per_second: Series
    mean: float


def throughput(train: Training) -> Throughput | None:
    """The speed of all environments together in equal spans of time; None without an episode.

    It is measured between the ends of episodes, including updates of the agent. A span in which the step counter ran backwards
    (after a resumption from an older checkpoint) counts as no progress.
    """
    seconds = np.concatenate([[0.0], train.pace["seconds"].to_numpy(dtype=np.float64)])
    counter = np.concatenate([[0.0], train.pace["steps"].to_numpy(dtype=np.float64)])
    if seconds[-1] <= 0 or counter[-1] <= 0:
        return None
    edges = np.linspace(0.0, seconds[-1], train.paces + 1)
    rates = np.diff(np.interp(edges, seconds, counter)) / np.diff(edges)
    middle = (edges[1:] + edges[:-1]) / 2 / 3600
    return Throughput(hours=middle, steps_per_second=rates, mean=float(counter[-1] / seconds[-1]))
