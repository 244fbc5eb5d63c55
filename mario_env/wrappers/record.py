"""The record of an episode."""

import time
from typing import Any

import gymnasium

from mario_env.console import Screen
from mario_env.summary import EpisodeStart, summarise
from mario_env.wrappers.reward import REWARD_COMPONENTS

__all__ = ["EpisodeRecorder"]


class EpisodeRecorder(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Counts an episode and sums it up.

    Every step's info gets `frames`, the frames that the decision lasted. The last step's gets `end_reason`,
    `episode_summary` (:class:`~mario_env.summary.EpisodeSummary`) and `episode`, the dictionary of reward `r`, length `l` and
    seconds `t` that stable-baselines3 reads for its statistics.

    Args:
        env: has :class:`~mario_env.wrappers.reward.MemoryReward` and :class:`~mario_env.wrappers.actions.ActionDelay` below.
            What changes actions or delays them belongs above this wrapper, so that what is recorded is what was executed.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start a new record."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._start = EpisodeStart(noop_frames=info["noop_frames"])
        self._actions, self._delays = bytearray(), bytearray()
        self._components = dict.fromkeys(REWARD_COMPONENTS, 0.0)
        self._frames = 0
        self._started = time.perf_counter()
        return observation, info

    def step(self, action: Any) -> tuple[Screen, Any, bool, bool, dict[str, Any]]:
        """Record one decision."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions.append(int(action))
        self._delays.append(info["action_delay"])
        for name, value in info["reward_components"].items():
            self._components[name] += value
        info["frames"] = info["frame_count"] - self._frames
        self._frames = info["frame_count"]
        if terminated or truncated:
            summarise(
                info,
                self._components,
                started=self._started,
                start=self._start,
                actions=self._actions,
                delays=self._delays,
            )
        return observation, reward, terminated, truncated, info
