"""Algorithms that end on the decision they were told to end on.

stable-baselines3 collects in whole rollouts and runs past the total by up to one of them. Here the last rollout is as short as
what is left, and is still learned from. The total is rounded up to whole steps of all environments, nothing more.
"""

from __future__ import annotations

from typing import Any

from sb3_contrib import QRDQN
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutReturn, Schedule, TrainFreq
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from agents.exploration import Explores
from agents.overlap import MayOverlap
from agents.schedules import Planned
from agents.seeding import SeedsApart


def _steps_left(total: int, done: int, n_envs: int) -> int:
    """Steps of all environments together until `total` decisions."""
    return max(-(-(total - done) // n_envs), 1)


class ExactOffPolicy(SeedsApart, Planned, Explores, MayOverlap):
    """What DQN and QR-DQN share; to be inherited before them."""

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
        left = _steps_left(self._total_timesteps, self.num_timesteps, self.n_envs)
        shortened = TrainFreq(min(train_freq.frequency, left), train_freq.unit)
        return super().collect_rollouts(env, callback, shortened, replay_buffer, action_noise, learning_starts, log_interval)


class ExactDQN(ExactOffPolicy, DQN):
    """Mnih et al. 2015."""


class ExactQRDQN(ExactOffPolicy, QRDQN):
    """Dabney et al. 2017."""


class ExactPPO(SeedsApart, Planned, PPO):
    """Schulman et al. 2017; `ent_coef` may be a schedule, as the library's learning rate and clip range may."""

    def __init__(
        self, policy: type[ActorCriticPolicy], env: VecEnv, ent_coef: float | Schedule = 0.0, **arguments: Any
    ) -> None:
        self.ent_coef_schedule = FloatSchedule(ent_coef)
        super().__init__(policy, env, ent_coef=self.ent_coef_schedule(1.0), **arguments)

    def train(self) -> None:
        """As in stable-baselines3, with the entropy's weight of this moment."""
        self.ent_coef = self.ent_coef_schedule(self._current_progress_remaining)
        self.logger.record("train/ent_coef", self.ent_coef)
        super().train()

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in stable-baselines3, with a rollout buffer of its own for a last, shorter rollout."""
        left = _steps_left(self._total_timesteps, self.num_timesteps, self.n_envs)
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
