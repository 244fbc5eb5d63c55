"""DQN (Mnih et al. 2015) and QR-DQN (Dabney et al. 2017), with extensions from later papers.

`ValueLearning` is one algorithm whose parts the configuration chooses:

- target: plain, or double (van Hasselt et al. 2016);
- value: the mean return, or quantiles of its distribution (QR-DQN);
- replay: uniform, or prioritised (Schaul et al. 2016);
- head of the network: plain, or dueling (`agents.algorithms.heads`);
- exploration: epsilon-greedy (`agents.algorithms.exploration`), or noisy layers (`agents.algorithms.heads`).

With every switch off an update is stable-baselines3's DQN or sb3-contrib's QR-DQN, bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import ReplayBufferSamples, RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn import functional

from agents.algorithms.base import AlgorithmBase, MemoryNeeds
from agents.algorithms.exploration import Exploration, Explorer, spread
from agents.algorithms.heads import set_noise, value_policy
from agents.algorithms.networks import network_arguments
from agents.algorithms.schedules import schedule
from agents.replay import FrameReplayBuffer, PrioritisedReplayBuffer, ReplayBatch
from configs import Config
from configs.agent import DQNConfig, QRDQNConfig


class Value(Protocol):
    """The interpretation of a network's output as values of actions, and the loss between two of them."""

    network: str
    """The name of the policy's attribute with the network; `network` + "_target" has the target network."""

    def greedy(self, values: torch.Tensor) -> torch.Tensor:
        """The best actions, int64 (batch,), according to the network's output."""

    def of_actions(self, values: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """The values of `actions`, int64 (batch,), from the network's output: float32 (batch, numbers)."""

    def losses(self, current: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each sample, float32 (batch,); both arguments are float32 (batch, numbers)."""

    def errors(self, current: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """The error of each sample's value, float32 (batch,), from which prioritised replay derives its priority."""


class MeanValue:
    """Q-values, float32 (batch, actions): the mean return of each action."""

    network = "q_net"

    def greedy(self, values: torch.Tensor) -> torch.Tensor:
        return values.argmax(dim=1)

    def of_actions(self, values: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return values.gather(1, actions[:, None])

    def losses(self, current: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Huber losses with kappa 1."""
        return functional.smooth_l1_loss(current, targets, reduction="none").squeeze(1)

    def errors(self, current: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """Absolute temporal-difference errors, as in Schaul et al. 2016."""
        return (targets - current.detach()).abs().squeeze(1)


class QuantileValue:
    """Quantiles, float32 (batch, quantiles, actions): the distribution of each action's return."""

    network = "quantile_net"

    def greedy(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(dim=1).argmax(dim=1)

    def of_actions(self, values: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return values.take_along_dim(actions[:, None, None], dim=2).squeeze(2)

    def losses(self, current: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Equation 10 of Dabney et al. 2017 with kappa 1: each quantile against all targets."""
        quantiles = current.shape[1]
        middles = (torch.arange(quantiles, device=current.device, dtype=current.dtype) + 0.5) / quantiles
        pairs = current[:, :, None].expand(-1, -1, quantiles), targets[:, None, :].expand(-1, quantiles, -1)
        huber = functional.huber_loss(*pairs, reduction="none")
        asymmetry = (middles[None, :, None] - (pairs[1] - pairs[0].detach() < 0).to(current.dtype)).abs()
        return (asymmetry * huber).sum(dim=1).mean(dim=1)

    def errors(self, current: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """The losses, as in Hessel et al. 2018 (Rainbow) for distributions."""
        return losses.detach()


class ValueLearning(AlgorithmBase, stable_baselines3.DQN):
    """DQN or QR-DQN with exchangeable parts; see the docstring of the module.

    Args:
        policy: a policy of DQN for a `MeanValue`, of QR-DQN for a `QuantileValue`; it determines head and noise.
        env: its observations are uint8 (n_envs, channels, height, width).
        value: the interpretation of the network's output; default: `MeanValue`.
        double: the network chooses the next action, the target network evaluates it.
        exploration: extensions of epsilon-greedy exploration.
        arguments: as for stable-baselines3's DQN. ``replay_buffer_class`` determines how transitions are sampled.
    """

    def __init__(
        self,
        policy: type[BasePolicy],
        env: VecEnv,
        *,
        value: Value | None = None,
        double: bool = False,
        exploration: Exploration | None = None,
        **arguments: Any,
    ) -> None:
        self.value, self.double, self.exploration = value or MeanValue(), double, exploration or Exploration()
        super().__init__(policy, env, **arguments)  # type: ignore[arg-type]

    def _setup_model(self) -> None:
        super()._setup_model()
        n_actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.explorer = Explorer(self.n_envs, n_actions, self.seed, self.exploration.duration_exponent)
        set_noise(self.policy, True)
        # It has no layer that this changes; only rounding differs, in the faster way (`agents.extractors`).
        self.q_net_target.train()

    def _create_aliases(self) -> None:
        self.q_net = getattr(self.policy, self.value.network)
        self.q_net_target = getattr(self.policy, f"{self.value.network}_target")

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "explorer"]

    # Updates

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Do `gradient_steps` updates with `batch_size` samples each."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = [self._update(batch_size) for _ in range(gradient_steps)]
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(np.mean(torch.stack(losses).tolist())))

    def _update(self, batch_size: int) -> torch.Tensor:
        """Do one update; returns its loss, float32 ()."""
        buffer, value = self.replay_buffer, self.value
        batch = self._sample(batch_size)
        current, targets = self.compare(batch.samples)
        losses = value.losses(current, targets)
        loss = losses.mean() if batch.weights is None else (batch.weights * losses).mean()

        self.policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()

        if isinstance(buffer, PrioritisedReplayBuffer):
            buffer.update_priorities(batch.indices, value.errors(current, targets, losses).cpu().numpy())
        return loss.detach()

    def compare(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of the samples' actions, and the targets they are trained towards.

        Returns:
            Both float32 (batch, numbers): one number for a mean, the quantiles for a distribution. Only the values have
            gradients.
        """
        value = self.value
        discounts = self.gamma if samples.discounts is None else samples.discounts
        with torch.no_grad():
            following = self.q_net_target(samples.next_observations)
            choosing = self.q_net(samples.next_observations) if self.double else following
            best = value.of_actions(following, value.greedy(choosing))
            targets = samples.rewards + (1 - samples.dones) * discounts * best
        current = value.of_actions(self.q_net(samples.observations), samples.actions.long().squeeze(1))
        return current, targets

    def _sample(self, batch_size: int) -> ReplayBatch:
        buffer = self.replay_buffer
        assert buffer is not None
        if isinstance(buffer, PrioritisedReplayBuffer):
            return buffer.sample_weighted(batch_size, buffer.beta(self._current_progress_remaining))
        return ReplayBatch(buffer.sample(batch_size))

    # Acting

    def exploration_rates(self) -> list[float]:
        """For each game the probability that it begins to explore now: 1 before learning starts."""
        if self.num_timesteps <= self.learning_starts:
            return [1.0] * self.n_envs
        return [float(epsilon) for epsilon in self.epsilons()]

    def epsilons(self) -> NDArray[np.float64]:
        """The epsilon of each game according to the schedule, float64 (n_envs,)."""
        return spread(self.exploration_rate, self.exploration_final_eps, self.exploration.highest, self.n_envs)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Actions of all games, int64 (n_envs,), twice: to take, and to store in the replay buffer."""
        epsilons = np.ones(n_envs) if self.num_timesteps < learning_starts else self.epsilons()
        random, explores = self.explorer.step(epsilons)
        if explores.all():
            return random, random
        assert self._last_obs is not None
        best, _ = self.policy.predict(self._last_obs, deterministic=True)
        actions = np.where(explores, random, best)
        return actions, actions

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self.explorer.end_episodes(dones)

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """As in stable-baselines3, but the last rollout is shortened to the steps that are left; an update follows it too."""
        shortened = TrainFreq(min(train_freq.frequency, self.steps_left()), train_freq.unit)
        return super().collect_rollouts(env, callback, shortened, replay_buffer, action_noise, learning_starts, log_interval)

    # Resuming

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the exploration."""
        return {"exploration": self.explorer.get_state()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the exploration."""
        self.explorer.set_state(state["exploration"])


# From the configuration

# Arguments of stable-baselines3 that have the same name in the configuration.
_SAME_NAME = (
    "gamma",
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


def create(config: Config, env: VecEnv, *, device: str, seed: int) -> ValueLearning:
    """DQN or QR-DQN as `config.agent` describes it, untrained."""
    agent = _agent(config)
    policy, policy_arguments = policy_of(config)
    return ValueLearning(
        policy,
        env,
        value=QuantileValue() if isinstance(agent, QRDQNConfig) else MeanValue(),
        double=agent.double,
        exploration=Exploration(agent.exploration_highest_eps, agent.exploration_zeta),
        learning_rate=schedule(agent.learning_rate),
        policy_kwargs=policy_arguments,
        device=device,
        seed=seed,
        **_replay_arguments(agent, device),
        **{name: getattr(agent, name) for name in _SAME_NAME},
    )


def policy_of(config: Config) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy's class and its ``policy_kwargs``."""
    agent = _agent(config)
    policy, arguments = value_policy(agent.algorithm, dueling=agent.dueling, noisy=agent.noisy)
    if isinstance(agent, QRDQNConfig):
        # Adam's epsilon is that of Dabney et al. 2017, section 4.2.
        return policy, {
            **network_arguments(config, 0.01 / agent.batch_size),
            "n_quantiles": agent.n_quantiles,
            **arguments,
        }
    return policy, {**network_arguments(config, 1e-8), **arguments}


def steps_per_update(config: Config) -> float:
    """`train_freq`, divided among the updates after it."""
    agent = _agent(config)
    return agent.train_freq / (agent.gradient_steps if agent.gradient_steps > 0 else agent.train_freq * config.train.n_envs)


def evaluation_epsilon(config: Config) -> float:
    """The epsilon at the end of the training."""
    return _agent(config).exploration_final_eps


def memory_needs(config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
    """Bytes of the replay buffer once it is full."""
    agent = _agent(config)
    buffer, any_action = _buffer_class(agent), gym.spaces.Discrete(2)
    return MemoryNeeds(replay=buffer.bytes_for(agent.buffer_size, config.train.n_envs, observation_space, any_action))


def _agent(config: Config) -> DQNConfig | QRDQNConfig:
    assert isinstance(config.agent, DQNConfig | QRDQNConfig)
    return config.agent


def _buffer_class(agent: DQNConfig | QRDQNConfig) -> type[FrameReplayBuffer]:
    return FrameReplayBuffer if agent.prioritised is None else PrioritisedReplayBuffer


def _replay_arguments(agent: DQNConfig | QRDQNConfig, device: str) -> dict[str, Any]:
    # Convolutions on a CPU work in this layout: an update is a tenth faster with it (benchmarks/learner.py). The weights keep
    # their layout: they would gain nothing, and acting on observations in the other layout would be slower.
    layout = {"channels_last": device == "cpu"}
    priorities = {} if agent.prioritised is None else agent.prioritised.model_dump()
    # `n_steps` goes only to the buffer: given to the algorithm, stable-baselines3 warns that it is ignored.
    returns = {"n_steps": agent.n_steps, "gamma": agent.gamma}
    return {"replay_buffer_class": _buffer_class(agent), "replay_buffer_kwargs": {**returns, **layout, **priorities}}
