"""What the algorithms of this project add to stable-baselines3's: separate seeds, schedules, an exact end, extra state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

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
    """Inherit from it before an algorithm of stable-baselines3.

    Attributes:
        planned_steps: the step at which schedules end; None: at the end of the training. In a training that was extended the
            schedules have ended: learning rate, exploration and the rest keep their last values. A new schedule over all steps
            would raise a learning rate that had fallen, and undo what it had settled.
    """

    planned_steps: int | None = None

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed NumPy, torch, the action space and the environments, each with a stream of its own; None changes nothing.

        stable-baselines3 gives all of them one number. NumPy's global generator and torch's are both Mersenne twisters, and one
        number gives both the same bits. Python's own generator is left alone, because nothing in a training draws from it.
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

        stable-baselines3 collects whole rollouts and runs past the total by up to one of them. Algorithms shorten the last
        rollout to this number, so that only the rounding to whole steps of all environments is left.
        """
        return max(-(-(self._total_timesteps - self.num_timesteps) // self.n_envs), 1)

    def exploration_rates(self) -> list[float]:
        """For each environment the probability that it begins to explore now; 0 for an algorithm that draws from its policy."""
        return [0.0] * self.n_envs

    def get_extra_state(self) -> dict[str, Any]:
        """What the next step depends on beside weights, optimiser, counters, memories and global generators, as JSON types.

        An algorithm with such state overrides this and `set_extra_state`. Without it a resumed training is not exact.
        `mario_env.snapshots.generator_state` makes JSON types of a generator.
        """
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Return to the state that `get_extra_state` gave."""

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, self.planned_steps or total_timesteps)
