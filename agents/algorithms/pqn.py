"""PQN (Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning"): Q-learning without replay and target network.

Many games are played for a few decisions. The targets are the Q(lambda) returns of that rollout, computed once, before the
updates. They are Peng's: an exploring action does not cut them off. Layer normalisation (`agent.network.layer_norm`) keeps the
values from diverging, which is what a target network is for otherwise.

With the highest value of each observation as its value, generalised advantage estimation (Schulman et al. 2016) computes these
returns: a return is its advantage plus that value. So the rollouts are those of stable-baselines3's on-policy algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn import functional

from agents.algorithms.base import MemoryNeeds, OnPolicy
from agents.algorithms.exploration import Exploration, Explorer, spread
from agents.algorithms.heads import DuelingHead
from agents.algorithms.networks import network_arguments
from agents.algorithms.schedules import no_learning, schedule
from agents.extractors import UnscaledPictures
from agents.rollouts import buffer_class, rollout_bytes, rollout_steps_per_update
from configs import Config
from configs.agent import MunchausenConfig, PQNConfig

Explore = Callable[[torch.Tensor], torch.Tensor]


class PQNPolicy(BasePolicy, UnscaledPictures):
    """A network of Q-values, with the interface of stable-baselines3's policies.

    Args:
        observation_space: of pictures, uint8 (channels, height, width).
        action_space: n actions.
        lr_schedule: the learning rate by ``progress_remaining``.
        dueling: put a `DuelingHead` behind the extractor.
        net_arch: must be empty; the extractor has the hidden layer.
        arguments: those of stable-baselines3's BasePolicy.

    Attributes:
        explore: replaces the best actions, int64 (n,), where a game explores; None, as it is when playing: none.
        temperature: of a soft policy, whose values are returned; None: the policy is greedy, and so are its values.
    """

    explore: Explore | None = None
    temperature: float | None = None

    def __init__(
        self,
        observation_space: gym.spaces.Space[Any],
        action_space: gym.spaces.Discrete,
        lr_schedule: Schedule,
        *,
        dueling: bool = False,
        net_arch: list[int] | None = None,
        use_sde: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(observation_space, action_space, **arguments)
        self.dueling = dueling
        self.features_extractor = self.make_features_extractor()
        features, actions = self.features_extractor.features_dim, int(action_space.n)
        self.head = DuelingHead(features, actions) if dueling else nn.Linear(features, actions)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def q_values(self, observations: Any) -> torch.Tensor:
        """The values of all actions, float32 (n, actions)."""
        values: torch.Tensor = self.head(self.extract_features(observations, self.features_extractor))
        return values

    def forward(self, observations: Any, deterministic: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions to take, int64 (n,), values of the observations, float32 (n, 1), and the actions' log-probabilities, (n,).

        The log-probabilities are those of the soft policy; they are 0 without a temperature.
        """
        q_values = self.q_values(observations)
        actions = q_values.argmax(dim=1)
        if self.explore is not None and not deterministic:
            actions = self.explore(actions)
        values = self._values(q_values)
        if self.temperature is None:
            return actions, values, torch.zeros_like(values.squeeze(1))
        return actions, values, (q_values.gather(1, actions.unsqueeze(1)) - values).squeeze(1) / self.temperature

    def predict_values(self, observations: Any) -> torch.Tensor:
        """The value of each observation, float32 (n, 1): the highest of its actions, or the soft maximum."""
        return self._values(self.q_values(observations))

    def _values(self, q_values: torch.Tensor) -> torch.Tensor:
        if self.temperature is None:
            return q_values.amax(dim=1, keepdim=True)
        return self.temperature * (q_values / self.temperature).logsumexp(dim=1, keepdim=True)

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return self.q_values(observation).argmax(dim=1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "lr_schedule": no_learning, "dueling": self.dueling}


