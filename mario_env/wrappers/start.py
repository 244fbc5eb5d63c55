"""Starts of episodes along a demonstration."""

from typing import Any

import gymnasium

from mario_env.errors import PlaybackError

__all__ = ["DemonstrationStart"]


class DemonstrationStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays the actions of the option `demonstration` of a reset, bytes, before the episode begins.

    The first observation is the one that these decisions lead to. They count in nothing: counts, reward and limits begin with
    the first decision after them. But x positions that were reached count as reached, so that nothing is paid for twice.

    Args:
        env: each step is one decision. It has :class:`~mario_env.wrappers.facts.MemoryFacts` below. Wrappers that count
            decisions or compute rewards belong above this one.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._restart_counts = env.get_wrapper_attr("restart_counts")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and play the demonstration.

        Raises:
            PlaybackError: the episode ends before it has begun.
        """
        observation, first = self.env.reset(seed=seed, options=options)
        actions = (options or {}).get("demonstration", b"")
        if not actions:
            return observation, first
        for number, action in enumerate(actions, 1):
            observation, _, terminated, _, info = self.env.step(action)
            if terminated:
                raise PlaybackError(
                    f"the demonstration ends the episode ({info['end_reason']}) with decision {number} of {len(actions)}: it "
                    "was played under another configuration"
                )
        present = {name: info[name] for name in first if name in info}
        return observation, {**first, **present, **self._restart_counts()}
