"""The reward of a decision, computed from what the RAM says happened during it."""

from typing import Any, Final

import gymnasium

from configs.schema import RewardConfig
from mario_env.console import Screen

__all__ = ["REWARD_COMPONENTS", "MemoryReward"]

REWARD_COMPONENTS: Final = tuple(RewardConfig().weights)
"""The names of the reward's components, in the order in which they are added up."""


class MemoryReward(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Replaces the reward by the weighted and scaled sum of what happened since the last decision.

    - progress: pixels moved beyond the area's furthest x, at most `progress_limit` a decision.
    - clock: minus the units of the game's clock that ran down; 0 when the game set it again (a life lost, a new level).
    - score: points.
    - death: lives lost.
    - completion: levels completed.

    `info["reward_components"]` has each component, weighted and scaled. The reward is their sum.

    Args:
        env: has :class:`~mario_env.wrappers.facts.MemoryFacts` below.
        config: the weights.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any], config: RewardConfig) -> None:
        super().__init__(env)
        self._weights, self._scale, self._progress_limit = config.weights, config.scale, config.progress_limit
        self._before: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Count from here."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = info
        return observation, info

    def step(self, action: Any) -> tuple[Screen, float, bool, bool, dict[str, Any]]:
        """Play one decision and compute its reward."""
        observation, _, terminated, truncated, info = self.env.step(action)
        components = self._components(self._before, info)
        self._before = info
        info = {**info, "reward_components": components}
        return observation, sum(components.values()), terminated, truncated, info

    def _components(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
        deaths = after["deaths"] - before["deaths"]
        completed = after["levels_completed"] - before["levels_completed"]
        clock = 0 if deaths or completed else min(0, after["time"] - before["time"])
        amounts = {
            "progress": min(after["progress"] - before["progress"], self._progress_limit),
            "clock": clock,
            "score": after["score"] - before["score"],
            "death": deaths,
            "completion": completed,
        }
        # Adding 0 turns the -0.0 of "no death" into 0.0.
        return {name: self._scale * (weight * amounts[name]) + 0.0 for name, weight in self._weights.items()}
