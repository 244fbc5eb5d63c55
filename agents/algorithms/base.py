"""The base classes of the algorithms: separate seeds, planned schedules, an exact end, averaged weights and extra state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.rollouts import Collecting
from configs.seeds import Stream, seed_of, sequence


class MemoryNeeds(NamedTuple):
    """Bytes of memory that an algorithm fills with observations.

    Attributes:
        replay: the replay buffer, once it is full.
        rollout: the most that one rollout takes.
    """

    replay: int = 0
    rollout: int = 0


class AlgorithmBase(BaseAlgorithm):
    """Base class of the algorithms; list it before the class of stable-baselines3.

    Attributes:
        planned_steps: the step at which schedules end; None: the end of the training. In an extended training the schedules
            have ended: learning rate, exploration and the rest keep their last values. A new schedule over all steps would
            raise the learning rate again, and undo what has converged.
        average: the policy with the moving average of its weights over the updates; None: no average is kept.
    """

    planned_steps: int | None = None
    average: AveragedModel | None = None

    def start_average(self, decay: float) -> None:
        """Average the weights over the updates from now on (Polyak and Juditsky 1992), as an exponential moving average.

        A greedy policy of values changes from update to update; the average of many updates is steadier.

        Args:
            decay: the share of the average that an update leaves, between 0 and 1.
        """
        average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        average.requires_grad_(False)
        average.eval()
        self.average = average
        self.policy.optimizer.register_step_post_hook(lambda *_: average.update_parameters(self.policy))

    @property
    def playing_policy(self) -> BasePolicy:
        """The policy to evaluate and to save: the one with averaged weights, if there is one."""
        return cast(BasePolicy, self.policy if self.average is None else self.average.module)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed NumPy, torch, the action space and the environments, each with its own stream; None changes nothing.

        stable-baselines3 seeds all of them with the same number. NumPy's and torch's global generators are both Mersenne
        twisters, and the same seed gives both the same bits. Python's own generator is left alone: no training uses it.
        """
        if seed is None:
            return
        np.random.seed(sequence(seed, Stream.NUMPY).generate_state(8))
        torch.manual_seed(seed_of(seed, Stream.TORCH, bits=63))
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
        self.action_space.seed(seed_of(seed, Stream.ACTION_SAMPLES))
        if self.env is not None:
            # Environments of this project derive a seed for each game (`mario_env.stable_baselines`).
            self.env.seed(seed)

    def steps_left(self) -> int:
        """Steps of all environments together until the training's total, at least 1.

        stable-baselines3 collects complete rollouts and exceeds the total by up to one of them. The algorithms shorten the last
        rollout to this number, so that only the rounding to whole steps of all environments remains.
        """
        return max(-(-(self._total_timesteps - self.num_timesteps) // self.n_envs), 1)

    def exploration_rates(self) -> list[float]:
        """For each environment the probability that it begins to explore now; 0 if the algorithm samples from its policy."""
        return [0.0] * self.n_envs

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "average"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, tensors = super()._get_torch_save_params()
        return [*modules, *([] if self.average is None else ["average"])], tensors

    def get_extra_state(self) -> dict[str, Any]:
        """The state besides weights, optimiser, counters, buffers and global generators that the next step depends on, as JSON.

        An algorithm with such state overrides this and `set_extra_state`; otherwise its trainings do not resume exactly.
        `mario_env.snapshots.generator_state` converts a generator to JSON types.
        """
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `get_extra_state` returned."""

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, self.planned_steps or total_timesteps)


class OnPolicy(AlgorithmBase, Collecting):
    """Base class of the algorithms that learn from each rollout once it is complete."""

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in the base class. The last rollout is shortened to the steps that are left, with a smaller buffer."""
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
