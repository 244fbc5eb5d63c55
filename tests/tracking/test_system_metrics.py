"""Samples of a machine's use are frequent in a run's first hour and rarer later, however often the run is continued."""

import threading
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from tracking.system_metrics import FIRST_SAMPLES, SystemMetrics, sample_interval

HOUR, DAY = 3600, 86400


def test_an_hour_is_sampled_every_ten_seconds_and_the_rest_every_minute() -> None:
    times = list(accumulate((sample_interval(sample) for sample in range(2_000)), initial=0.0))
    assert sum(time < HOUR for time in times) == 360
    assert sum(HOUR <= time < 2 * HOUR for time in times) == 60
    assert sum(time < DAY for time in times) == 360 + 23 * 60


def test_a_run_that_is_continued_has_no_second_first_hour() -> None:
    asked: list[int] = []
    enough = threading.Event()

    def interval(sample: int) -> float:
        asked.append(sample)
        if len(asked) == 3:
            enough.set()
        return 0.0

    logged: list[int] = []

    def log(values: Mapping[str, Any], step: int) -> None:
        assert "system/cpu_utilization_percentage" in values
        logged.append(step)

    known = {"system/cpu_utilization_percentage": FIRST_SAMPLES - 2, "train/loss": 1_000_000}
    metrics = SystemMetrics(log, known, interval)
    assert enough.wait(60)
    metrics.stop()
    first = FIRST_SAMPLES - 1
    assert asked[:3] == logged[:3] == [first, first + 1, first + 2]
    assert [sample_interval(sample) for sample in asked[:3]] == [10, 60, 60]
