"""PPO (Schulman et al. 2017) of stable-baselines3, with a schedule for the entropy bonus and an exact end.

stable-baselines3 reads five numbers for each batch, and a GPU is waited for each time. Here they are read once a rollout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples, Schedule
from stable_baselines3.common.utils import FloatSchedule, explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.distributions import Categorical, Distribution
from torch.nn import functional

from agents.algorithms.base import MemoryNeeds, OnPolicy
from agents.algorithms.networks import network_arguments
from agents.algorithms.schedules import schedule
from agents.extractors import UnscaledPictures
from agents.rollouts import AdvisedSamples, buffer_class, rollout_bytes, rollout_steps_per_update
from configs import Config
from configs.agent import PPOConfig


class PPOPolicy(ActorCriticCnnPolicy, UnscaledPictures):  # type: ignore[misc]
    """stable-baselines3's policy; pictures stay bytes up to the extractor."""

    def choices(self, observations: torch.Tensor) -> tuple[torch.Tensor, Categorical]:
        """The values of observations, float32 (n,), and the distributions of their actions."""
        policy_latent, value_latent = self.mlp_extractor(self.extract_features(observations))
        distribution = self._get_action_dist_from_latent(policy_latent).distribution
        assert isinstance(distribution, Categorical)
        return self.value_net(value_latent).flatten(), distribution


class Figures(NamedTuple):
    """What an update reports, float32 scalars on the device; in the order in which they are recorded."""

    policy_gradient_loss: torch.Tensor
    value_loss: torch.Tensor
    entropy_loss: torch.Tensor
    clip_fraction: torch.Tensor
    approx_kl: torch.Tensor
    teacher_divergence: torch.Tensor  # Kullback-Leibler, from the teacher's choices; 0 without a teacher
    loss: torch.Tensor


class PPO(OnPolicy, stable_baselines3.PPO):
    """stable-baselines3's PPO. `ent_coef` may be a schedule, like the learning rate and the clip range.

    With an adviser the loss gets the cross-entropy between the adviser's choices and the policy's, weighted by
    `teacher_weight` (Schmitt et al. 2018, "Kickstarting Deep Reinforcement Learning"), which may be a schedule, too.
    """

    policy: PPOPolicy

    def __init__(
        self,
        policy: type[ActorCriticPolicy],
        env: VecEnv,
        ent_coef: float | Schedule = 0.0,
        teacher_weight: float | Schedule = 1.0,
        **arguments: Any,
    ) -> None:
        self.ent_coef_schedule = FloatSchedule(ent_coef)
        self.teacher_weight_schedule = FloatSchedule(teacher_weight)
        super().__init__(policy, env, ent_coef=self.ent_coef_schedule(1.0), **arguments)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "adviser"]

    def train(self) -> None:
        """As in stable-baselines3, bit for bit on a CPU, with the current weight of the entropy."""
        progress = self._current_progress_remaining
        self.ent_coef = self.ent_coef_schedule(progress)
        clip_range = _at(self.clip_range, progress)
        clip_range_vf = None if self.clip_range_vf is None else _at(self.clip_range_vf, progress)
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        with _unchecked_distributions() if self.device.type != "cpu" else nullcontext():
            epoch, measured = self._learn_from_rollout(clip_range, clip_range_vf)
        for name, values in zip(Figures._fields, measured.T, strict=True):
            if name != "teacher_divergence" or self.adviser is not None:
                self.logger.record(f"train/{name}", np.mean(values.astype(np.float64)))
        # Of the last epoch and the last batch.
        self.logger.record("train/approx_kl", np.mean(measured[epoch:, Figures._fields.index("approx_kl")]))
        self.logger.record("train/loss", float(measured[-1, -1]))
        buffer = self.rollout_buffer
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", self.ent_coef)
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _learn_from_rollout(self, clip_range: float, clip_range_vf: float | None) -> tuple[int, NDArray[np.float32]]:
        """Update with the rollout, `n_epochs` times or until `target_kl` is exceeded.

        Returns:
            The batch with which the last epoch began, and the `Figures` of all batches, float32 (batches, figures).
        """
        figures: list[torch.Tensor] = []
        for _ in range(self.n_epochs):
            epoch, within = len(figures), True
            for batch in self.rollout_buffer.get(self.batch_size):
                found = self._losses(batch, clip_range, clip_range_vf)
                figures.append(torch.stack(found).detach())
                within = self.target_kl is None or float(found.approx_kl) <= 1.5 * self.target_kl
                if not within:
                    break
                self.policy.optimizer.zero_grad()
                found.loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if not within:
                break
        return epoch, torch.stack(figures).cpu().numpy()

    def _losses(self, batch: RolloutBufferSamples | AdvisedSamples, clip_range: float, clip_range_vf: float | None) -> Figures:
        values, choices = self.policy.choices(batch.observations)
        log_prob = choices.log_prob(batch.actions.long().flatten())  # type: ignore[no-untyped-call]
        entropy = choices.entropy()  # type: ignore[no-untyped-call]
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = torch.exp(log_prob - batch.old_log_prob)
        clipped = advantages * torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantages * ratio, clipped).mean()
        if clip_range_vf is not None:
            values = batch.old_values + torch.clamp(values - batch.old_values, -clip_range_vf, clip_range_vf)
        value_loss = functional.mse_loss(batch.returns, values)
        entropy_loss = -torch.mean(entropy)
        with torch.no_grad():
            clip_fraction = torch.mean((torch.abs(ratio - 1) > clip_range).float())
            log_ratio = log_prob - batch.old_log_prob
            approx_kl = torch.mean((torch.exp(log_ratio) - 1) - log_ratio)
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        divergence = torch.zeros_like(approx_kl)
        if isinstance(batch, AdvisedSamples):
            divergence = functional.kl_div(choices.logits, batch.advice, reduction="batchmean")
            loss = loss + self.teacher_weight_schedule(self._current_progress_remaining) * divergence
        return Figures(policy_loss, value_loss, entropy_loss, clip_fraction, approx_kl, divergence, loss)


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Distributions do not check their arguments within the block: a GPU would be waited for, twice a batch."""
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)


def _at(schedule: Any, progress: float) -> float:
    """The value of a schedule; stable-baselines3's types allow a number, too."""
    return float(schedule(progress))


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
        teacher_weight=1.0 if config.train.teacher is None else schedule(config.train.teacher.weight),
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
