"""The choice of where episodes begin: on which of several levels."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Literal

import numpy as np

from mario_env.summary import EpisodeStart

__all__ = ["Starts", "draw_level"]

Sampling = Literal["uniform", "failure"] | Mapping[str, float]

_LATEST: Final = 100  # episodes of a level that tell how often it is not completed
_LEAST_WEIGHT: Final = 0.1  # of a level that is always completed, so that it is not forgotten


def draw_level(levels: Sequence[str], generator: np.random.Generator) -> str:
    """One of the levels, each with the same probability. Nothing is drawn if there is only one."""
    return levels[0] if len(levels) == 1 else levels[int(generator.integers(len(levels)))]


class Starts:
    """Chooses the level of each episode, by how the episodes before it ended.

    Args:
        levels: their names, such as "1-2".
        sampling: "uniform"; a weight for each level; or "failure": a level's weight is the share of its latest 100 episodes
            that did not complete it, at least 0.1, and 1 before its first.
    """

    def __init__(self, levels: Sequence[str], sampling: Sampling = "uniform") -> None:
        self._levels, self._sampling = list(levels), sampling
        self._latest: dict[str, deque[bool]] = {level: deque(maxlen=_LATEST) for level in levels}

    def choose(self, generator: np.random.Generator) -> EpisodeStart:
        """Where the next episode begins."""
        if self._sampling == "uniform":
            return EpisodeStart(level=draw_level(self._levels, generator))
        summed = list(accumulate(self.weights().values()))
        place = int(np.searchsorted(summed, generator.random() * summed[-1], side="right"))
        return EpisodeStart(level=self._levels[min(place, len(self._levels) - 1)])

    def ended(self, start: EpisodeStart, *, completed: bool) -> None:
        """Take note of an episode that has ended."""
        if start.level in self._latest:
            self._latest[start.level].append(completed)

    def weights(self) -> dict[str, float]:
        """The present weight of each level; they need not add up to 1."""
        if isinstance(self._sampling, Mapping):
            return {level: float(self._sampling[level]) for level in self._levels}
        if self._sampling == "uniform":
            return dict.fromkeys(self._levels, 1.0)
        return {level: _failures(latest) for level, latest in self._latest.items()}

    def to_json(self) -> dict[str, Any]:
        """What later choices depend on besides the random numbers, as JSON types."""
        return {"latest": {level: [int(each) for each in latest] for level, latest in self._latest.items()}}

    def set_json(self, value: Mapping[str, Any]) -> None:
        """The inverse of :meth:`to_json`."""
        for level, latest in value["latest"].items():
            self._latest[level] = deque(map(bool, latest), maxlen=_LATEST)


def _failures(latest: Sequence[bool]) -> float:
    return max(_LEAST_WEIGHT, 1 - sum(latest) / len(latest)) if latest else 1.0
