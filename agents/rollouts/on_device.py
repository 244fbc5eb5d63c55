"""Rollouts whose frames are kept on the device: each is sent there once, and stacks are gathered there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.rollouts.frames import FrameRolloutBuffer


class DeviceFramePool:
    """Frames of one size on a device.

    Args:
        capacity: number of frames to make room for; the pool grows when more are stored.
        shape: (height, width).
        device: where the frames are.

    Attributes:
        frames: uint8 (capacity, height, width), by id, on the device.
        used: frames from this id on have not been written.
    """

    def __init__(self, capacity: int, shape: tuple[int, int], device: torch.device) -> None:
        self.frames = torch.empty((capacity, *shape), dtype=torch.uint8, device=device)
        self.used = 0

    def clear(self) -> None:
        """Remove all frames."""
        self.used = 0

    def store(self, frames: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Send `frames`, uint8 (n, height, width), to the device; returns their ids, int32 (n,)."""
        first, self.used = self.used, self.used + len(frames)
        missing = self.used - len(self.frames)
        if missing > 0:
            more = max(missing, len(self.frames) // 8)
            self.frames = torch.cat((self.frames, self.frames.new_empty((more, *self.frames.shape[1:]))))
        self.frames[first : self.used].copy_(torch.from_numpy(np.ascontiguousarray(frames)))
        return np.arange(first, self.used, dtype=np.int32)

    def gather(self, frame_ids: NDArray[np.int32]) -> torch.Tensor:
        """The stacks of `frame_ids`, int32 (..., channels), as uint8 (..., channels, height, width) on the device."""
        flat = torch.as_tensor(frame_ids.ravel(), device=self.frames.device)
        return self.frames.index_select(0, flat).view(*frame_ids.shape, *self.frames.shape[1:])


class DeviceRolloutBuffer(FrameRolloutBuffer):
    """A `FrameRolloutBuffer` for a device that is not the CPU: frames are stored there when they are observed.

    A frame is sent once. At the start of a rollout all frames of the stacks are sent. Everything but observations is stored and
    sampled as in stable-baselines3. Samples equal those of stable-baselines3's buffer for any sequence of observations.
    """

    _pool: DeviceFramePool  # type: ignore[assignment]

    def reset(self) -> None:
        """Remove all transitions."""
        super().reset()
        self._observed = np.zeros(self.n_envs, np.int64)  # how many observations of each game there are
        self._newest: dict[int, tuple[int, NDArray[np.uint8]]] = {}  # first game -> step and observations

    def observe(self, observations: NDArray[Any], first: int = 0) -> torch.Tensor:
        """See the base class. The array must not be written to before the next observation of these games."""
        if not self._stacked:
            return super().observe(observations, first)
        games = slice(first, first + len(observations))
        step = int(self._observed[first])
        frame_ids = self._frame_ids[step, games] = self._send(observations, games, step)
        self._observed[games] += 1
        self._newest[first] = step, observations
        return self._pool.gather(frame_ids)

    def _send(self, stacks: NDArray[np.uint8], games: slice, step: int) -> NDArray[np.int32]:
        """Send the frames that are new; returns the ids of all, int32 (n, channels)."""
        frame_ids = np.empty(stacks.shape[:2], np.int32)
        frame_ids[:, -1] = self._pool.store(stacks[:, -1])
        continued = np.zeros(len(stacks), bool)
        before, newest = self._newest.get(games.start, (-1, stacks[:0]))
        if before == step - 1 and len(newest) == len(stacks):
            continued = (newest[:, 1:] == stacks[:, :-1]).all(axis=(1, 2, 3))
            frame_ids[continued, :-1] = self._frame_ids[step - 1, games][continued, 1:]
        older = stacks[~continued, :-1]
        frame_ids[~continued, :-1] = self._pool.store(older.reshape(-1, *stacks.shape[2:])).reshape(older.shape[:2])
        return frame_ids

    def _make_room(self) -> None:
        channels, height, width = self.obs_shape
        # A frame for each decision, whole stacks at the start, the observations after the last step, and some first stacks.
        decisions = self.buffer_size * self.n_envs
        capacity = decisions + decisions // 16 + channels * self.n_envs
        self._pool = DeviceFramePool(capacity, (height, width), self.device)
        self._frame_ids = np.zeros((self.buffer_size + 1, self.n_envs, channels), np.int32)

    def _store(self, stacks: NDArray[np.uint8]) -> NDArray[np.int32]:
        if self._observed.min() <= self.pos:
            raise RuntimeError(f"step {self.pos} of the rollout has not been observed: call observe before add")
        frame_ids: NDArray[np.int32] = self._frame_ids[self.pos]
        return frame_ids

    def _gather(self, frame_ids: NDArray[np.int32]) -> torch.Tensor:
        return self._pool.gather(frame_ids)


def buffer_class(device: torch.device | str) -> type[FrameRolloutBuffer]:
    """The class of rollout buffers for a device."""
    return FrameRolloutBuffer if torch.device(device).type == "cpu" else DeviceRolloutBuffer
