"""A pool of frames: each is stored once, reference-counted, and gathered into stacks when sampled."""

from __future__ import annotations

import logging
import sys
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_GROWTH = 8  # a full pool grows by one eighth

Bytes: TypeAlias = NDArray[np.uint8]
FrameIds: TypeAlias = NDArray[np.int32]


class FramePool:
    """A pool of frames of one size.

    A frame keeps its id while it has references; then another frame may get the id and overwrite it. The operating system
    allocates memory when a frame is first written, so an empty pool of any capacity takes almost none.

    Args:
        capacity: number of frames to make room for; the pool grows when more are needed.
        shape: (height, width).

    Attributes:
        frames: uint8 (capacity, height * width), by id.
        references: int32 (capacity,), the number of references to each frame.
        used: frames from this id on have never been written.
    """

    def __init__(self, capacity: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.frames: Bytes = np.empty((capacity, shape[0] * shape[1]), np.uint8)
        self.references: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.used = 0
        self._free: FrameIds = np.empty(capacity, np.int32)  # a stack of the free ids below `used`
        self._n_free = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, written or not."""
        return self.frames.nbytes + self.references.nbytes + self._free.nbytes

    @staticmethod
    def bytes_for(capacity: int, shape: tuple[int, int]) -> int:
        """`nbytes` of such a pool, without allocating it."""
        return capacity * (shape[0] * shape[1] + 8)

    def clear(self) -> None:
        """Remove all frames."""
        self.references[:] = 0
        self.used = self._n_free = 0

    def store(self, frames: Bytes) -> FrameIds:
        """Store copies of `frames`, uint8 (n, height, width), and return their ids, int32 (n,).

        They have no references yet: call `retain` before the next `release`.
        """
        count = len(frames)
        reused = min(count, self._n_free)
        fresh = count - reused
        if self.used + fresh > len(self.frames):
            self._grow(self.used + fresh)
        frame_ids = np.empty(count, np.int32)
        frame_ids[:reused] = self._free[self._n_free - reused : self._n_free]
        frame_ids[reused:] = np.arange(self.used, self.used + fresh)
        self._n_free -= reused
        self.used += fresh
        self.frames[frame_ids] = frames.reshape(count, -1)
        return frame_ids

    def store_stack(self, frames: Bytes) -> FrameIds:
        """As `store`, but equal frames in a row, as after a reset, are stored once."""
        new = np.ones(len(frames), bool)
        new[1:] = (frames[1:] != frames[:-1]).any(axis=(1, 2))
        frame_ids: FrameIds = self.store(frames[new])[new.cumsum() - 1]
        return frame_ids

    def retain(self, frame_ids: FrameIds) -> None:
        """Add one reference for each of `frame_ids`, of any shape; an id may occur several times."""
        np.add.at(self.references, frame_ids.ravel(), 1)

    def release(self, frame_ids: FrameIds) -> None:
        """Remove the references that `retain` added; ids without references become free."""
        frame_ids = frame_ids.ravel()
        np.subtract.at(self.references, frame_ids, 1)
        unreferenced = np.unique(frame_ids[self.references[frame_ids] == 0])
        self._free[self._n_free : self._n_free + len(unreferenced)] = unreferenced
        self._n_free += len(unreferenced)

    def reserve(self, used: int) -> Bytes:
        """Make room for the first `used` frames and return a view of them to fill; call `recount` afterwards."""
        if used > len(self.frames):
            self._grow(used)
        self.used = used
        return self.frames[:used]

    def recount(self, frame_ids: FrameIds) -> None:
        """Replace all references by one for each of `frame_ids`."""
        counts = np.bincount(frame_ids.ravel(), minlength=len(self.references))
        self.references[:] = counts
        unreferenced = np.flatnonzero(counts[: self.used] == 0)
        self._n_free = len(unreferenced)
        self._free[: self._n_free] = unreferenced

    def equal(self, frame_ids: FrameIds, frames: Bytes) -> NDArray[np.bool_]:
        """For each of `frame_ids`, int32 (n,), whether its frame equals that of `frames`, uint8 (n, height, width)."""
        equal: NDArray[np.bool_] = (self.frames[frame_ids] == frames.reshape(len(frame_ids), -1)).all(axis=1)
        return equal

    def gather(self, frame_ids: FrameIds, *, channels_last: bool = False) -> Bytes:
        """Copies of the stacks of `frame_ids`, int32 (..., channels), as uint8 (..., channels, height, width).

        Args:
            channels_last: lay the bytes out as (..., height, width, channels); the shape is the same.
        """
        channels = frame_ids.shape[-1]
        if not channels_last:
            return self.frames.take(frame_ids, axis=0).reshape(*frame_ids.shape, *self.shape)
        flat = np.ascontiguousarray(frame_ids.reshape(-1, channels))
        stacks = np.empty((len(flat), self.frames.shape[1], channels), np.uint8)
        if channels == 4 and sys.byteorder == "little":
            _interleave_four(self.frames, flat, stacks.view(np.uint32)[..., 0])
        else:
            _interleave(self.frames, flat, stacks)
        return np.moveaxis(stacks.reshape(*frame_ids.shape[:-1], *self.shape, channels), -1, -3)

    def _grow(self, needed: int) -> None:
        before = len(self.frames)
        capacity = max(before + before // _GROWTH, needed)
        _log.info(
            "the memory for frames grows from %d to %d frames: episodes are short, or observations share few frames",
            before,
            capacity,
        )
        # In place, so that the large array never exists twice; no view of it outlives a call of this class.
        self.frames.resize((capacity, self.frames.shape[1]), refcheck=False)
        self.references.resize(capacity, refcheck=False)
        self._free.resize(capacity, refcheck=False)


def _compiled(function: Any) -> Any:
    return njit(nogil=True, cache=True)(function)


@_compiled
def _interleave(frames: Any, frame_ids: Any, stacks: Any) -> None:
    for row in range(frame_ids.shape[0]):
        for channel in range(frame_ids.shape[1]):
            frame = frames[frame_ids[row, channel]]
            for pixel in range(len(frame)):
                stacks[row, pixel, channel] = frame[pixel]


@_compiled
def _interleave_four(frames: Any, frame_ids: Any, words: Any) -> None:
    """Write four bytes as one little-endian word, which takes a third of the time of `_interleave`."""
    for row in range(frame_ids.shape[0]):
        first, second = frames[frame_ids[row, 0]], frames[frame_ids[row, 1]]
        third, fourth = frames[frame_ids[row, 2]], frames[frame_ids[row, 3]]
        for pixel in range(len(first)):
            words[row, pixel] = (
                np.uint32(first[pixel])
                | np.uint32(second[pixel]) << np.uint32(8)
                | np.uint32(third[pixel]) << np.uint32(16)
                | np.uint32(fourth[pixel]) << np.uint32(24)
            )
