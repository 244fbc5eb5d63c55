"""Ends of an episode that the experiment chooses, not the game."""

from typing import Any

import gymnasium

from mario_env.console import Console, Screen
from mario_env.memory import read_facts

__all__ = ["LifeLossTermination", "StallTruncation"]


class LifeLossTermination(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Terminates the full game at the frame in which a life is lost: "life_lost", or "timed_out" if the clock ran out.

    The facts of that step are those of the frame in which it happened, not those of the next life.

    Args:
        env: :class:`~mario_env.wrappers.facts.MemoryFacts`. This wrapper belongs below any frame skip, which would go on
            playing in the next life.
    """

    def step(self, action: Any) -> tuple[Screen, Any, bool, bool, dict[str, Any]]:
        """Play one frame, and end the episode if a life was lost."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if info["deaths"] and not terminated:
            terminated = True
            console = self.env.unwrapped
            assert isinstance(console, Console)
            info = {
                **info,
                **read_facts(console.frame_memory),
                "life": info["life"],
                "end_reason": "timed_out" if info["time_ups"] else "life_lost",
            }
        return observation, reward, terminated, truncated, info


class StallTruncation(gymnasium.Wrapper[Screen, Any, Screen, Any]):
    """Truncates ("stalled") after `after` decisions in which neither an area's furthest x grew nor a level was completed.

    Args:
        env: has :class:`~mario_env.wrappers.facts.MemoryFacts` below.
        after: how many decisions.
    """

    def __init__(self, env: gymnasium.Env[Screen, Any], after: int) -> None:
        super().__init__(env)
        self._after = after
        self._idle = 0
        self._last = (0, 0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Count from 0."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._idle = 0
        self._last = (info["distance"], info["levels_completed"])
        return observation, info

    def step(self, action: Any) -> tuple[Screen, Any, bool, bool, dict[str, Any]]:
        """Play one decision, and truncate the episode if it has stalled."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        reached = (info["distance"], info["levels_completed"])
        self._idle = self._idle + 1 if reached == self._last else 0
        self._last = reached
        if self._idle >= self._after and not terminated:
            truncated = True
            info = {**info, "end_reason": "stalled"}
        return observation, reward, terminated, truncated, info
