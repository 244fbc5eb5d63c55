"""Replay memory for stacks of frames: every frame once, where stable-baselines3's buffer has each eight times."""

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

from agents.replay.pool import Bytes, FramePool, Numbers

# Room for pictures beside one a transition: an episode has one more picture than transitions, and its first stack up to three
# more. One in sixteen is enough for episodes of 16 transitions (64 when a reset's stack is of different pictures). Shorter
# ones make the memory grow.
_SPARE = 16

Mask: TypeAlias = NDArray[np.bool_]


class Drawn(NamedTuple):
    """A batch drawn from a replay buffer.

    Attributes:
        samples: the transitions.
        weights: how much each counts in the loss, float32 (batch,) in (0, 1]; None: all alike.
        places: where the transitions are stored, int64 (batch,), to set their priorities; empty if there are none.
    """

    samples: ReplayBufferSamples
    weights: torch.Tensor | None = None
    places: NDArray[np.int64] = np.empty(0, np.int64)


class Stacks:
    """Some of the observations of a buffer, in place of an array (slots, environments, channels, height, width).

    Reading it, with any index of the first two axes, gathers them: uint8 (..., channels, height, width), a copy.
    """

    def __init__(self, memory: FramePool, numbers: Numbers, *, channels_last: bool) -> None:
        self._memory, self._numbers, self._channels_last = memory, numbers, channels_last
        self.shape = (*numbers.shape, *memory.shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, index: Any) -> Bytes:
        return self._memory.stacks(self._numbers[index], channels_last=self._channels_last)


