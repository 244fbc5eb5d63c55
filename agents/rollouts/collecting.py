"""The loop that collects a rollout."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.rollouts.frames import FrameRolloutBuffer

Outcome = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]
"""What `VecEnv.step` returns: observations, rewards, dones and infos."""


class Decisions(NamedTuple):
    """The decisions of some games.

    Attributes:
        actions: int64 (n,).
        values: of the observations, float32 (n, 1), on the device.
        log_probs: of the actions, float32 (n,), on the device.
    """

    actions: NDArray[np.int64]
    values: torch.Tensor
    log_probs: torch.Tensor


class Collecting(OnPolicyAlgorithm):
    """Collects rollouts as stable-baselines3 does, with the same results, for discrete actions.

    The buffer brings the observations to the device (`FrameRolloutBuffer.observe`).
    """

    def decide(
        self, observations: torch.Tensor, games: slice, episode_starts: NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choose the actions of some games; returns actions, values and log-probabilities, as the policy does.

        Args:
            observations: of these games.
            games: which games they are.
            episode_starts: bool (n,), whether these observations are the first of an episode.
        """
        decided: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self.policy(observations)
        return decided

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in stable-baselines3: returns False if the callback ended the training. Callbacks find the same locals."""
        assert self._last_obs is not None, "there is no observation: call learn"
        self.policy.set_training_mode(False)
        n_steps = 0
        rollout_buffer.reset()
        callback.on_rollout_start()
        with closing(self._steps(env, rollout_buffer, n_rollout_steps)) as steps:
            for (actions, values, log_probs), (new_obs, rewards, dones, infos) in steps:
                self.num_timesteps += env.num_envs
                callback.update_locals(locals())
                if not callback.on_step():
                    return False
                self._update_info_buffer(infos, dones)
                n_steps += 1
                self._add_values_after_truncation(rewards, dones, infos)
                rollout_buffer.add(
                    self._last_obs,  # type: ignore[arg-type]
                    actions.reshape(-1, 1),
                    rewards,
                    self._last_episode_starts,  # type: ignore[arg-type]
                    values,
                    log_probs,
                )
                self._last_obs, self._last_episode_starts = new_obs, dones
        with torch.no_grad():
            values = self.policy.predict_values(self._observe(rollout_buffer, new_obs))
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _steps(self, env: VecEnv, buffer: RolloutBuffer, count: int) -> Generator[tuple[Decisions, Outcome], None, None]:
        """Play `count` steps of all games. Before the next step `_last_obs` and `_last_episode_starts` must be set."""
        for _ in range(count):
            decisions = self._decisions(buffer, slice(0, env.num_envs), self._last_obs, self._last_episode_starts)
            yield decisions, env.step(decisions.actions)  # type: ignore[misc]

    def _decisions(self, buffer: RolloutBuffer, games: slice, observations: Any, episode_starts: Any) -> Decisions:
        """Decide for some games, which have these observations."""
        with torch.no_grad():
            decided = self.decide(self._observe(buffer, observations, games.start), games, episode_starts)
        actions, values, log_probs = decided
        return Decisions(actions.cpu().numpy(), values, log_probs)

    @staticmethod
    def _observe(buffer: RolloutBuffer, observations: Any, first: int = 0) -> torch.Tensor:
        if isinstance(buffer, FrameRolloutBuffer):
            return buffer.observe(observations, first)
        return torch.as_tensor(observations, device=buffer.device)

    def _add_values_after_truncation(
        self, rewards: NDArray[Any], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> None:
        """Where an episode was truncated, add the value of its last observation to the reward."""
        for index in np.flatnonzero(dones):
            info = infos[index]
            if info.get("terminal_observation") is None or not info.get("TimeLimit.truncated", False):
                continue
            observation = self.policy.obs_to_tensor(info["terminal_observation"])[0]
            with torch.no_grad():
                value = self.policy.predict_values(observation)[0]
            rewards[index] += self.gamma * value
