"""Intervals against published and independently computed values."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from episodes import EpisodeRow
from episodes.statistics import (
    ProtocolSummary,
    bootstrap,
    distinct_trajectories,
    interquartile_mean,
    interquartile_means,
    means,
    summarise,
    wilson,
)

MakeRow = Callable[..., EpisodeRow]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3 (score, no continuity).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),
    ],
)
def test_wilson_agrees_with_published_values(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)
    assert interval.confidence == 0.95


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="there must be at least one trial"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        wilson(1, 2, confidence)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        bootstrap([1.0], means, seed=0, confidence=confidence)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([5.0], 5.0),
        ([1.0, 3.0], 2.0),
        ([1.0, 2.0, 9.0], 4.0),
        ([100.0, 1.0, 3.0, -50.0], 2.0),
        ([1, 2, 3, 4, 5, 6, 7, 800], 4.5),
    ],
)
def test_interquartile_mean_of_small_samples(values: list[float], mean: float) -> None:
    assert interquartile_mean(values) == pytest.approx(mean)


def test_interquartile_mean_is_scipys_trimmed_mean() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(1)
    for n in range(1, 60):
        values = generator.normal(size=n)
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="with n at least 1"):
        interquartile_mean([])
    with pytest.raises(ValueError, match="no episodes"):
        summarise(pd.DataFrame())


def test_bootstrap_is_the_seeds() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert bootstrap(values, means, seed=7) == bootstrap(values, means, seed=7)
    assert bootstrap(values, means, seed=7) != bootstrap(values, means, seed=8)


def test_bootstrap_of_a_mean_is_close_to_theory() -> None:
    values = np.random.default_rng(4).normal(loc=10, size=400)
    interval = bootstrap(values, means, seed=0, resamples=20_000)
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        interval = bootstrap(generator.normal(size=60), interquartile_means, seed=seed, resamples=400)
        covered += interval.low <= 0.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_bootstrap_in_pieces_has_as_many_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("episodes.statistics._CHUNK", 70)
    shapes: list[int] = []

    def spy(rows: np.ndarray) -> np.ndarray:
        shapes.append(len(rows))
        return means(rows)

    bootstrap(np.arange(10.0), spy, seed=0, resamples=20)
    assert shapes == [7, 7, 6]


def frame_of(rows: list[EpisodeRow]) -> pd.DataFrame:
    return pd.DataFrame([asdict(each) for each in rows])


def test_a_summary_of_different_episodes(row: MakeRow) -> None:
    rows = [row(1, index, level_completed=index < 5, distance_traveled=100 * index) for index in range(20)]
    summary = summarise(frame_of(rows))
    assert (summary.episodes, summary.distinct, summary.completed, summary.note) == (20, 20, 5, "")
    assert summary.completion == wilson(5, 20)
    assert summary.completion_rate == 0.25
    assert summary.distance_mean == pytest.approx(950)
    assert summary.distance_interquartile_mean == pytest.approx(950)
    assert summary.distance_interval is not None
    assert summary.reward_interval is not None
    assert summary.distance_interval.low < 950 < summary.distance_interval.high
    assert summary.reward_mean == pytest.approx(22.0)
    assert summary.reward_interval.low < summary.reward_interquartile_mean < summary.reward_interval.high


def no_interval(summary: ProtocolSummary) -> bool:
    intervals = ("completion", "distance_mean_interval", "distance_interval", "reward_mean_interval", "reward_interval")
    return all(getattr(summary, name) is None for name in intervals)


def test_a_deterministic_agent_has_one_result_and_the_summary_says_so(row: MakeRow) -> None:
    rows = [row(1, index, reward=3.0, level_completed=True, global_step=index, duration_seconds=index) for index in range(100)]
    summary = summarise(frame_of(rows))
    assert (summary.episodes, summary.distinct, summary.completed) == (100, 1, 100)
    assert summary.note.startswith("All 100 episodes are the same trajectory")
    assert no_interval(summary)


def test_a_greedy_agents_one_episode_is_said_to_be_all_there_is(row: MakeRow) -> None:
    summary = summarise(frame_of([row(1, 0, protocol="greedy")]))
    assert (summary.episodes, summary.distinct) == (1, 1)
    assert summary.note.startswith("One trajectory: a greedy agent in a deterministic game")
    assert no_interval(summary)


def test_idle_starts_are_no_sample(row: MakeRow) -> None:
    rows = [row(1, index, protocol="noop", level_completed=index < 12, reward=float(index % 7)) for index in range(30)]
    summary = summarise(frame_of(rows))
    assert (summary.completed, summary.episodes, summary.distinct) == (12, 30, 14)
    assert no_interval(summary)
    assert summary.note.startswith("30 episodes, 14 different trajectories")
    assert "no interval" in summary.note


def test_intervals_count_different_trajectories(row: MakeRow) -> None:
    rows = [row(1, index, level_completed=index % 5 < 4, reward=float(index % 5)) for index in range(100)]
    summary = summarise(frame_of(rows))
    assert (summary.distinct, summary.note) == (5, "100 episodes, 5 different trajectories: intervals count the latter.")
    assert summary.completion == wilson(4, 5)
    assert summary.reward_mean_interval is not None
    whole = bootstrap([float(index % 5) for index in range(100)], means, seed=0)
    assert summary.reward_mean_interval.high - summary.reward_mean_interval.low > 3 * (whole.high - whole.low)


def test_trajectories_are_told_apart_by_their_actions(row: MakeRow) -> None:
    frame = frame_of([row(1, index, reward=float(index)) for index in range(6)])
    assert distinct_trajectories(frame) == 6
    assert distinct_trajectories(frame.assign(trajectory=["a", "b", "a", "b", "a", "c"])) == 3
    assert distinct_trajectories(frame.assign(trajectory=["a", None, "a", None, "a", "a"])) == 6, "not kept for all"
