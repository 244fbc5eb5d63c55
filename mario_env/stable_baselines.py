"""The games of the fast emulator behind stable-baselines3's `VecEnv`, all in this process."""

import secrets
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Discrete
from stable_baselines3.common.vec_env import VecEnv

from configs.schema import EnvironmentConfig
from configs.seeds import game_seeds
from mario_env.games import Games
from mario_env.snapshots import GamesSnapshot

__all__ = ["FastVecEnv"]


class FastVecEnv(VecEnv):
    """stable-baselines3's interface: what :class:`~mario_env.vector.ProcessVecEnv` does, without processes.

    Args:
        config: what each game is.
        n_envs: how many.
        seed: of all games; each has its own of `game_seeds`.
        threads: see :class:`~mario_env.games.Games`.
        ahead: `step_async` starts playing, instead of `step_wait`; see :class:`~mario_env.games.Games`.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        n_envs: int,
        *,
        seed: int | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> None:
        self.games = Games(config, n_envs, seed=seed, threads=threads, ahead=ahead)
        super().__init__(n_envs, self.games.observation_space, Discrete(self.games.actions))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Give each game a seed of its own at the next reset; None: a random one."""
        self._seeds = game_seeds(secrets.randbits(128) if seed is None else seed, self.num_envs)
        return self._seeds

    def reset(self) -> npt.NDArray[np.uint8]:
        """Start a new episode of every game."""
        for index in range(self.num_envs):
            options = self._options[index] or None
            self.reset_infos[index] = self.games.reset(index, seed=self._seeds[index], options=options)
        self._reset_seeds()
        self._reset_options()
        return self.games.fleet.observations.copy()

    def begin(self, index: int, *, seed: int | None, options: dict[str, Any]) -> npt.NDArray[np.uint8]:
        """See :func:`~mario_env.vector.begin_episode`."""
        self.reset_infos[index] = self.games.reset(index, seed=seed, options=options)
        observation: npt.NDArray[np.uint8] = self.games.fleet.observations[index].copy()
        return observation

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions; games are played in `step_wait`, or, `ahead`, from now on."""
        self.games.begin(actions)

    def step_wait(self) -> Any:
        """The end of one decision; a game that ended is reset, its last observation is in info's `terminal_observation`."""
        observations, rewards, terminated, truncated, infos = self.games.finish()
        dones = [ended or cut for ended, cut in zip(terminated, truncated, strict=True)]
        for index, info in enumerate(infos):
            info["TimeLimit.truncated"] = truncated[index] and not terminated[index]
            self.reset_infos[index] = {}
            if dones[index]:
                info["terminal_observation"] = observations[index].copy()
                self.reset_infos[index] = self.games.reset(index)
        return observations.copy(), np.array(rewards), np.array(dones), infos

    def snapshot(self) -> GamesSnapshot:
        """What the games are now; see :class:`~mario_env.snapshots.Snapshots`."""
        return self.games.snapshot()

    def restore(self, snapshot: GamesSnapshot) -> npt.NDArray[np.uint8]:
        """Make the games what they were, and return their observations.

        Raises:
            SnapshotError: it is of other games.
        """
        self.games.restore(snapshot)
        # What waits for a reset is for the reset that this is in place of.
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self.games.fleet.observations.copy()

    def close(self) -> None:
        """End the threads; closing twice is no error."""
        self.games.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the games."""
        return [getattr(self.games.slots[index], attr_name) for index in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the games."""
        for index in self._get_indices(indices):
            setattr(self.games.slots[index], attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the games."""
        methods = [getattr(self.games.slots[index], method_name) for index in self._get_indices(indices)]
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """No: there are no wrappers here."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[Any]:
        """The current screens."""
        return [slot.render() for slot in self.games.slots]
