"""Starts along demonstrations: anywhere (Peng et al. 2018, "DeepMimic", section 6.2), or by the backward algorithm (Salimans
and Chen 2018, "Learning Montezuma's Revenge from a Single Demonstration")."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs.curriculum import CurriculumConfig

__all__ = ["Curriculum"]


class _Point:
    """The point on a demonstration, and the latest tries from the window before it.

    With the method `uniform` the point is at the level's start, where it stays, and the other episodes begin anywhere behind.
    """

    def __init__(self, actions: bytes, config: CurriculumConfig) -> None:
        self.actions, self.at = actions, 0 if config.method == "uniform" else max(0, len(actions) - config.window)
        self.tries: deque[bool] = deque(maxlen=config.tries)
        self._config = config

    @property
    def window(self) -> tuple[int, int]:
        """The first and the last position at which most episodes begin."""
        return max(0, self.at - self._config.window + 1), self.at

    @property
    def position(self) -> float:
        """The point as a fraction of the demonstration."""
        return self.at / len(self.actions)

    def choose(self, generator: np.random.Generator) -> bytes:
        """The part of the demonstration that the next episode skips."""
        config, kind = self._config, generator.random()
        first, last = self.window
        if kind < config.from_start:
            return b""
        if config.method == "uniform":
            return self.actions[: int(generator.integers(len(self.actions)))]
        if kind < config.from_start + config.elsewhere and last + 1 < len(self.actions):
            first, last = last + 1, len(self.actions) - 1
        return self.actions[: int(generator.integers(first, last + 1))]

    def ended(self, skipped: bytes, *, completed: bool) -> None:
        """Take note of an episode that has ended.

        It counts if it began in the window, even if another demonstration was chosen: the same actions lead to the same state.
        """
        first, last = self.window
        if not (first <= len(skipped) <= last and self.actions.startswith(skipped)):
            return
        self.tries.append(completed)
        # Once so many have completed the level, the rest of the tries cannot change the verdict.
        if sum(self.tries) >= self._config.threshold_at(self.position) * self._config.tries and self.at:
            self.at = max(0, self.at - self._config.step)
            self.tries.clear()


class Curriculum:
    """Chooses how much of a demonstration an episode skips.

    With the method `uniform` that is any number of its decisions, with the same probability, or none.

    With the method `backward` each demonstration has a point. Most episodes begin within a window that ends at the point. When
    enough of the latest of them have completed the level, the point moves back. Other episodes begin behind the point, so that
    nothing is forgotten, or at the level's start.

    An episode chooses among the demonstrations of its level uniformly, so that one which is stuck holds up no other.

    Args:
        config: the method, the window, how far the point moves, and what is enough.
        demonstrations: for each level the actions of one or more demonstrations; they complete it.
    """

    def __init__(self, config: CurriculumConfig, demonstrations: Mapping[str, Sequence[bytes]]) -> None:
        self.demonstrations = {level: tuple(plays) for level, plays in demonstrations.items()}
        self._config = config
        self._points = {level: [_Point(actions, config) for actions in plays] for level, plays in demonstrations.items()}

    def choose(self, level: str, generator: np.random.Generator) -> bytes:
        """The part of a demonstration that the next episode skips; empty: it begins at the level's start."""
        points = self._points[level]
        point = points[0] if len(points) == 1 else points[int(generator.integers(len(points)))]
        return point.choose(generator)

    def ended(self, level: str, skipped: bytes, *, completed: bool) -> None:
        """Take note of an episode that has ended; it had skipped these decisions."""
        for point in self._points[level]:
            point.ended(skipped, completed=completed)

    def metrics(self) -> dict[str, float]:
        """The point of each demonstration, and the share of its latest tries that have completed the level.

        Where a level has several, their number is in the names. With the method `uniform` there are no points, and the tries of
        a level are those from its start.
        """
        found: dict[str, float] = {}
        uniform = self._config.method == "uniform"
        for level, points in self._points.items():
            for number, point in enumerate(points[:1] if uniform else points, 1):
                name = f"curriculum/{level}" + (f"/{number}" if len(points) > 1 and not uniform else "")
                if not uniform:
                    found[f"{name}/point"] = point.at
                if point.tries:
                    found[f"{name}/success_rate"] = sum(point.tries) / len(point.tries)
        return found

    def describe(self) -> str:
        """The points in words, such as "starts 84 of 256"; of several demonstrations the one nearest to the level's start.

        With the method `uniform` the latest tries from the level's start: "from the start 31 of 40".
        """
        if self._config.method == "uniform":
            tries = {level: points[0].tries for level, points in self._points.items()}
            counts = [(level, f"{sum(latest)} of {len(latest)}") for level, latest in tries.items()]
            return "from the start " + (counts[0][1] if len(counts) == 1 else ", ".join(" ".join(each) for each in counts))
        shown = [(level, _describe(points)) for level, points in self._points.items()]
        return "starts " + (shown[0][1] if len(shown) == 1 else ", ".join(f"{level} {where}" for level, where in shown))

    def to_json(self) -> dict[str, Any]:
        """What later choices depend on besides the random numbers, as JSON types."""
        return {
            level: [{"at": point.at, "tries": [int(each) for each in point.tries]} for point in points]
            for level, points in self._points.items()
        }

    def set_json(self, value: Mapping[str, Any]) -> None:
        """The inverse of :meth:`to_json`."""
        for level, kept in value.items():
            # Earlier versions had one demonstration of each level, without a list.
            for point, state in zip(self._points[level], kept if isinstance(kept, list) else [kept], strict=True):
                point.at = int(state["at"])
                point.tries = deque(map(bool, state["tries"]), maxlen=self._config.tries)


def _describe(points: Sequence[_Point]) -> str:
    point = min(points, key=lambda each: each.position)
    return f"{point.at} of {len(point.actions)}" + (f" (first of {len(points)})" if len(points) > 1 else "")
