"""Starts along demonstrations: anywhere (Peng et al. 2018, "DeepMimic", section 6.2), or by the backward algorithm (Salimans
and Chen 2018, "Learning Montezuma's Revenge from a Single Demonstration")."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs.curriculum import CurriculumConfig

__all__ = ["Curriculum", "curriculum_of"]


class Curriculum(ABC):
    """Chooses how much of a demonstration an episode skips.

    An episode chooses among the demonstrations of its level uniformly, so that one which is stuck holds up no other.

    Args:
        config: the section `train.curriculum`.
        demonstrations: for each level the actions of one or more demonstrations; they complete it.
    """

    def __init__(self, config: CurriculumConfig, demonstrations: Mapping[str, Sequence[bytes]]) -> None:
        self.demonstrations = {level: tuple(plays) for level, plays in demonstrations.items()}
        self._config = config

    @abstractmethod
    def choose(self, level: str, generator: np.random.Generator) -> bytes:
        """The part of a demonstration that the next episode skips; empty: it begins at the level's start."""

    @abstractmethod
    def ended(self, level: str, skipped: bytes, *, completed: bool) -> None:
        """Take note of an episode that has ended; it had skipped these decisions."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The state as numbers, by names such as `curriculum/1-3/success_rate`."""

    @abstractmethod
    def describe(self) -> str:
        """The state in words, for the log."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What later choices and metrics depend on besides the random numbers, as JSON types."""

    @abstractmethod
    def set_json(self, value: Mapping[str, Any]) -> None:
        """The inverse of :meth:`to_json`."""

    def _drawn(self, level: str, generator: np.random.Generator) -> int:
        """The index of one of the level's demonstrations."""
        count = len(self.demonstrations[level])
        return 0 if count == 1 else int(generator.integers(count))


def curriculum_of(config: CurriculumConfig, demonstrations: Mapping[str, Sequence[bytes]]) -> Curriculum:
    """The curriculum of `config.method`."""
    kind = {"uniform": _Anywhere, "backward": _Backward}[config.method]
    return kind(config, demonstrations)


class _Anywhere(Curriculum):
    """An episode skips any number of decisions with the same probability, or none."""

    def __init__(self, config: CurriculumConfig, demonstrations: Mapping[str, Sequence[bytes]]) -> None:
        super().__init__(config, demonstrations)
        self._tries: dict[str, deque[bool]] = {level: deque(maxlen=config.tries) for level in demonstrations}
        """Of each level the latest episodes from its start: whether they completed it."""

    def choose(self, level: str, generator: np.random.Generator) -> bytes:
        actions = self.demonstrations[level][self._drawn(level, generator)]
        if generator.random() < self._config.from_start:
            return b""
        return actions[: int(generator.integers(len(actions)))]

    def ended(self, level: str, skipped: bytes, *, completed: bool) -> None:
        if not skipped:
            self._tries[level].append(completed)

    def metrics(self) -> dict[str, float]:
        """The share of the latest tries from each level's start that have completed it."""
        return {f"curriculum/{level}/success_rate": sum(tries) / len(tries) for level, tries in self._tries.items() if tries}

    def describe(self) -> str:
        """Such as "from the start 31 of 40"."""
        return "from the start " + _by_level({level: f"{sum(tries)} of {len(tries)}" for level, tries in self._tries.items()})

    def to_json(self) -> dict[str, Any]:
        return {level: {"tries": [int(each) for each in tries]} for level, tries in self._tries.items()}

    def set_json(self, value: Mapping[str, Any]) -> None:
        for level, kept in value.items():
            # Earlier versions had a state of each demonstration, all of them the same.
            state = kept[0] if isinstance(kept, list) else kept
            self._tries[level] = deque(map(bool, state["tries"]), maxlen=self._config.tries)


class _Backward(Curriculum):
    """Each demonstration has a point. Most episodes begin within a window that ends there.

    When enough of the latest of them have completed the level, the point moves back. Other episodes begin behind the point, so
    that nothing is forgotten, or at the level's start.
    """

    def __init__(self, config: CurriculumConfig, demonstrations: Mapping[str, Sequence[bytes]]) -> None:
        super().__init__(config, demonstrations)
        self._points = {level: [_Point(actions, config) for actions in plays] for level, plays in demonstrations.items()}

    def choose(self, level: str, generator: np.random.Generator) -> bytes:
        return self._points[level][self._drawn(level, generator)].choose(generator)

    def ended(self, level: str, skipped: bytes, *, completed: bool) -> None:
        for point in self._points[level]:
            point.ended(skipped, completed=completed)

    def metrics(self) -> dict[str, float]:
        """The point of each demonstration, and the share of its latest tries that have completed the level.

        Where a level has several demonstrations, their numbers are in the names.
        """
        found: dict[str, float] = {}
        for level, points in self._points.items():
            for number, point in enumerate(points, 1):
                name = f"curriculum/{level}" + (f"/{number}" if len(points) > 1 else "")
                found[f"{name}/point"] = point.at
                if point.tries:
                    found[f"{name}/success_rate"] = sum(point.tries) / len(point.tries)
        return found

    def describe(self) -> str:
        """Such as "starts 84 of 256"; of several demonstrations the one whose point is nearest to the level's start."""
        return "starts " + _by_level({level: _nearest(points) for level, points in self._points.items()})

    def to_json(self) -> dict[str, Any]:
        return {
            level: [{"at": point.at, "tries": [int(each) for each in point.tries]} for point in points]
            for level, points in self._points.items()
        }

    def set_json(self, value: Mapping[str, Any]) -> None:
        for level, kept in value.items():
            # Earlier versions had one demonstration of each level, without a list.
            for point, state in zip(self._points[level], kept if isinstance(kept, list) else [kept], strict=True):
                point.at = int(state["at"])
                point.tries = deque(map(bool, state["tries"]), maxlen=self._config.tries)


class _Point:
    """The point on a demonstration, and the latest tries from the window before it."""

    def __init__(self, actions: bytes, config: CurriculumConfig) -> None:
        self.actions, self.at = actions, max(0, len(actions) - config.window)
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


def _nearest(points: Sequence[_Point]) -> str:
    point = min(points, key=lambda each: each.position)
    return f"{point.at} of {len(point.actions)}" + (f" (first of {len(points)})" if len(points) > 1 else "")


def _by_level(words: Mapping[str, str]) -> str:
    """The words, with their level where there are several."""
    return next(iter(words.values())) if len(words) == 1 else ", ".join(f"{level} {each}" for level, each in words.items())
