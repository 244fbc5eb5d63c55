"""What happened during training, as series over steps and time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One value over training: each episode's, and its mean, lower and upper quartile over the last `window` episodes
    (NaN until a quarter of a window has been played).

    All arrays are float64 and of the length of the rows, in the order of `steps` (environment steps when the episode ended).
    """

    steps: Series
    values: Series
    mean: Series
    low: Series
    high: Series
    window: int


def learning_curve(train: pd.DataFrame, column: str) -> Curve:
    """The curve of `column` over ``global_step``; booleans count as 0 and 1. Rows without a value are left out."""
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
    """For each validation the decisions its policy was trained for, and the mean of `column` over its episodes, float64."""
    rows = validation[["global_step", column]].astype(float)
    means = rows[np.isfinite(rows).all(axis=1)].groupby("global_step")[column].mean()
    return means.index.to_numpy(dtype=np.float64), means.to_numpy(dtype=np.float64)


def window_size(episodes: int) -> int:
    """Episodes a moving mean is taken over: a twentieth of all, at least 1 and at most 100 (the field's habit)."""
    return int(min(100, max(1, episodes // 20, min(10, episodes // 3))))


def binned(train: pd.DataFrame, most: int = 100) -> pd.DataFrame:
    """Training in at most `most` equal spans of steps, one row each (fewer spans where there are few episodes).

    Columns: ``steps`` (where the span ends), ``episodes`` that ended in it, their means ``distance_mean`` (pixels),
    ``reward_mean`` and ``episode_steps_mean``, and ``completed_share``. A span without an episode has no means.
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
    """Speed of training: `hours` since its start and `steps_per_second`, float64 arrays of one length, and the mean."""

    hours: Series
    steps_per_second: Series
    mean: float


def throughput(train: pd.DataFrame, points: int = 60) -> Throughput | None:
    """Environment steps a second, over all environments, in at most `points` equal spans of time; None without an episode.

    Measured by the clock between ends of episodes, updates of the agent included. A span in which the counter ran backwards
    (a run that was resumed from an older checkpoint) counts as no progress.
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