class PQN(OnPolicy):
    """PQN on stable-baselines3's on-policy base; see the docstring of the module.

    Args:
        policy: the class of the policy.
        env: its observations are uint8 (n_envs, channels, height, width).
        batch_size: samples in an update.
        n_epochs: how often each rollout is used.
        q_lambda: lambda of the returns.
        exploration: extensions of epsilon-greedy exploration.
        munchausen: Munchausen rewards; None: none.
        epsilon: the probability of exploring by ``progress_remaining``.
        final_epsilon: the last of it.
        arguments: as for stable-baselines3's OnPolicyAlgorithm.
    """

    policy: PQNPolicy  # type: ignore[assignment]

    def __init__(
        self,
        policy: type[PQNPolicy],
        env: VecEnv,
        *,
        batch_size: int,
        n_epochs: int,
        q_lambda: float,
        epsilon: Schedule,
        final_epsilon: float,
        exploration: Exploration | None = None,
        munchausen: MunchausenConfig | None = None,
        **arguments: Any,
    ) -> None:
        self.munchausen = munchausen
        self.batch_size, self.n_epochs = batch_size, n_epochs
        self.epsilon, self.final_epsilon, self.exploration = epsilon, final_epsilon, exploration or Exploration()
        unused = {"ent_coef": 0.0, "vf_coef": 0.0, "use_sde": False, "sde_sample_freq": -1}
        super().__init__(policy, env, gae_lambda=q_lambda, monitor_wrapper=False, **unused, **arguments)  # type: ignore[arg-type]

    def _setup_model(self) -> None:
        super()._setup_model()
        n_actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.policy.temperature = None if self.munchausen is None else self.munchausen.temperature
        self.explorer = Explorer(self.n_envs, n_actions, self.seed, self.exploration.duration_exponent)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "explorer", "epsilon"]

    def train(self) -> None:
        """Update with all samples of the rollout, `n_epochs` times."""
        self.policy.set_training_mode(True)
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        rate = optimizer.param_groups[0]["lr"]
        losses: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.get(self.batch_size):
                current = self.policy.q_values(batch.observations).gather(1, batch.actions.long().view(-1, 1)).squeeze(1)
                # Half of the squared error, as in the paper.
                loss = 0.5 * functional.mse_loss(current, batch.returns)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                for group in optimizer.param_groups:
                    group["lr"] = rate * rectification(self._n_updates + len(losses) + 1, group["betas"][1])
                optimizer.step()
                losses.append(loss.detach())
                values.append(current.detach().mean())
        self._n_updates += len(losses)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(torch.stack(losses).mean()))
        self.logger.record("train/q_mean", float(torch.stack(values).mean()))
        self.logger.record("train/epsilon", self.epsilon(self._current_progress_remaining))

    # Acting

    def collect_rollouts(self, *arguments: Any, **named: Any) -> bool:
        """As in the base class, with Munchausen rewards."""
        complete = super().collect_rollouts(*arguments, **named)
        if complete and self.munchausen is not None:
            self._add_munchausen_rewards(self.munchausen)
        return complete

    def decide(
        self, observations: torch.Tensor, games: slice, episode_starts: NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As in the base class; the games explore."""
        self.policy.explore = partial(self._explore, games, episode_starts)
        try:
            return super().decide(observations, games, episode_starts)
        finally:
            self.policy.explore = None

    def _add_munchausen_rewards(self, munchausen: MunchausenConfig) -> None:
        """Add the actions' scaled log-probabilities to the rewards, and compute the returns again."""
        buffer = self.rollout_buffer
        scaled = np.clip(munchausen.temperature * buffer.log_probs, munchausen.floor, 0.0)
        buffer.rewards += munchausen.alpha * scaled
        assert self._last_episode_starts is not None
        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(self._last_obs, self.device))  # type: ignore[arg-type]
        buffer.compute_returns_and_advantage(last_values=values, dones=self._last_episode_starts)

    def exploration_rates(self) -> list[float]:
        """For each game the probability that it begins to explore now."""
        return [float(epsilon) for epsilon in self.epsilons()]

    def epsilons(self) -> NDArray[np.float64]:
        """The epsilon of each game according to the schedule, float64 (n_envs,)."""
        epsilon = self.epsilon(self._current_progress_remaining)
        return spread(epsilon, self.final_epsilon, self.exploration.highest, self.n_envs)

    def _explore(self, games: slice, episode_starts: NDArray[np.bool_], best: torch.Tensor) -> torch.Tensor:
        self.explorer.end_episodes(episode_starts, games)
        random, explores = self.explorer.step(self.epsilons()[games], games)
        if not explores.any():
            return best
        return torch.where(torch.as_tensor(explores, device=best.device), torch.as_tensor(random, device=best.device), best)

    # Resuming

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the exploration."""
        return {"exploration": self.explorer.get_state()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the exploration."""
        self.explorer.set_state(state["exploration"])


def rectification(step: int, beta2: float) -> float:
    """The factor that makes Adam's learning rate that of RAdam, the paper's optimiser (Liu et al. 2020, algorithm 2).

    torch's RAdam makes a dozen passes over the weights, its fused Adam makes one. RAdam does not adapt its first five steps to
    the variance of the gradients; here they only collect the moments.

    Args:
        step: the number of the step, from 1.
        beta2: Adam's decay of the variance.
    """
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= 5:
        return 0.0
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


# From the configuration

# Arguments that have the same name in the configuration.
_SAME_NAME = ("gamma", "n_steps", "batch_size", "n_epochs", "q_lambda", "max_grad_norm")


def create(config: Config, env: VecEnv, *, device: str, seed: int) -> PQN:
    """PQN as `config.agent` describes it, untrained."""
    agent = _agent(config)
    policy, policy_arguments = policy_of(config)
    assert issubclass(policy, PQNPolicy)
    return PQN(
        policy,
        env,
        epsilon=LinearSchedule(agent.exploration_initial_eps, agent.exploration_final_eps, agent.exploration_fraction),
        final_epsilon=agent.exploration_final_eps,
        exploration=Exploration(agent.exploration_highest_eps, agent.exploration_zeta),
        munchausen=agent.munchausen,
        learning_rate=schedule(agent.learning_rate),
        rollout_buffer_class=buffer_class(device),
        policy_kwargs=policy_arguments,
        device=device,
        seed=seed,
        **{name: getattr(agent, name) for name in _SAME_NAME},
    )


def policy_of(config: Config) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy's class and its ``policy_kwargs``."""
    return PQNPolicy, {**network_arguments(config, 1e-8), "dueling": _agent(config).dueling}


def steps_per_update(config: Config) -> float:
    """The steps of a rollout, divided among its updates."""
    agent = _agent(config)
    return rollout_steps_per_update(agent.n_steps, config.train.n_envs, agent.batch_size, agent.n_epochs)


def evaluation_epsilon(config: Config) -> float:
    """The epsilon at the end of the training."""
    return _agent(config).exploration_final_eps


def memory_needs(config: Config, observation_space: gym.spaces.Box) -> MemoryNeeds:
    """The most memory that a rollout takes, in bytes."""
    return MemoryNeeds(rollout=rollout_bytes(_agent(config).n_steps * config.train.n_envs, observation_space))


def _agent(config: Config) -> PQNConfig:
    assert isinstance(config.agent, PQNConfig)
    return config.agent
