"""Series of the training over steps and time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One value over the training, per episode and over a moving window.

    All arrays are float64 of shape (episodes,), in the order of `steps`.

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


def learning_curve(train: pd.DataFrame, column: str) -> Curve:
    """The curve of `column` over ``global_step``. Booleans count as 0 and 1; rows without a finite value are left out."""
    rows = train[["global_step", column]].astype(float)
    rows = rows[np.isfinite(rows).all(axis=1)].sort_values("global_step", kind="stable")
    window = window_size(len(rows))
    rolling = rows[column].rolling(window, min_periods=max(1, window // 4))
    return Curve(
        steps=rows["global_step"].to_numpy(dtype=np.float64),
        values=rows[column].to_numpy(dtype=np.float64),
        mean=rolling.mean().to_numpy(dtype=np.float64),
        low=rolling.quantile(0.25).to_numpy(dtype=np.float64),
        high=rolling.quantile(0.75).to_numpy(dtype=np.float64),
        window=window,
    )


def validation_points(validation: pd.DataFrame, column: str) -> tuple[Series, Series]:
    """The training steps of each validation's policy, and the mean of `column` over its episodes; float64 arrays."""
    rows = validation[["global_step", column]].astype(float)
    means = rows[np.isfinite(rows).all(axis=1)].groupby("global_step")[column].mean()
    return means.index.to_numpy(dtype=np.float64), means.to_numpy(dtype=np.float64)


def window_size(episodes: int) -> int:
    """Episodes in a moving window: a twentieth of all, but at least 1 and at most 100, the usual number."""
    return int(min(100, max(1, episodes // 20, min(10, episodes // 3))))


def binned(train: pd.DataFrame, most: int = 100) -> pd.DataFrame:
    """Means of the training over at most `most` equal spans of steps, one row per span; fewer spans if there are few episodes.

    Columns: ``steps`` (the end of the span), ``episodes`` (that ended in it), their means ``distance_mean`` (pixels),
    ``reward_mean`` and ``episode_steps_mean``, and ``completed_share``. Means are NaN in a span without episodes.
    """
    rows = train.dropna(subset=["global_step"])
    steps = rows["global_step"].to_numpy(dtype=np.float64)
    spans = int(max(1, min(most, len(rows) // 10)))
    edges = np.linspace(0, steps.max() if len(rows) else 0, spans + 1)
    place = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, spans - 1)
    values = pd.DataFrame(
        {
            "episodes": 1,
            "distance_mean": rows["distance_traveled"].to_numpy(dtype=np.float64),
            "completed_share": rows["level_completed"].to_numpy(dtype=np.float64),
            "reward_mean": rows["reward"].to_numpy(dtype=np.float64),
            "episode_steps_mean": rows["steps"].to_numpy(dtype=np.float64),
        }
    ).groupby(place)
    table = values.mean().reindex(range(spans))
    table["episodes"] = values.size().reindex(range(spans), fill_value=0)
    table.insert(0, "steps", np.rint(edges[1:]).astype(int))
    return table


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


def throughput(train: pd.DataFrame, points: int = 60) -> Throughput | None:
    """The speed of all environments together in at most `points` equal spans of time; None without an episode.

    It is measured between the ends of episodes, including updates of the agent. A span in which the step counter ran backwards
    (after a resumption from an older checkpoint) counts as no progress.
    """
    rows = train[["timestamp", "duration_seconds", "global_step"]].dropna().sort_values("timestamp", kind="stable")
    if rows.empty:
        return None
    ends = pd.to_datetime(rows["timestamp"], utc=True)
    begin = ends.iloc[0] - pd.to_timedelta(float(rows["duration_seconds"].iloc[0]), unit="s")
    seconds = np.concatenate([[0.0], (ends - begin).dt.total_seconds().to_numpy(dtype=np.float64)])
    counter = np.concatenate([[0.0], np.maximum.accumulate(rows["global_step"].to_numpy(dtype=np.float64))])
    if seconds[-1] <= 0 or counter[-1] <= 0:
        return None
    spans = int(max(1, min(points, len(rows) // 4)))
    edges = np.linspace(0.0, seconds[-1], spans + 1)
    rates = np.diff(np.interp(edges, seconds, counter)) / np.diff(edges)
    middle = (edges[1:] + edges[:-1]) / 2 / 3600
    return Throughput(hours=middle, steps_per_second=rates, mean=float(counter[-1] / seconds[-1]))