class FrameReplayBuffer(NStepReplayBuffer):
    """stable-baselines3's `ReplayBuffer` (`n_steps` 1) or `NStepReplayBuffer` (above) for stacks of frames, an eighth as large.

    Samples are those buffers' samples, byte by byte, for any sequence of observations, since the arithmetic is theirs; only
    where observations are kept differs. A transition refers to its 2 x channels pictures by number. Those found, by
    comparison, in the observation before are not stored again: of an observation that continues a stack only the newest is.
    Sequences that are no stacks are as exact, and take the memory they need.

    Args:
        buffer_size: transitions of all environments together.
        observation_space: a uint8 `Box` (channels, height, width), the oldest picture first.
        optimize_memory_usage: must be False; that is for the library's own buffer.
        handle_timeout_termination: as in the library: a truncated episode's last transition bootstraps.
        n_steps: rewards summed before bootstrapping.
        gamma: their discount.
        channels_last: sampled observations lie in memory as (n, height, width, channels), as torch's format of that name, which
            its convolutions on a CPU work in. Shapes and values are the same.

    Raises:
        ValueError: another observation space, or `optimize_memory_usage`.
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
            raise ValueError(f"FrameReplayBuffer keeps uint8 Box (channels, height, width), not {observation_space}")
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage: FrameReplayBuffer stores every picture once already; leave it False")
        # Not ReplayBuffer's constructor, which would make the arrays of stacks.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.buffer_size = slots = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps, self.gamma, self.channels_last = n_steps, gamma, channels_last
        self.memory = FramePool(_pictures(slots, n_envs, shape[0]), (shape[1], shape[2]))
        # (slot, environment, observation or the next one, channel): numbers of pictures.
        self.numbers: Numbers = np.zeros((slots, n_envs, 2, shape[0]), np.int32)
        self.actions = np.zeros((slots, n_envs, self.action_dim), self._maybe_cast_dtype(action_space.dtype))
        self.rewards = np.zeros((slots, n_envs), np.float32)
        self.dones = np.zeros((slots, n_envs), np.float32)
        self.timeouts = np.zeros((slots, n_envs), np.float32)
        available = psutil.virtual_memory().available
        if self.nbytes > available:
            warnings.warn(
                f"the replay memory takes {self.nbytes / 1e9:.2f} GB when full, {available / 1e9:.2f} GB are available",
                stacklevel=2,
            )

    def arrays(self, used: int) -> dict[str, NDArray[Any]]:
        """All there is beside the pictures, by name, of the first `used` slots: views, to be kept and filled again."""
        return {name: getattr(self, name)[:used] for name in ("numbers", "actions", "rewards", "dones", "timeouts")}

    def arrays_were_read(self) -> None:
        """To be called when `arrays`, `pos` and `full` have been written from outside: set right what follows from them."""
        self.memory.recount(self.numbers[: self.size()])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays once they are full."""
        return self.memory.nbytes + sum(array.nbytes for array in self.arrays(self.buffer_size).values())

    @staticmethod
    def bytes_for(buffer_size: int, n_envs: int, observation_space: spaces.Box, action_space: spaces.Space[Any]) -> int:
        """What `nbytes` will be, of a buffer that need not fit into this machine."""
        channels, height, width = observation_space.shape
        slots = max(buffer_size // n_envs, 1)
        action = np.dtype(ReplayBuffer._maybe_cast_dtype(action_space.dtype)).itemsize * get_action_dim(action_space)
        pictures = FramePool.bytes_for(_pictures(slots, n_envs, channels), (height, width))
        return pictures + slots * n_envs * (2 * channels * 4 + action + 3 * 4)

    @property
    def observations(self) -> Stacks:  # type: ignore[override]
        """All observations, gathered when read."""
        return Stacks(self.memory, self.numbers[:, :, 0], channels_last=self.channels_last)

    @property
    def next_observations(self) -> Stacks:  # type: ignore[override]
        """All next observations, gathered when read."""
        return Stacks(self.memory, self.numbers[:, :, 1], channels_last=self.channels_last)

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Keep one transition of each environment: observations uint8 (n_envs, channels, height, width)."""
        obs, next_obs = (np.asarray(array, np.uint8).reshape(self.n_envs, *self.obs_shape) for array in (obs, next_obs))
        numbers = self._numbered(obs, next_obs)
        self.memory.refer(numbers)
        if self.full:
            self.memory.release(self.numbers[self.pos])
        self.numbers[self.pos] = numbers
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
        """Forget all transitions."""
        super().reset()
        self.memory.clear()

    def end_episodes(self) -> None:
        """Mark the newest transitions as truncated where they are not an episode's end.

        For what follows without continuing them, as after a resumption: n-step returns must not reach across.
        """
        if self.full or self.pos:
            self.timeouts[self.pos - 1] = np.maximum(self.timeouts[self.pos - 1], 1 - self.dones[self.pos - 1])

    def _get_samples(self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None) -> ReplayBufferSamples:
        if self.n_steps == 1:
            return ReplayBuffer._get_samples(self, batch_inds, env)
        return super()._get_samples(batch_inds, env)

    def to_torch(self, array: NDArray[Any], copy: bool = True) -> torch.Tensor:
        """A tensor of `array` on the device; on a CPU the same memory, for all that is sampled is a copy already."""
        return torch.as_tensor(array, device=self.device)

    def _numbered(self, obs: Bytes, next_obs: Bytes) -> Numbers:
        """Numbers of the pictures of both, int32 (n_envs, 2, channels); what is not found in memory is stored."""
        numbers = np.empty((self.n_envs, 2, len(obs[0])), np.int32)
        if self.full or self.pos:
            known = self.numbers[self.pos - 1, :, 1]
            differing = ~self.memory.same(known.ravel(), obs.reshape(-1, *obs.shape[2:])).reshape(known.shape).all(axis=1)
            numbers[:, 0] = known
        else:
            differing = np.ones(self.n_envs, bool)
        for env in np.flatnonzero(differing):
            numbers[env, 0] = self._stored(obs[env])
        numbers[:, 1, :-1] = numbers[:, 0, 1:]
        numbers[:, 1, -1] = self.memory.store(next_obs[:, -1])
        for env in np.flatnonzero(_differ(obs[:, 1:], next_obs[:, :-1])):
            numbers[env, 1, :-1] = self._stored(next_obs[env, :-1])
        return numbers

    def _stored(self, pictures: Bytes) -> Numbers:
        """Store `pictures`, uint8 (n, height, width); a run of equal ones, as a reset makes them, once."""
        new = np.ones(len(pictures), bool)
        new[1:] = (pictures[1:] != pictures[:-1]).any(axis=(1, 2))
        numbers: Numbers = self.memory.store(pictures[new])[new.cumsum() - 1]
        return numbers


def _pictures(slots: int, n_envs: int, channels: int) -> int:
    """Pictures to make room for. New ones are stored before old ones are given up: hence the last term."""
    transitions = slots * n_envs
    return transitions + transitions // _SPARE + 4 * channels * n_envs


def _differ(left: Bytes, right: Bytes) -> Mask:
    """Per environment: is any byte different? Shapes (n_envs, ...)."""
    differing: Mask = (left != right).any(axis=tuple(range(1, left.ndim)))
    return differing
