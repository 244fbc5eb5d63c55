"""One of several games that are stepped together, as an environment."""

from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.spaces import Discrete
from gymnasium.utils.seeding import np_random

from configs.seeds import Stream, seed_of

if TYPE_CHECKING:
    from mario_env.games import Games

__all__ = ["EnvSlot"]


class EnvSlot(gymnasium.Env[Any, Any]):
    """One game of several, with its own random numbers, state and screen. Only a single game can be stepped by itself."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 60}  # noqa: RUF012

    def __init__(self, games: "Games", index: int, seed: int | None) -> None:
        self.render_mode = "rgb_array"
        self.observation_space, self.action_space = games.observation_space, Discrete(games.actions)
        self._np_random, self._np_random_seed = np_random(seed)
        self.action_space.seed(None if seed is None else seed_of(seed, Stream.ACTION_SAMPLES))
        self._games, self._index = games, index

    @property
    def memory(self) -> bytes:
        """The RAM (2048 bytes) after the last reset or decision."""
        memory: bytes = self._games.fleet.machines["ram"][self._index].tobytes()
        return memory

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode of this game alone; returns its first observation and info."""
        super().reset(seed=seed)
        info = self._games.start(self._index, self.np_random, options or {})
        return self._games.fleet.observations[self._index].copy(), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one decision, if this is the only game.

        Raises:
            ValueError: the action is not between 0 and the number of actions.
            ResetNeeded: the game has not been reset yet.
            NotImplementedError: there are other games, which are stepped together: use `Games.step`.
        """
        if len(self._games.slots) > 1:
            raise NotImplementedError("several games are stepped together: use Games.step")
        observations, rewards, terminated, truncated, infos = self._games.step([int(action)])
        return observations[0].copy(), rewards[0], terminated[0], truncated[0], infos[0]

    def render(self) -> Any:
        """The current screen, RGB, uint8 of shape (240, 256, 3)."""
        frames = int(self._games.fleet.outcomes["frames"][self._index])
        return self._games.fleet.screen(self._index, max(0, frames - 1) & 1)
