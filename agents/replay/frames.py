"""A replay buffer for stacked frames. It stores every frame once; stable-baselines3's buffer stores each eight times."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import psutil
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from agents.replay.pool import Bytes, FrameIds, FramePool

# The pool has room for one frame per transition and for this share (one in sixteen) of extra frames. An episode has one frame
# more than transitions, and its first stack has up to three more. One in sixteen is enough for episodes of 16 transitions, or
# of 64 when the first stack consists of different frames. With shorter episodes the pool grows.
_SPARE = 16

Mask: TypeAlias = NDArray[np.bool_]


class ReplayBatch(NamedTuple):
    """A batch sampled from a replay buffer.

    Attributes:
        samples: the transitions.
        weights: importance-sampling weights of the loss, float32 (batch,) in (0, 1]; None: all are 1.
        indices: positions of the transitions in the buffer, int64 (batch,), for updating their priorities; empty for a buffer
            without priorities.
    """

    samples: ReplayBufferSamples
    weights: torch.Tensor | None = None
    indices: NDArray[np.int64] = np.empty(0, np.int64)


class StackedObservations:
    """A read-only view of a buffer's observations that looks like an array (slots, environments, channels, height, width).

    Indexing the first two axes in any way gathers the observations: uint8 (..., channels, height, width), a copy.
    """

    def __init__(self, pool: FramePool, frame_ids: FrameIds, *, channels_last: bool) -> None:
        self._pool, self._frame_ids, self._channels_last = pool, frame_ids, channels_last
        self.shape = (*frame_ids.shape, *pool.shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, index: Any) -> Bytes:
        return self._pool.gather(self._frame_ids[index], channels_last=self._channels_last)


class FrameReplayBuffer(NStepReplayBuffer):
    """A `ReplayBuffer` (`n_steps` 1) or `NStepReplayBuffer` (more) for stacked frames, in an eighth of the memory.

    Samples equal those of stable-baselines3's buffers byte for byte, for any sequence of observations. Only the storage of
    observations differs: a transition refers to its 2 x channels frames by id. Frames that the previous observation already
    contains, which is found by comparison, are not stored again. So an observation that continues a stack adds one frame.
    Observations that do not form stacks are stored just as faithfully, but take more memory.

    Args:
        buffer_size: transitions of all environments together.
        observation_space: a uint8 `Box` (channels, height, width), oldest frame first.
        optimize_memory_usage: must be False; it is an option of stable-baselines3's own storage.
        handle_timeout_termination: as in stable-baselines3: the last transition of a truncated episode bootstraps.
        n_steps: the number of rewards summed before bootstrapping.
        gamma: the discount factor of these rewards.
        channels_last: sampled observations have torch's `channels_last` memory format (n, height, width, channels), which its
            convolutions on a CPU use. Shapes and values are the same.

    Raises:
        ValueError: the observation space is another one, or `optimize_memory_usage` is True.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        n_steps: int = 1,
        gamma: float = 0.99,
        channels_last: bool = False,
    ) -> None:
        shape = observation_space.shape
        if (
            not isinstance(observation_space, spaces.Box)
            or observation_space.dtype != np.uint8
            or shape is None
            or len(shape) != 3
        ):
            raise ValueError(f"FrameReplayBuffer needs a uint8 Box (channels, height, width), not {observation_space}")
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage must be False: FrameReplayBuffer already stores every frame once")
        # ReplayBuffer's constructor is skipped: it would allocate arrays of whole stacks.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.buffer_size = slots = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps, self.gamma, self.channels_last = n_steps, gamma, channels_last
        self.pool = FramePool(_pool_capacity(slots, n_envs, shape[0]), (shape[1], shape[2]))
        # (slot, environment, 0: observation or 1: next observation, channel)
        self.frame_ids: FrameIds = np.zeros((slots, n_envs, 2, shape[0]), np.int32)
        self.actions = np.zeros((slots, n_envs, self.action_dim), self._maybe_cast_dtype(action_space.dtype))
        self.rewards = np.zeros((slots, n_envs), np.float32)
        self.dones = np.zeros((slots, n_envs), np.float32)
        self.timeouts = np.zeros((slots, n_envs), np.float32)
        available = psutil.virtual_memory().available
        if self.nbytes > available:
            warnings.warn(
                f"the replay buffer takes {self.nbytes / 1e9:.2f} GB when full, but only {available / 1e9:.2f} GB of memory "
                "are available; a smaller agent.buffer_size takes less",
                stacklevel=2,
            )

    def stored_arrays(self, used: int) -> dict[str, NDArray[Any]]:
        """The first `used` slots of every array except the frames, by its name in a file.

        The arrays are views: they can be written to a file, and filled from one. Call `after_loading` after filling them.
        """
        # "numbers" is the name that files have for the ids.
        arrays = {"numbers": self.frame_ids, "actions": self.actions, "rewards": self.rewards}
        arrays |= {"dones": self.dones, "timeouts": self.timeouts}
        return {name: array[:used] for name, array in arrays.items()}

    def after_loading(self) -> None:
        """Recompute derived state. Call it after `stored_arrays`, `pos` and `full` have been filled from a file."""
        self.pool.recount(self.frame_ids[: self.size()])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays once they are full."""
        return self.pool.nbytes + sum(array.nbytes for array in self.stored_arrays(self.buffer_size).values())

    @staticmethod
    def bytes_for(buffer_size: int, n_envs: int, observation_space: spaces.Box, action_space: spaces.Space[Any]) -> int:
        """`nbytes` of such a buffer, without allocating it."""
        channels, height, width = observation_space.shape
        slots = max(buffer_size // n_envs, 1)
        action = np.dtype(ReplayBuffer._maybe_cast_dtype(action_space.dtype)).itemsize * get_action_dim(action_space)
        frames = FramePool.bytes_for(_pool_capacity(slots, n_envs, channels), (height, width))
        return frames + slots * n_envs * (2 * channels * 4 + action + 3 * 4)

    @property
    def observations(self) -> StackedObservations:  # type: ignore[override]
        """All observations; they are gathered when indexed."""
        return StackedObservations(self.pool, self.frame_ids[:, :, 0], channels_last=self.channels_last)

    @property
    def next_observations(self) -> StackedObservations:  # type: ignore[override]
        """All next observations; they are gathered when indexed."""
        return StackedObservations(self.pool, self.frame_ids[:, :, 1], channels_last=self.channels_last)

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Add one transition of each environment; observations are uint8 (n_envs, channels, height, width)."""
        obs, next_obs = (np.asarray(array, np.uint8).reshape(self.n_envs, *self.obs_shape) for array in (obs, next_obs))
        frame_ids = self._store_observations(obs, next_obs)
        self.pool.retain(frame_ids)
        if self.full:
            self.pool.release(self.frame_ids[self.pos])
        self.frame_ids[self.pos] = frame_ids
        self.actions[self.pos] = action.reshape(self.n_envs, self.action_dim)
        self.rewards[self.pos] = reward
        self.dones[self.pos] = done
        if self.handle_timeout_termination:
            self.timeouts[self.pos] = [info.get("TimeLimit.truncated", False) for info in infos]
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full = True
            self.pos = 0

    def reset(self) -> None:
        """Remove all transitions."""
        super().reset()
        self.pool.clear()

    def end_episodes(self) -> None:
        """Mark the newest transition of each environment as truncated, unless it ends an episode already.

        Call it when the next transitions do not continue these, as after a resumption that resets the games. N-step returns
        then do not cross the gap.
        """
        if self.full or self.pos:
            self.timeouts[self.pos - 1] = np.maximum(self.timeouts[self.pos - 1], 1 - self.dones[self.pos - 1])

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> ReplayBufferSamples:
        if self.n_steps == 1:
            return ReplayBuffer._get_samples(self, batch_inds, env)
        return super()._get_samples(batch_inds, env)

    def to_torch(self, array: NDArray[Any], copy: bool = True) -> torch.Tensor:
        """`array` as a tensor on the device. On a CPU they share memory: sampled arrays are copies already."""
        return torch.as_tensor(array, device=self.device)

    def _store_observations(self, obs: Bytes, next_obs: Bytes) -> FrameIds:
        """Store the frames of both that the buffer does not have yet; return all ids, int32 (n_envs, 2, channels)."""
        frame_ids = np.empty((self.n_envs, 2, len(obs[0])), np.int32)
        if self.full or self.pos:
            previous = self.frame_ids[self.pos - 1, :, 1]
            equal = self.pool.equal(previous.ravel(), obs.reshape(-1, *obs.shape[2:])).reshape(previous.shape)
            differing = ~equal.all(axis=1)
            frame_ids[:, 0] = previous
        else:
            differing = np.ones(self.n_envs, bool)
        for env in np.flatnonzero(differing):
            frame_ids[env, 0] = self.pool.store_stack(obs[env])
        frame_ids[:, 1, :-1] = frame_ids[:, 0, 1:]
        frame_ids[:, 1, -1] = self.pool.store(next_obs[:, -1])
        for env in np.flatnonzero(_rows_differ(obs[:, 1:], next_obs[:, :-1])):
            frame_ids[env, 1, :-1] = self.pool.store_stack(next_obs[env, :-1])
        return frame_ids


def _pool_capacity(slots: int, n_envs: int, channels: int) -> int:
    """The number of frames to make room for. The last term is for new frames, which are stored before old ones are released."""
    transitions = slots * n_envs
    return transitions + transitions // _SPARE + 4 * channels * n_envs


def _rows_differ(left: Bytes, right: Bytes) -> Mask:
    """For each environment, whether any byte differs; the shapes are (n_envs, ...)."""
    differing: Mask = (left != right).any(axis=tuple(range(1, left.ndim)))
    return differing
