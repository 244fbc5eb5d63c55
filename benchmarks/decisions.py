"""Comparison of whole decisions in the fast environment and in the reference environment on nes-py."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from configs.schema import EnvironmentConfig
from configs.seeds import game_seeds
from mario_env.factory import make
from mario_env.stable_baselines import FastVecEnv

__all__ = ["SideBySide"]

_NOT_COMPARED: Final = ("episode", "terminal_observation", "episode_summary")  # compared separately, or they contain times


class SideBySide:
    """Games that are played in both environments. Every observation, reward, end and info is compared.

    Args:
        config: the environment; its `emulator` is ignored.
        count: number of games.
        seed: seed of no-op starts and sticky actions. Each game has its own seed from `game_seeds`.
    """

    def __init__(self, config: EnvironmentConfig, count: int = 1, *, seed: int = 0) -> None:
        reference = config.model_copy(update={"emulator": "nes-py"})
        seeds = game_seeds(seed, count)
        self._reference = [make(reference, seed=own) for own in seeds]
        self._fast = FastVecEnv(config, count, seed=seed)
        self.actions = self._fast.games.actions
        self._fast.seed(seed)
        observations: Any = self._fast.reset()
        for i, env in enumerate(self._reference):
            expected, info = env.reset(seed=seeds[i])
            np.testing.assert_array_equal(observations[i], expected)
            assert self._fast.reset_infos[i] == info

    def step(self, actions: Sequence[int]) -> tuple[list[bool], list[dict[str, Any]]]:
        """Play one decision in every game, and reset games that have ended.

        Returns:
            Whether each game has ended, and its info.

        Raises:
            AssertionError: the environments differ.
        """
        played: tuple[Any, Any, Any, Any] = self._fast.step(np.array(actions))
        observations, rewards, dones, infos = played
        for i, env in enumerate(self._reference):
            expected, reward, terminated, truncated, info = env.step(int(actions[i]))
            info["TimeLimit.truncated"] = truncated and not terminated
            done = terminated or truncated
            np.testing.assert_array_equal(infos[i]["terminal_observation"] if done else observations[i], expected)
            assert (rewards[i], dones[i]) == (reward, done)
            assert _without(infos[i]) == _without(info)
            assert _summary(infos[i]) == _summary(info)
            if done:
                first, first_info = env.reset()
                np.testing.assert_array_equal(observations[i], first)
                assert self._fast.reset_infos[i] == first_info
        return dones.tolist(), infos

    def play(self, actions: Iterable[int]) -> list[dict[str, Any]]:
        """Play the only game until it ends or there are no more actions. Returns the info of each step."""
        infos = []
        for action in actions:
            (done,), (info,) = self.step([action])
            infos.append(info)
            if done:
                break
        return infos

    def write_memory(self, values: dict[int, int]) -> None:
        """Write bytes into the RAM of every game. `values` maps addresses to values."""
        for address, value in values.items():
            self._fast.games.fleet.machines["ram"][:, address] = value
            for env in self._reference:
                env.unwrapped.write_memory(address, value)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Free the emulators."""
        for env in self._reference:
            env.close()
        self._fast.close()


def _without(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name not in _NOT_COMPARED}


def _summary(info: dict[str, Any]) -> dict[str, Any] | None:
    if "episode_summary" not in info:
        return None
    return dataclasses.asdict(info["episode_summary"]) | {"duration_seconds": 0.0}
