"""Builds the configured algorithm.

A new algorithm is a module with the functions of `AlgorithmModule`, and a line in `ALGORITHMS`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms import dqn, ppo, pqn
from agents.algorithms.base import AlgorithmBase, MemoryNeeds
from agents.algorithms.schedules import no_learning
from agents.device import resolve_device
from configs import Config

_log = logging.getLogger(__name__)


class AlgorithmModule(Protocol):
    """The functions that a module provides for each algorithm that `ALGORITHMS` assigns to it."""

    def create(self, config: Config, env: VecEnv, *, device: str, seed: int) -> AlgorithmBase:
        """The algorithm of `config.agent`, untrained; `device` is "cpu" or "cuda"."""

    def policy_of(self, config: Config) -> tuple[type[BasePolicy], dict[str, Any]]:
        """The class of the policy and its ``policy_kwargs``, which suffice to load weights and play."""

    def steps_per_update(self, config: Config) -> float:
        """Steps of all environments together before each update; they decide how many threads are best."""

    def evaluation_epsilon(self, config: Config) -> float:
        """The probability of a random action when its policy plays stochastically; 0 if it draws from its policy."""

    def memory_needs(self, config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
        """The memory that observations take, in bytes, for the smoke test."""


ALGORITHMS: Final[dict[str, AlgorithmModule]] = {"dqn": dqn, "qrdqn": dqn, "ppo": ppo, "pqn": pqn}
"""`agent.algorithm` -> module."""


def build(config: Config, env: VecEnv, *, device: str = "auto", seed: int | None = None) -> BaseAlgorithm:
    """Build the algorithm of `config.agent`, untrained, for `env` with observations uint8 (n, channels, height, width).

    Observations are not scaled: the policies of stable-baselines3 divide by 255 themselves.

    Args:
        seed: overrides `config.seed`, for a training that resumes from a checkpoint.

    Raises:
        DeviceError: `device` is "cuda" and there is none.
    """
    device = resolve_device(device)
    with _library_warnings_logged():
        model = ALGORITHMS[config.agent.algorithm].create(
            config, env, device=device, seed=config.seed if seed is None else seed
        )
    model.planned_steps = config.train.planned_steps
    if config.agent.average_decay is not None:
        model.start_average(config.agent.average_decay)
    return model


def build_policy(config: Config, observation_space: gym.spaces.Box, n_actions: int, *, device: str = "cpu") -> BasePolicy:
    """Build only the policy, to load weights into; no replay buffer and no environment are needed."""
    policy, arguments = ALGORITHMS[config.agent.algorithm].policy_of(config)
    return policy(observation_space, gym.spaces.Discrete(n_actions), no_learning, **arguments).to(resolve_device(device))


def memory_needs(config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
    """The memory that the replay buffer or a rollout of `config.agent` takes, in bytes."""
    return ALGORITHMS[config.agent.algorithm].memory_needs(config, observation_space)


def steps_per_update(config: Config) -> float:
    """Steps of all environments together before each update of `config.agent`."""
    return ALGORITHMS[config.agent.algorithm].steps_per_update(config)


def evaluation_epsilon(config: Config) -> float:
    """The probability of a random action when a policy of `config.agent` plays stochastically."""
    return ALGORITHMS[config.agent.algorithm].evaluation_epsilon(config)


@contextmanager
def _library_warnings_logged() -> Iterator[None]:
    """Log the warnings of stable-baselines3 (memory, batch sizes) instead of raising them as Python warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        _log.warning("%s", warning.message)
