"""From a configuration to a learning algorithm: the only place that names hyperparameters to stable-baselines3."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.compilation import compile_networks, require_compiler
from agents.deferred_losses import DefersLosses, losses_kept
from agents.dueling import DuelingDQNPolicy, DuelingQRDQNPolicy
from agents.errors import DeviceError
from agents.exact_length import ExactDQN, ExactPPO, ExactQRDQN
from agents.exploration import Exploration, Explores
from agents.frame_replay import FrameReplayBuffer
from agents.networks import available_precision, extractor_arguments
from agents.noisy import NoisyDQNPolicy, NoisyDuelingDQNPolicy, NoisyDuelingQRDQNPolicy, NoisyQRDQNPolicy, set_noise
from agents.overlap import Meanwhile
from agents.prioritised_learning import (
    PrioritisedDoubleDQN,
    PrioritisedDoubleQRDQN,
    PrioritisedDQN,
    PrioritisedQRDQN,
)
from agents.prioritised_replay import PrioritisedReplayBuffer
from agents.rollout import rollout_buffer_class
from agents.schedules import Planned, schedule
from agents.value_learning import DoubleDQN, DoubleQRDQN, SampledDQN, SampledQRDQN
from configs.schema import AgentConfig, Config, PPOConfig

_log = logging.getLogger(__name__)


class _Kinds(NamedTuple):
    """The classes of an algorithm that its switches choose from."""

    plain: type[BaseAlgorithm]
    plain_on_gpu: type[BaseAlgorithm]
    double: type[BaseAlgorithm]
    prioritised: type[BaseAlgorithm]
    double_prioritised: type[BaseAlgorithm]
    dueling_policy: type[BasePolicy]
    noisy_policy: type[BasePolicy]
    noisy_dueling_policy: type[BasePolicy]


# Without a switch the updates are the libraries' own code on a CPU. On a GPU those would wait for it at each update, to read
# the loss.
_REPLAY_KINDS: dict[str, _Kinds] = {
    "dqn": _Kinds(
        *(ExactDQN, SampledDQN, DoubleDQN, PrioritisedDQN, PrioritisedDoubleDQN),
        *(DuelingDQNPolicy, NoisyDQNPolicy, NoisyDuelingDQNPolicy),
    ),
    "qrdqn": _Kinds(
        *(ExactQRDQN, SampledQRDQN, DoubleQRDQN, PrioritisedQRDQN, PrioritisedDoubleQRDQN),
        *(DuelingQRDQNPolicy, NoisyQRDQNPolicy, NoisyDuelingQRDQNPolicy),
    ),
}

# Of a decision in a rollout beside its picture: an action (8 bytes), and six numbers (4 each).
_ROLLOUT_BYTES = 32

# Handed over under the very name the configuration has; everything else needs translation below.
_SHARED = ("gamma",)
_REPLAY = (
    "buffer_size",
    "learning_starts",
    "batch_size",
    "tau",
    "train_freq",
    "gradient_steps",
    "target_update_interval",
    "exploration_fraction",
    "exploration_initial_eps",
    "exploration_final_eps",
    "max_grad_norm",
)
_PPO = (
    "n_steps",
    "batch_size",
    "n_epochs",
    "gae_lambda",
    "normalize_advantage",
    "vf_coef",
    "max_grad_norm",
    "target_kl",
)


def build(config: Config, env: VecEnv, *, device: str = "auto", seed: int | None = None) -> BaseAlgorithm:
    """The algorithm of `config.agent`, untrained, on `env` (observations uint8 (n, channels, height, width)).

    With `train.overlap` `env` is wrapped, so that an update runs between its `step_async` and its `step_wait`.
    Frames are handed over as raw uint8: stable-baselines3's policies divide by 255 themselves.

    Args:
        seed: instead of `config.seed`; for a training that goes on from a checkpoint.

    Raises:
        DeviceError: `device` is "cuda" and there is none, or `train.compile` is set and there is no compiler.
    """
    device = resolve_device(device)
    if config.train.compile:
        require_compiler(device)
    precision = available_precision(config.train.precision, device)
    arguments = algorithm_arguments(config.agent, device, precision)
    if config.train.overlap:
        env = Meanwhile(env)
    with _library_warnings_logged():
        model = algorithm_class(config.agent, device)(
            policy=_policy_class(config.agent),
            env=env,
            policy_kwargs=policy_arguments(config, precision),
            device=device,
            seed=config.seed if seed is None else seed,
            verbose=0,
            **arguments,
        )
    if isinstance(model, Explores) and not isinstance(config.agent, PPOConfig):
        model.exploration = Exploration(config.agent.exploration_highest_eps, config.agent.exploration_zeta)
    assert isinstance(model, Planned)
    model.planned_steps = config.train.planned_steps
    if isinstance(model, DefersLosses):
        model.losses_kept = losses_kept(device)
    set_noise(model.policy, True)
    if config.train.compile:
        compile_networks(model)
    return model


def build_policy(
    config: Config, observation_space: gym.spaces.Box, n_actions: int, *, device: str = "cpu", precision: str = "float32"
) -> BasePolicy:
    """The policy alone (no replay memory, no environment), to load weights into."""
    space = gym.spaces.Discrete(n_actions)
    policy = _policy_class(config.agent)(observation_space, space, _no_learning, **policy_arguments(config, precision))
    return policy.to(resolve_device(device))


def algorithm_class(agent: AgentConfig, device: str) -> type[BaseAlgorithm]:
    """What learns on `device`, "cpu" or "cuda"."""
    if isinstance(agent, PPOConfig):
        return ExactPPO
    kinds = _REPLAY_KINDS[agent.algorithm]
    if agent.prioritised is not None:
        return kinds.double_prioritised if agent.double else kinds.prioritised
    if agent.double:
        return kinds.double
    return kinds.plain_on_gpu if device.startswith("cuda") else kinds.plain


def _policy_class(agent: AgentConfig) -> type[BasePolicy]:
    if not isinstance(agent, PPOConfig):
        kinds = _REPLAY_KINDS[agent.algorithm]
        if agent.noisy:
            return kinds.noisy_dueling_policy if agent.dueling else kinds.noisy_policy
        if agent.dueling:
            return kinds.dueling_policy
    return algorithm_class(agent, "cpu").policy_aliases["CnnPolicy"]


def policy_arguments(config: Config, precision: str = "float32") -> dict[str, Any]:
    """stable-baselines3's ``policy_kwargs`` of `config`; to play needs no other precision than float32."""
    arguments = extractor_arguments(config.agent.network, config.environment.observation, precision)
    arguments["optimizer_class"] = torch.optim.Adam
    # One pass over the weights instead of a dozen: a step takes a fifth of the time on a CPU, and is the same but for rounding.
    arguments["optimizer_kwargs"] = {"eps": _adam_epsilon(config), "fused": True}
    if config.agent.algorithm == "qrdqn":
        arguments["n_quantiles"] = config.agent.n_quantiles
    return arguments


