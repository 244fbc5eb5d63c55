"""The choice of where episodes begin: on which of several levels, and where along a demonstration."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mario_env.summary import EpisodeStart

if TYPE_CHECKING:
    from configs.schema import EnvironmentConfig
    from mario_env.curriculum import Curriculum

__all__ = ["Starts", "draw_level"]

Sampling = Literal["uniform", "failure"] | Mapping[str, float]

_LATEST: Final = 100  # episodes of a level that tell how often it is not completed
_LEAST_WEIGHT: Final = 0.1  # of a level that is always completed, so that it is not forgotten


def draw_level(levels: Sequence[str], generator: np.random.Generator) -> str:
    """One of the levels, each with the same probability. Nothing is drawn if there is only one."""
    return levels[0] if len(levels) == 1 else levels[int(generator.integers(len(levels)))]


class Starts:
    """Chooses where each episode begins, by how the episodes before it ended.

    Args:
        config: the environment, which has the levels.
        sampling: "uniform"; a weight for each level; or "failure": a level's weight is the share of its latest 100 episodes
            that did not complete it, at least 0.1, and 1 before its first.
        curriculum: chooses how much of a demonstration is skipped; None: every episode begins at its level's start.
    """

    def __init__(
        self, config: "EnvironmentConfig", sampling: Sampling = "uniform", curriculum: "Curriculum | None" = None
    ) -> None:
        self._levels, self._sampling, self.curriculum = config.level_names, sampling, curriculum
        self._named = bool(config.levels)
        self._latest: dict[str, deque[bool]] = {level: deque(maxlen=_LATEST) for level in self._levels}

    def choose(self, generator: np.random.Generator) -> EpisodeStart:
        """Where the next episode begins."""
        level = self._draw(generator)
        skipped = b"" if self.curriculum is None else self.curriculum.choose(level, generator)
        return EpisodeStart(level=level if self._named else None, demonstration=skipped)

    def _draw(self, generator: np.random.Generator) -> str:
        if self._sampling == "uniform":
            return draw_level(self._levels, generator)
        summed = list(accumulate(self.weights().values()))
        place = int(np.searchsorted(summed, generator.random() * summed[-1], side="right"))
        return self._levels[min(place, len(self._levels) - 1)]

    def ended(self, start: EpisodeStart, *, completed: bool) -> None:
        """Take note of an episode that has ended."""
        level = start.level or self._levels[0]
        self._latest[level].append(completed)
        if self.curriculum is not None:
            self.curriculum.ended(level, start.demonstration, completed=completed)

    def weights(self) -> dict[str, float]:
        """The present weight of each level; they need not add up to 1."""
        if isinstance(self._sampling, Mapping):
            return {level: float(self._sampling[level]) for level in self._levels}
        if self._sampling == "uniform":
            return dict.fromkeys(self._levels, 1.0)
        return {level: _failures(latest) for level, latest in self._latest.items()}

    def to_json(self) -> dict[str, Any]:
        """What later choices depend on besides the random numbers, as JSON types."""
        latest = {level: [int(each) for each in latest] for level, latest in self._latest.items()}
        return {"latest": latest, "curriculum": None if self.curriculum is None else self.curriculum.to_json()}

    def set_json(self, value: Mapping[str, Any]) -> None:
        """The inverse of :meth:`to_json`."""
        for level, latest in value["latest"].items():
            self._latest[level] = deque(map(bool, latest), maxlen=_LATEST)
        if self.curriculum is not None:
            self.curriculum.set_json(value["curriculum"])


def _failures(latest: Sequence[bool]) -> float:
    return max(_LEAST_WEIGHT, 1 - sum(latest) / len(latest)) if latest else 1.0
