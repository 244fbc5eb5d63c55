"""A writer for stable-baselines3's logger. It imports torch: get one from :meth:`tracking.TrackedRun.kv_writer`."""

from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.logger import KVWriter

from tracking.values import clean_name


class TrackingWriter(KVWriter):
    """Logs each dump as one batch of metrics.

    Args:
        log: takes names with values, and a step; must return at once.
        last_steps: the newest step that MLflow has of each metric; values up to that step are left out.
    """

    def __init__(self, log: Callable[[Mapping[str, Any], int], None], last_steps: Mapping[str, int]) -> None:
        self._log = log
        self._last_steps = last_steps

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Log a dump, without keys that exclude ``mlflow``."""
        fresh = {
            key: value
            for key, value in key_values.items()
            if "mlflow" not in (key_excluded.get(key) or ()) and step > self._last_steps.get(clean_name(key), -1)
        }
        if fresh:
            self._log(fresh, step)

    def close(self) -> None:
        """Do nothing: the run outlives the logger."""