def _adam_epsilon(config: Config) -> float:
    """What each library would choose itself, did we not name `fused`."""
    match config.agent.algorithm:
        case "qrdqn":
            return 0.01 / config.agent.batch_size  # Dabney et al. 2017, section 4.2
        case "ppo":
            return 1e-5  # stable-baselines3's ActorCriticPolicy
        case "dqn":
            return 1e-8  # torch's


def resolve_device(device: str) -> str:
    """ "auto" becomes "cuda" where there is a usable GPU, else "cpu".

    Raises:
        DeviceError: "cuda" was asked for and torch sees none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "train.device is cuda, but torch sees no GPU: install torch with CUDA and a driver, or set train.device to auto"
        )
    return device


def replay_bytes(config: Config, observation_space: gym.spaces.Box) -> int:
    """Bytes of memory the replay buffer takes once it is full; 0 for PPO."""
    if isinstance(config.agent, PPOConfig):
        return 0
    any_action = gym.spaces.Discrete(2)
    memory = FrameReplayBuffer if config.agent.prioritised is None else PrioritisedReplayBuffer
    return memory.bytes_for(config.agent.buffer_size, config.train.n_envs, observation_space, any_action)


def rollout_bytes(config: Config, observation_space: gym.spaces.Box) -> int:
    """Most bytes of memory that a rollout of PPO takes; 0 for the algorithms with a replay buffer.

    The library lays the pictures out in another order before it learns from them: for a while they are there twice.
    """
    if not isinstance(config.agent, PPOConfig):
        return 0
    assert observation_space.dtype is not None
    picture = int(np.prod(observation_space.shape)) * observation_space.dtype.itemsize
    return config.agent.n_steps * config.train.n_envs * (2 * picture + _ROLLOUT_BYTES)


def algorithm_arguments(agent: AgentConfig, device: str, precision: str = "float32") -> dict[str, Any]:
    """What `algorithm_class` takes beside policy, environment, device and seed."""
    # Convolutions on a CPU, and those of a GPU in half precision, work in this layout: on a CPU an update is a tenth faster
    # with it (benchmarks/learner.py). The weights stay as they are: laid out so as well they gain nothing there, and acting,
    # on observations that are not, is slower.
    channels_last = device == "cpu" or precision == "bfloat16"
    names = _SHARED + (_PPO if isinstance(agent, PPOConfig) else _REPLAY)
    arguments = {name: getattr(agent, name) for name in names}
    arguments["learning_rate"] = schedule(agent.learning_rate)
    if isinstance(agent, PPOConfig):
        arguments["ent_coef"] = schedule(agent.ent_coef)
        arguments["clip_range"] = schedule(agent.clip_range)
        arguments["rollout_buffer_class"] = rollout_buffer_class(device, channels_last=channels_last)
        arguments["clip_range_vf"] = None if agent.clip_range_vf is None else schedule(agent.clip_range_vf)
    else:
        arguments["replay_buffer_class"] = FrameReplayBuffer
        # Told to the buffer alone: of `n_steps` for the algorithm the library warns that it ignores it.
        arguments["replay_buffer_kwargs"] = {
            "n_steps": agent.n_steps,
            "gamma": agent.gamma,
            "channels_last": channels_last,
        }
        if agent.prioritised is not None:
            arguments["replay_buffer_class"] = PrioritisedReplayBuffer
            arguments["replay_buffer_kwargs"] |= agent.prioritised.model_dump()
    return arguments


@contextmanager
def _library_warnings_logged() -> Iterator[None]:
    """Advice of the library at construction (memory, batch sizes) goes to the log instead of being a Python warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        _log.warning("%s", warning.message)


def _no_learning(_: float) -> float:
    return 0.0
