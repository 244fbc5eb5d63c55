"""PPO (Schulman et al. 2017) of stable-baselines3, with a schedule for the entropy bonus and an exact end."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import stable_baselines3
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms.base import MemoryNeeds, OnPolicy
from agents.algorithms.networks import network_arguments
from agents.algorithms.schedules import schedule
from agents.extractors import UnscaledPictures
from agents.rollouts import buffer_class, rollout_bytes, rollout_steps_per_update
from configs import Config
from configs.agent import PPOConfig


class PPOPolicy(ActorCriticCnnPolicy, UnscaledPictures):  # type: ignore[misc]
    """stable-baselines3's policy; pictures stay bytes up to the extractor."""


class PPO(OnPolicy, stable_baselines3.PPO):
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
        rollout_buffer_class=buffer_class(device),
        policy_kwargs=policy_arguments,
        device=device,
        seed=seed,
        **{name: getattr(agent, name) for name in _SAME_NAME},
    )


def policy_of(config: Config) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy's class and its ``policy_kwargs``; Adam's epsilon is that of stable-baselines3's ActorCriticPolicy."""
    return PPOPolicy, network_arguments(config, 1e-5)


def steps_per_update(config: Config) -> float:
    """The steps of a rollout, divided among its updates."""
    agent = _agent(config)
    return rollout_steps_per_update(agent.n_steps, config.train.n_envs, agent.batch_size, agent.n_epochs)


def evaluation_epsilon(config: Config) -> float:
    """0: actions are drawn from the policy."""
    return 0.0


def memory_needs(config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
    """The most memory that a rollout takes, in bytes."""
    return MemoryNeeds(rollout=rollout_bytes(_agent(config).n_steps * config.train.n_envs, observation_space))


def _agent(config: Config) -> PPOConfig:
    assert isinstance(config.agent, PPOConfig)
    return config.agent
