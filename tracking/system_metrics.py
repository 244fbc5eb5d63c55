"""Processor, memory, disk, network and GPU over time, under the names MLflow's UI shows as system metrics."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

_PREFIX = "system/"
FIRST_SAMPLES = 360  # one hour
FIRST_SECONDS = 10.0
LATER_SECONDS = 60.0
"""Seconds between two samples in the first hour, and later."""


def sample_interval(sample: int) -> float:
    """Seconds between a sample, which are numbered from 0, and the next one: 10 in the first hour of sampling, then 60.

    What goes wrong at a start is seen within seconds, and what comes later changes slowly. In a day these are 1,740 samples
    instead of 8,640. The interval depends on the number alone, so that a run that is continued has no second first hour.
    """
    return FIRST_SECONDS if sample < FIRST_SAMPLES else LATER_SECONDS


class SystemMetrics:
    """A thread that samples MLflow's own monitors.

    MLflow's `SystemMetricsMonitor` requests the run before each sample and ends when that fails once. This one logs its samples
    like all other metrics, so they survive an outage.

    Args:
        log: takes names with values and a step (the sample's number); must return immediately.
        last_steps: the newest step that MLflow has of each metric; the numbering continues from there.
        interval: seconds between a sample and the next one, by the sample's number.
    """

    def __init__(
        self,
        log: Callable[[Mapping[str, Any], int], None],
        last_steps: Mapping[str, int],
        interval: Callable[[int], float] = sample_interval,
    ) -> None:
        self._log = log
        self._step = 1 + max((step for name, step in last_steps.items() if name.startswith(_PREFIX)), default=-1)
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking-system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            monitors = _monitors()
            while not self._ended.is_set():
                self._sample(monitors)
                self._ended.wait(self._interval(self._step - 1))
        except Exception as error:  # a sensor that fails must not stop the run
            logger.warning("system metrics end here: %s", error)

    def _sample(self, monitors: list[Any]) -> None:
        values: dict[str, Any] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        self._log({_PREFIX + name: value for name, value in values.items()}, self._step)
        self._step += 1


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    everywhere: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
    gpu: Any = GPUMonitor
    monitors = [monitor() for monitor in everywhere]
    try:
        monitors.append(gpu())
    except Exception:  # no NVIDIA GPU, or no driver: nothing to watch
        logger.debug("no GPU to watch", exc_info=True)
    return monitors
