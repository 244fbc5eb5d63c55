"""Prioritised experience replay (Schaul et al. 2016), the proportional variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from agents.replay.frames import FrameReplayBuffer, ReplayBatch
from agents.replay.sum_tree import SumTree

# Added to each error, so that a transition without error is still sampled now and then (section 3.3).
_EPSILON = 1e-6
# The priority of all transitions until the first errors are known.
_INITIAL_PRIORITY = 1.0

Indices = NDArray[np.int64]


class PrioritisedReplayBuffer(FrameReplayBuffer):
    """A `FrameReplayBuffer` that samples a transition in proportion to its priority, (error + 1e-6) ** `alpha`.

    New transitions get the highest priority seen so far, so that each is sampled soon. Until the first errors are known, all
    priorities are equal. The first errors then replace them. The paper gives new transitions priority 1 instead; where errors
    are around 0.01, that would mean sampling hardly anything but the newest transitions.

    A batch of n samples takes one sample from each of n equal shares of the sum of priorities (appendix B.2.1). If all errors
    are equal, sampling is uniform and all weights are 1.

    Args:
        alpha: the exponent of priorities; 0 samples uniformly.
        beta_start: the exponent of importance-sampling weights at the start of the training; see `beta`.
        arguments: as for `FrameReplayBuffer`.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        *,
        alpha: float = 0.6,
        beta_start: float = 0.4,
        **arguments: Any,
    ) -> None:
        self.alpha, self.beta_start = alpha, beta_start
        slots = max(buffer_size // n_envs, 1)
        self._tree = SumTree(slots * n_envs)
        # float64 (slots, environments), a view of the tree's leaves.
        self.priorities = self._tree.values.reshape(slots, n_envs)
        # The priority of new transitions, float64 (1,); 0 until the first errors are known.
        self.max_priority = np.zeros(1)
        super().__init__(buffer_size, observation_space, action_space, device, n_envs, **arguments)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays once they are full."""
        return super().nbytes - self.priorities.nbytes - self.max_priority.nbytes + self._tree.nbytes

    @staticmethod
    def bytes_for(buffer_size: int, n_envs: int, observation_space: spaces.Box, action_space: spaces.Space[Any]) -> int:
        """`nbytes` of such a buffer, without allocating it."""
        rest = FrameReplayBuffer.bytes_for(buffer_size, n_envs, observation_space, action_space)
        return rest + SumTree.bytes_for(max(buffer_size // n_envs, 1) * n_envs)

    def stored_arrays(self, used: int) -> dict[str, NDArray[Any]]:
        """As for `FrameReplayBuffer`, with the priorities."""
        return {**super().stored_arrays(used), "priorities": self.priorities[:used], "greatest": self.max_priority}

    def after_loading(self) -> None:
        """As for `FrameReplayBuffer`; also recomputes the sums of priorities."""
        super().after_loading()
        self._tree.rebuild()

    def add(self, *transition: Any) -> None:
        """Add one transition of each environment, with the highest priority seen so far."""
        indices = self.pos * self.n_envs + np.arange(self.n_envs)
        super().add(*transition)
        self._tree.write(indices, np.full(self.n_envs, self.max_priority[0] or _INITIAL_PRIORITY))

    def reset(self) -> None:
        """Remove all transitions and priorities."""
        super().reset()
        self.priorities[:] = 0
        self.max_priority[:] = 0
        self._tree.rebuild()

    def beta(self, progress_remaining: float) -> float:
        """The exponent of importance-sampling weights.

        It rises linearly from `beta_start` to 1 as `progress_remaining` falls from 1 to 0.
        """
        return 1.0 - (1.0 - self.beta_start) * max(progress_remaining, 0.0)

    def sample_weighted(self, batch_size: int, beta: float) -> ReplayBatch:
        """A batch in proportion to the priorities, with importance-sampling weights.

        Args:
            beta: how far the weights correct the bias of prioritised sampling, from 0 (not at all) to 1 (fully). They are
                scaled so that the largest weight of the batch is 1: weights only ever make updates smaller (section 3.4).
        """
        total = self._tree.total
        shares = (np.arange(batch_size) + np.random.random(batch_size)) / batch_size
        indices = self._tree.find(shares * total)
        priorities = self._tree.values[indices]
        weights = (priorities / total * self.size() * self.n_envs) ** -beta
        weights /= np.max(weights)
        samples = self._transitions(indices // self.n_envs, indices % self.n_envs)
        return ReplayBatch(samples, self.to_torch(weights.astype(np.float32)), indices)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """A batch in proportion to the priorities, without weights."""
        return self.sample_weighted(batch_size, beta=0.0).samples

    def update_priorities(self, indices: Indices, errors: NDArray[np.float32]) -> None:
        """Set the priorities of the transitions at `indices`, int64 (n,), from their `errors`, float32 (n,), all >= 0.

        Errors that are not finite are ignored: `NonFiniteError` reports them, by way of the loss.
        """
        finite = np.isfinite(errors)
        if not finite.any():
            return
        priorities = (errors[finite].astype(np.float64) + _EPSILON) ** self.alpha
        if self.max_priority[0] == 0:
            self.priorities[self.priorities > 0] = priorities.max()
            self._tree.rebuild()
        self._tree.write(indices[finite], priorities)
        self.max_priority[0] = max(self.max_priority[0], np.max(priorities))

    def _transitions(self, slots: Indices, envs: Indices) -> ReplayBufferSamples:
        """The n-step transitions of stable-baselines3, for given slots and environments, both int64 (n,)."""
        steps = (slots[:, None] + np.arange(self.n_steps)) % self.buffer_size
        # Nothing follows the newest transition: in a full buffer the next slot holds the oldest one.
        newest = steps == (self.pos - 1) % self.buffer_size
        ends = (self.dones[steps, envs[:, None]] > 0) | (self.timeouts[steps, envs[:, None]] > 0) | newest
        ends[:, -1] = True
        further = ends.argmax(axis=1)  # the number of rewards summed after the first
        powers = np.float32(self.gamma) ** np.arange(self.n_steps + 1, dtype=np.float32)
        counted = np.arange(self.n_steps) <= further[:, None]
        rewards = (self.rewards[steps, envs[:, None]] * powers[:-1] * counted).sum(axis=1, keepdims=True)
        last = (slots + further) % self.buffer_size
        return ReplayBufferSamples(
            observations=self.to_torch(self.observations[slots, envs]),
            actions=self.to_torch(self.actions[slots, envs]),
            next_observations=self.to_torch(self.next_observations[last, envs]),
            dones=self.to_torch((self.dones[last, envs] * (1 - self.timeouts[last, envs]))[:, None]),
            rewards=self.to_torch(rewards),
            discounts=self.to_torch(powers[1:][further][:, None]),
        )
