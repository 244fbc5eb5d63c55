"""Prioritised experience replay: Schaul et al. 2016, the proportional variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from agents.replay.frames import Drawn, FrameReplayBuffer
from agents.replay.sum_tree import SumTree

# Added to an error, so that what was predicted exactly is not lost (section 3.3).
_LEAST = 1e-6
# The priority of all transitions as long as no error is known.
_UNKNOWN = 1.0

Places = NDArray[np.int64]


class PrioritisedReplayBuffer(FrameReplayBuffer):
    """A `FrameReplayBuffer` that draws a transition in proportion to its priority, (error + 1e-6) ** `alpha`.

    A new transition has the greatest priority there has been, so that each is drawn soon. Before any error is known all are
    equal, and the first errors tell how great that is: the paper's 1 would count for more than any error of a game whose errors
    are a hundredth of it, and the newest transitions would be drawn almost alone. A batch is drawn in as many equal
    shares of the sum as it has samples (appendix B.2.1). With all errors equal it draws uniformly, and all weights are 1.

    Args:
        alpha: how much priorities count; 0 draws uniformly.
        beta_start: how much of the bias is corrected at the beginning of the training; see `beta`.
        arguments: as `FrameReplayBuffer`'s.
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
        # (slot, environment), a view of the tree's leaves.
        self.priorities = self._tree.values.reshape(slots, n_envs)
        # What new transitions get, (1,); 0 until the first errors are known.
        self.greatest = np.zeros(1)
        super().__init__(buffer_size, observation_space, action_space, device, n_envs, **arguments)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays once they are full."""
        return super().nbytes - self.priorities.nbytes - self.greatest.nbytes + self._tree.nbytes

    @staticmethod
    def bytes_for(buffer_size: int, n_envs: int, observation_space: spaces.Box, action_space: spaces.Space[Any]) -> int:
        """What `nbytes` will be, of a buffer that need not fit into this machine."""
        rest = FrameReplayBuffer.bytes_for(buffer_size, n_envs, observation_space, action_space)
        return rest + SumTree.bytes_for(max(buffer_size // n_envs, 1) * n_envs)

    def arrays(self, used: int) -> dict[str, NDArray[Any]]:
        """As `FrameReplayBuffer`'s, with the priorities."""
        return {**super().arrays(used), "priorities": self.priorities[:used], "greatest": self.greatest}

    def arrays_were_read(self) -> None:
        """As `FrameReplayBuffer`'s, with the sums of the priorities."""
        super().arrays_were_read()
        self._tree.rebuild()

    def add(self, *transition: Any) -> None:
        """Keep one transition of each environment, with the greatest priority there has been."""
        places = self.pos * self.n_envs + np.arange(self.n_envs)
        super().add(*transition)
        self._tree.write(places, np.full(self.n_envs, self.greatest[0] or _UNKNOWN))

    def reset(self) -> None:
        """Forget all transitions and priorities."""
        super().reset()
        self.priorities[:] = 0
        self.greatest[:] = 0
        self._tree.rebuild()

    def beta(self, progress_remaining: float) -> float:
        """The correction of the bias, which rises linearly from `beta_start` to 1 as `progress_remaining` falls from 1 to 0."""
        return 1.0 - (1.0 - self.beta_start) * max(progress_remaining, 0.0)

    def draw(self, batch_size: int, beta: float) -> Drawn:
        """A batch in proportion to the priorities.

        Args:
            beta: how much of the bias that this brings the weights correct, 0 (nothing) to 1 (all of it). The largest weight of
                a batch is 1, so that they only ever make steps smaller (section 3.4).
        """
        total = self._tree.total
        shares = (np.arange(batch_size) + np.random.random(batch_size)) / batch_size
        places = self._tree.find(shares * total)
        priorities = self._tree.values[places]
        weights = (priorities / total * self.size() * self.n_envs) ** -beta
        weights /= np.max(weights)
        samples = self._transitions(places // self.n_envs, places % self.n_envs)
        return Drawn(samples, self.to_torch(weights.astype(np.float32)), places)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """A batch in proportion to the priorities, without weights."""
        return self.draw(batch_size, beta=0.0).samples

    def set_errors(self, places: Places, errors: NDArray[np.float32]) -> None:
        """Give the transitions at `places`, int64 (n,), priorities by their `errors`, (n,), none negative.

        An error that is not finite is left out: it is the loss's to stop the training, with a message.
        """
        finite = np.isfinite(errors)
        if not finite.any():
            return
        priorities = (errors[finite].astype(np.float64) + _LEAST) ** self.alpha
        if self.greatest[0] == 0:
            self.priorities[self.priorities > 0] = priorities.max()
            self._tree.rebuild()
        self._tree.write(places[finite], priorities)
        self.greatest[0] = max(self.greatest[0], np.max(priorities))

    def _transitions(self, slots: Places, envs: Places) -> ReplayBufferSamples:
        """The library's n-step returns, of environments that are told and not drawn."""
        steps = (slots[:, None] + np.arange(self.n_steps)) % self.buffer_size
        # The newest transition continues nowhere, though the slot after it, of a full buffer, holds an old one.
        newest = steps == (self.pos - 1) % self.buffer_size
        ends = (self.dones[steps, envs[:, None]] > 0) | (self.timeouts[steps, envs[:, None]] > 0) | newest
        ends[:, -1] = True
        summed = ends.argmax(axis=1)  # rewards beyond the first
        powers = np.float32(self.gamma) ** np.arange(self.n_steps + 1, dtype=np.float32)
        counted = np.arange(self.n_steps) <= summed[:, None]
        rewards = (self.rewards[steps, envs[:, None]] * powers[:-1] * counted).sum(axis=1, keepdims=True)
        last = (slots + summed) % self.buffer_size
        return ReplayBufferSamples(
            observations=self.to_torch(self.observations[slots, envs]),
            actions=self.to_torch(self.actions[slots, envs]),
            next_observations=self.to_torch(self.next_observations[last, envs]),
            dones=self.to_torch((self.dones[last, envs] * (1 - self.timeouts[last, envs]))[:, None]),
            rewards=self.to_torch(rewards),
            discounts=self.to_torch(powers[1:][summed][:, None]),
        )
