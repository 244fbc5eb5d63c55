"""Rollouts in memory: their layout and their size."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from agents.replay import FramePool

# Bytes per decision in a rollout besides the observation: an action (8 bytes) and six numbers (4 bytes each).
_ROLLOUT_BYTES = 32


class AdvisedSamples(NamedTuple):
    """stable-baselines3's `RolloutBufferSamples`, and what an adviser would have done, float32 (n, actions): probabilities."""

    observations: torch.Tensor
    actions: torch.Tensor
    old_values: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    advice: torch.Tensor


class FrameRolloutBuffer(RolloutBuffer):
    """stable-baselines3's `RolloutBuffer`, in a quarter of the memory where observations are stacks of frames.

    Frames that an environment's previous observation already contains, which is found by comparison, are not stored again.
    Samples equal those of stable-baselines3's buffer for any sequence of observations. They are assembled when they are drawn,
    on a CPU in torch's `channels_last`, without the copy of all observations that stable-baselines3 makes before it draws.

    Observations of another type than uint8 (channels, height, width) are stored and sampled as in stable-baselines3.

    With an adviser samples are `AdvisedSamples`.
    """

    _advice: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Remove all transitions."""
        shape, self._stacked = self.obs_shape, _stacked(self.observation_space)
        if self._stacked:
            self.obs_shape = (0,)  # the arrays of the base class have no observations then
        super().reset()
        self.obs_shape = shape
        if not self._stacked:
            return
        if not hasattr(self, "_pool"):
            self._make_room()
        self._pool.clear()

    def _make_room(self) -> None:
        """Make the pool and the array of ids, for observations that are stacks."""
        channels, height, width = self.obs_shape
        self._pool = FramePool(_frames(self.buffer_size * self.n_envs), (height, width))
        self._frame_ids = np.zeros((self.buffer_size, self.n_envs, channels), np.int32)

    def observe(self, observations: NDArray[Any], first: int = 0) -> torch.Tensor:
        """The observations of some games as a tensor on the device, to act on.

        The loop that collects a rollout calls it once for each game and step, and once more after the last step.

        Args:
            observations: (n, ...), the present ones of n games.
            first: the index of the first of these games.
        """
        return torch.as_tensor(observations, device=self.device)

    def advise(self, advice: torch.Tensor) -> None:
        """Keep what an adviser would do at the decisions that are added next.

        Args:
            advice: float32 (n_envs, actions), the probability of each action.
        """
        if self._advice is None:
            self._advice = np.zeros((self.buffer_size, *advice.shape), np.float32)
        self._advice[self.pos] = advice.cpu().numpy()

    def add(self, obs: NDArray[Any], *values: Any) -> None:
        """Add one decision of each environment; the arguments are those of stable-baselines3."""
        if self._stacked:
            self._frame_ids[self.pos] = self._store(obs)
            obs = np.empty((self.n_envs, 0), np.uint8)
        super().add(obs, *values)

    def _store(self, stacks: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Store the frames that are new; returns the ids of all, int32 (n_envs, channels)."""
        frame_ids = np.empty(stacks.shape[:2], np.int32)
        frame_ids[:, -1] = self._pool.store(stacks[:, -1])
        if stacks.shape[1] == 1:
            return frame_ids
        continued = np.zeros(self.n_envs, bool)
        if self.pos:
            older = frame_ids[:, :-1] = self._frame_ids[self.pos - 1, :, 1:]
            frames = np.ascontiguousarray(stacks[:, :-1]).reshape(older.size, *stacks.shape[2:])
            continued = self._pool.equal(older.ravel(), frames).reshape(older.shape).all(axis=1)
        for env in np.flatnonzero(~continued):
            frame_ids[env, :-1] = self._pool.store_stack(stacks[env, :-1])
        return frame_ids

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[Any], env: VecNormalize | None = None
    ) -> RolloutBufferSamples | AdvisedSamples:
        samples = super()._get_samples(batch_inds, env)
        # The base class has put the decisions of each environment behind one another.
        places = batch_inds % self.buffer_size, batch_inds // self.buffer_size
        if self._stacked:
            samples = samples._replace(observations=self._gather(self._frame_ids[places]))
        if self._advice is None:
            return samples
        return AdvisedSamples(*samples, torch.as_tensor(self._advice[places], device=self.device))

    def _gather(self, frame_ids: NDArray[np.int32]) -> torch.Tensor:
        """The stacks of `frame_ids`, int32 (n, channels), as uint8 (n, channels, height, width) on the device."""
        observations = self._pool.gather(frame_ids, channels_last=self.device.type == "cpu")
        return torch.as_tensor(observations, device=self.device)


def rollout_bytes(decisions: int, observation_space: gym.spaces.Box) -> int:
    """The memory, in bytes, that a rollout of so many decisions takes, without what an adviser says.

    Observations that are not stacks are reordered by stable-baselines3 before learning: for a while they are in memory twice.
    """
    if _stacked(observation_space):
        channels, height, width = observation_space.shape
        observations = FramePool.bytes_for(_frames(decisions), (height, width)) + decisions * channels * 4
    else:
        assert observation_space.dtype is not None
        observations = 2 * decisions * int(np.prod(observation_space.shape)) * observation_space.dtype.itemsize
    return observations + decisions * _ROLLOUT_BYTES


def rollout_steps_per_update(n_steps: int, n_envs: int, batch_size: int, n_epochs: int) -> float:
    """The steps of all environments together before each update: those of a rollout, divided among its updates."""
    return n_steps / (n_epochs * -(-n_steps * n_envs // batch_size))


def _stacked(space: gym.spaces.Space[Any]) -> bool:
    """Whether observations may be stacks of frames, uint8 (channels, height, width)."""
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _frames(decisions: int) -> int:
    """Frames to make room for: one for each decision, and one in sixteen more for the first stacks of episodes."""
    return decisions + decisions // 16 + 64
