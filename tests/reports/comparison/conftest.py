"""Experiments and figures for the tests of comparisons."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from configs import load
from episodes.comparison import EndingCount
from reports.comparison.groups import ComparedExperiment, group_experiments
from reports.comparison.results import BINS, ComparisonData

END = 600_000


@pytest.fixture(scope="session")
def experiment() -> Callable[..., ComparedExperiment]:
    """Makes an experiment: experiment(id, preset, "section.key=value", ...); keywords replace its other attributes."""

    def make(number: int, preset: str = "ppo", *overrides: str, **columns: Any) -> ComparedExperiment:
        values = {"name": f"{preset}-{number}", "status": "completed"} | columns
        return ComparedExperiment(id=number, config=load(preset, [f"train.total_steps={END}", *overrides]), **values)

    return make


@pytest.fixture(scope="session")
def scores() -> Callable[..., pd.DataFrame]:
    """Makes the scores of experiments: id to share of 100 stochastic episodes completed, with a random policy for each."""

    def make(shares: Mapping[int, float]) -> pd.DataFrame:
        rows = [
            (number, protocol, 100, round(100 * value), 3000 * value + 100, 50 * value)
            for number, share in shares.items()
            for protocol, value in (("stochastic", share), ("sticky", share / 2), ("random", 0.0))
        ]
        return pd.DataFrame(rows, columns=["experiment_id", "protocol", "episodes", "completed", "distance", "reward"])

    return make


@pytest.fixture(scope="session")
def comparison(scores: Callable[..., pd.DataFrame]) -> Callable[..., ComparisonData]:
    """Makes the data of a comparison of experiments with the given completion; experiments without one were not evaluated."""

    def make(experiments: Sequence[ComparedExperiment], shares: Mapping[int, float], **changes: Any) -> ComparisonData:
        table = scores(shares)
        grouping = group_experiments(experiments, table, shares, "stochastic")
        curves = pd.DataFrame(
            [
                (number, span, 20, share * span / BINS, 3000 * span / BINS)
                for number, share in shares.items()
                for span in range(BINS)
            ],
            columns=["experiment_id", "bin", "episodes", "completed", "distance"],
        )
        reached = {
            number: tuple(round(END * rate / share) if share >= rate else None for rate in (0.5, 0.9))
            for number, share in shares.items()
        }
        endings = {
            group.name: [
                EndingCount((1, 1), 11, "died", 30, 41),
                EndingCount((1, 1), 11, "stalled", 5, None),
                EndingCount((1, 1), 20, "died", 15, None),
                EndingCount((1, 1), 49, "completed", 100 * len(group.members) - 50, 43),
            ]
            for group in grouping.groups
        }
        values: dict[str, Any] = {
            "grouping": grouping, "protocol": "stochastic", "scores": table, "curves": curves, "end": END, "reached": reached,
            "endings": endings,
        }  # fmt: skip
        return ComparisonData(**(values | changes))

    return make
