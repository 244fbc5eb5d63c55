"""PPO (Schulman et al. 2017) of stable-baselines3, with a schedule for the entropy bonus and an exact end."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples, Schedule
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.algorithms.base import AlgorithmBase, MemoryNeeds
from agents.algorithms.networks import network_arguments
from agents.algorithms.schedules import schedule
from configs import Config
from configs.schema import PPOConfig

# Bytes per decision in a rollout besides the observation: an action (8 bytes) and six numbers (4 bytes each).
_ROLLOUT_BYTES = 32


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


class PPO(AlgorithmBase, stable_baselines3.PPO):
    """stable-baselines3's PPO. `ent_coef` may be a schedule, like the learning rate and the clip range."""

    def __init__(
        self, policy: type[ActorCriticPolicy], env: VecEnv, ent_coef: float | Schedule = 0.0, **arguments: Any
    ) -> None:
        self.ent_coef_schedule = FloatSchedule(ent_coef)
        super().__init__(policy, env, ent_coef=self.ent_coef_schedule(1.0), **arguments)

    def train(self) -> None:
        """As in stable-baselines3, with the current weight of the entropy."""
        self.ent_coef = self.ent_coef_schedule(self._current_progress_remaining)
        self.logger.record("train/ent_coef", self.ent_coef)
        super().train()

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


# From the configuration

# Arguments of stable-baselines3 that have the same name in the configuration.
_SAME_NAME = (
    "gamma",
    "n_steps",
    "batch_size",
    "n_epochs",
    "gae_lambda",
    "normalize_advantage",
    "vf_coef",
    "max_grad_norm",
    "target_kl",
)


def create(config: Config, env: VecEnv, *, device: str, seed: int) -> PPO:
    """PPO as `config.agent` describes it, untrained."""
    agent = _agent(config)
    policy, policy_arguments = policy_of(config)
    assert issubclass(policy, ActorCriticPolicy)
    return PPO(
        policy,
        env,
        ent_coef=schedule(agent.ent_coef),
        learning_rate=schedule(agent.learning_rate),
        clip_range=schedule(agent.clip_range),
        clip_range_vf=None if agent.clip_range_vf is None else schedule(agent.clip_range_vf),
        # Convolutions on a CPU work in this layout: an update is a tenth faster with it (benchmarks/learner.py).
        rollout_buffer_class=ChannelsLastRolloutBuffer if device == "cpu" else RolloutBuffer,
        policy_kwargs=policy_arguments,
        device=device,
        seed=seed,
        **{name: getattr(agent, name) for name in _SAME_NAME},
    )


def policy_of(config: Config) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy's class and its ``policy_kwargs``; Adam's epsilon is that of stable-baselines3's ActorCriticPolicy."""
    return ActorCriticCnnPolicy, network_arguments(config, 1e-5)


def memory_needs(config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
    """The most memory that a rollout takes, in bytes.

    stable-baselines3 reorders the observations before learning, so for a while they are in memory twice.
    """
    assert observation_space.dtype is not None
    observation = int(np.prod(observation_space.shape)) * observation_space.dtype.itemsize
    return MemoryNeeds(rollout=_agent(config).n_steps * config.train.n_envs * (2 * observation + _ROLLOUT_BYTES))


def _agent(config: Config) -> PPOConfig:
    assert isinstance(config.agent, PPOConfig)
    return config.agent
