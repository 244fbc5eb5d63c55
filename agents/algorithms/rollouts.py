"""Rollouts of on-policy algorithms: their length, their layout and their size in memory."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.algorithms.base import AlgorithmBase

# Bytes per decision in a rollout besides the observation: an action (8 bytes) and six numbers (4 bytes each).
_ROLLOUT_BYTES = 32


class OnPolicy(AlgorithmBase, OnPolicyAlgorithm):
    """Base class of the algorithms that learn from each rollout once it is complete."""

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in stable-baselines3, but the last rollout is shortened to the steps that are left, with a smaller buffer."""
        left = self.steps_left()
        if left < n_rollout_steps:
            n_rollout_steps = left
            self.rollout_buffer = rollout_buffer = type(rollout_buffer)(
                left,
                self.observation_space,
                self.action_space,
                device=self.device,
                gamma=self.gamma,
                gae_lambda=self.gae_lambda,
                n_envs=self.n_envs,
                **self.rollout_buffer_kwargs,
            )
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)


class ChannelsLastRolloutBuffer(RolloutBuffer):
    """stable-baselines3's `RolloutBuffer`; sampled observations (n, channels, height, width) are torch's `channels_last`.

    Observations of another number of dimensions stay as they are.
    """

    def _get_samples(self, batch_inds: NDArray[Any], env: VecNormalize | None = None) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        if samples.observations.ndim != 4:
            return samples
        # Converted here, where a value has one byte instead of four.
        return samples._replace(observations=samples.observations.contiguous(memory_format=torch.channels_last))


def rollout_buffer_class(device: str) -> type[RolloutBuffer]:
    """The rollout buffer for "cpu" or "cuda". On a CPU `channels_last` makes updates a tenth faster (benchmarks/learner.py)."""
    return ChannelsLastRolloutBuffer if device == "cpu" else RolloutBuffer


def rollout_bytes(decisions: int, observation_space: gym.spaces.Box) -> int:
    """The most memory, in bytes, that a rollout of so many decisions takes.

    stable-baselines3 reorders the observations before learning, so for a while they are in memory twice.
    """
    assert observation_space.dtype is not None
    observation = int(np.prod(observation_space.shape)) * observation_space.dtype.itemsize
    return decisions * (2 * observation + _ROLLOUT_BYTES)


def rollout_steps_per_update(n_steps: int, n_envs: int, batch_size: int, n_epochs: int) -> float:
    """The steps of all environments together before each update: those of a rollout, divided among its updates."""
    return n_steps / (n_epochs * -(-n_steps * n_envs // batch_size))
