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

    The info of every step gets `frames`, how many frames the decision lasted. The info of the last step is completed by
    :func:`~mario_env.summary.summarise`.

    Args:
        env: has :class:`~mario_env.wrappers.reward.MemoryReward` and :class:`~mario_env.wrappers.actions.ActionDelay` below.
            Wrappers that change or delay actions belong above this one, so that it records the actions that are executed.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Start a new record."""
        observation, info = self.env.reset(seed=seed, options=options)
        skipped = (options or {}).get("demonstration", b"")
        self._start = EpisodeStart(noop_frames=info["noop_frames"], level=info.get("level"), demonstration=skipped)
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
