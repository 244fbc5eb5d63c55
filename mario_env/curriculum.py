"""Starts along demonstrations: the backward algorithm (Salimans and Chen 2018, "Learning Montezuma's Revenge from a Single
Demonstration")."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.curriculum import CurriculumConfig

__all__ = ["Curriculum"]


class _Point:
    """The point on the demonstration of one level, and the latest tries from the window before it."""

    def __init__(self, decisions: int, config: CurriculumConfig) -> None:
        self.decisions, self.at = decisions, max(0, decisions - config.window)
        self.tries: deque[bool] = deque(maxlen=config.tries)


class Curriculum:
    """Chooses how much of its demonstration an episode skips.

    Each level has a point on its demonstration. Most episodes begin within a window that ends at the point. When enough of the
    latest of them have completed the level, the point moves back. Other episodes begin behind the point, so that nothing is
    forgotten, or at the level's start.

    Args:
        config: the window, how far the point moves, and what is enough.
        demonstrations: actions by level; they complete it.
    """

    def __init__(self, config: CurriculumConfig, demonstrations: Mapping[str, bytes]) -> None:
        self.demonstrations = dict(demonstrations)
        self._config = config
        self._points = {level: _Point(len(actions), config) for level, actions in demonstrations.items()}

    def choose(self, level: str, generator: np.random.Generator) -> bytes:
        """The part of the demonstration that the next episode skips; empty: it begins at the level's start."""
        config, point = self._config, self._points[level]
        kind = generator.random()
        first, last = self._window(point)
        if kind < config.from_start:
            return b""
        if kind < config.from_start + config.elsewhere and last + 1 < point.decisions:
            first, last = last + 1, point.decisions - 1
        return self.demonstrations[level][: int(generator.integers(first, last + 1))]

    def ended(self, level: str, skipped: int, *, completed: bool) -> None:
        """Take note of an episode that has ended; it had skipped so many decisions."""
        config, point = self._config, self._points[level]
        first, last = self._window(point)
        if not first <= skipped <= last:
            return
        point.tries.append(completed)
        # Once so many have completed the level, the rest of the tries cannot change the verdict.
        if sum(point.tries) >= config.threshold * config.tries and point.at:
            point.at = max(0, point.at - config.step)
            point.tries.clear()

    def _window(self, point: _Point) -> tuple[int, int]:
        return max(0, point.at - self._config.window + 1), point.at

    def metrics(self) -> dict[str, float]:
        """The point of each level, and the share of its latest tries that have completed the level."""
        found: dict[str, float] = {}
        for level, point in self._points.items():
            found[f"curriculum/{level}/point"] = point.at
            if point.tries:
                found[f"curriculum/{level}/success_rate"] = sum(point.tries) / len(point.tries)
        return found

    def describe(self) -> str:
        """The points in words: "starts 84 of 256", or those of several levels."""
        shown = [(level, f"{point.at} of {point.decisions}") for level, point in self._points.items()]
        return "starts " + (shown[0][1] if len(shown) == 1 else ", ".join(f"{level} {where}" for level, where in shown))

    def to_json(self) -> dict[str, Any]:
        """What later choices depend on besides the random numbers, as JSON types."""
        return {level: {"at": point.at, "tries": [int(each) for each in point.tries]} for level, point in self._points.items()}

    def set_json(self, value: Mapping[str, Any]) -> None:
        """The inverse of :meth:`to_json`."""
        for level, kept in value.items():
            point = self._points[level]
            point.at = int(kept["at"])
            point.tries = deque(map(bool, kept["tries"]), maxlen=self._config.tries)
