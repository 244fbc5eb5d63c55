"""Pictures kept once each, counted by how many stacks need them, and gathered into stacks again."""

from __future__ import annotations

import logging
import sys
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_GROWTH = 8  # when full, it grows by one eighth

Bytes: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int32]


class FramePool:
    """A pool of pictures of one size.

    A picture has a number as long as something refers to it; then its place is used again. The operating system gives the
    memory when a place is first written: an empty pool of any capacity takes almost none.

    Args:
        capacity: pictures there is room for; it grows when more are needed.
        shape: (height, width).

    Attributes:
        frames: uint8 (capacity, height * width).
        references: int32 (capacity,), how often each is referred to.
        used: the places from here on have never been written.
    """

    def __init__(self, capacity: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.frames: Bytes = np.empty((capacity, shape[0] * shape[1]), np.uint8)
        self.references: Numbers = np.zeros(capacity, np.int32)
        self.used = 0
        self._free: Numbers = np.empty(capacity, np.int32)  # a stack of places below `used`
        self._n_free = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, written or not."""
        return self.frames.nbytes + self.references.nbytes + self._free.nbytes

    @staticmethod
    def bytes_for(capacity: int, shape: tuple[int, int]) -> int:
        """What `nbytes` will be."""
        return capacity * (shape[0] * shape[1] + 8)

    def clear(self) -> None:
        """Forget everything."""
        self.references[:] = 0
        self.used = self._n_free = 0

    def store(self, pictures: Bytes) -> Numbers:
        """Keep copies of `pictures`, uint8 (n, height, width), and return their numbers, int32 (n,).

        Nothing refers to them yet: call `refer` before the next `release`.
        """
        count = len(pictures)
        again = min(count, self._n_free)
        fresh = count - again
        if self.used + fresh > len(self.frames):
            self._grow(self.used + fresh)
        numbers = np.empty(count, np.int32)
        numbers[:again] = self._free[self._n_free - again : self._n_free]
        numbers[again:] = np.arange(self.used, self.used + fresh)
        self._n_free -= again
        self.used += fresh
        self.frames[numbers] = pictures.reshape(count, -1)
        return numbers

    def refer(self, numbers: Numbers) -> None:
        """Count one more reference to each of `numbers` (any shape; a number may occur several times)."""
        np.add.at(self.references, numbers.ravel(), 1)

    def release(self, numbers: Numbers) -> None:
        """Take back what `refer` counted; pictures that nothing refers to any more are forgotten."""
        numbers = numbers.ravel()
        np.subtract.at(self.references, numbers, 1)
        unneeded = np.unique(numbers[self.references[numbers] == 0])
        self._free[self._n_free : self._n_free + len(unneeded)] = unneeded
        self._n_free += len(unneeded)

    def reserve(self, used: int) -> Bytes:
        """Make room for `used` pictures and return the places, to be filled from outside; `recount` must follow."""
        if used > len(self.frames):
            self._grow(used)
        self.used = used
        return self.frames[:used]

    def recount(self, numbers: Numbers) -> None:
        """Take `numbers` as all the references there are."""
        counts = np.bincount(numbers.ravel(), minlength=len(self.references))
        self.references[:] = counts
        unneeded = np.flatnonzero(counts[: self.used] == 0)
        self._n_free = len(unneeded)
        self._free[: self._n_free] = unneeded

    def same(self, numbers: Numbers, pictures: Bytes) -> NDArray[np.bool_]:
        """Per picture of `pictures`, uint8 (n, height, width): is it that of `numbers`, int32 (n,), byte by byte?"""
        equal: NDArray[np.bool_] = (self.frames[numbers] == pictures.reshape(len(numbers), -1)).all(axis=1)
        return equal

    def stacks(self, numbers: Numbers, *, channels_last: bool = False) -> Bytes:
        """Copies of the pictures of `numbers`, int32 (..., channels), as uint8 (..., channels, height, width).

        Args:
            channels_last: lay the bytes out as (..., height, width, channels); the shape is the same.
        """
        channels = numbers.shape[-1]
        if not channels_last:
            return self.frames.take(numbers, axis=0).reshape(*numbers.shape, *self.shape)
        flat = np.ascontiguousarray(numbers.reshape(-1, channels))
        stacks = np.empty((len(flat), self.frames.shape[1], channels), np.uint8)
        if channels == 4 and sys.byteorder == "little":
            _interleave_four(self.frames, flat, stacks.view(np.uint32)[..., 0])
        else:
            _interleave(self.frames, flat, stacks)
        return np.moveaxis(stacks.reshape(*numbers.shape[:-1], *self.shape, channels), -1, -3)

    def _grow(self, needed: int) -> None:
        before = len(self.frames)
        capacity = max(before + before // _GROWTH, needed)
        _log.info("the replay memory grows from %d to %d pictures: stacks do not follow from each other", before, capacity)
        # In place, so that the large array is not there twice; no view of it outlives a call of this class.
        self.frames.resize((capacity, self.frames.shape[1]), refcheck=False)
        self.references.resize(capacity, refcheck=False)
        self._free.resize(capacity, refcheck=False)


def _compiled(function: Any) -> Any:
    return njit(nogil=True, cache=True)(function)


@_compiled
def _interleave(frames: Any, numbers: Any, stacks: Any) -> None:
    for row in range(numbers.shape[0]):
        for channel in range(numbers.shape[1]):
            frame = frames[numbers[row, channel]]
            for pixel in range(len(frame)):
                stacks[row, pixel, channel] = frame[pixel]


@_compiled
def _interleave_four(frames: Any, numbers: Any, words: Any) -> None:
    """Four bytes written as one little-endian word: a third of the time of `_interleave`."""
    for row in range(numbers.shape[0]):
        first, second = frames[numbers[row, 0]], frames[numbers[row, 1]]
        third, fourth = frames[numbers[row, 2]], frames[numbers[row, 3]]
        for pixel in range(len(first)):
            words[row, pixel] = (
                np.uint32(first[pixel])
                | np.uint32(second[pixel]) << np.uint32(8)
                | np.uint32(third[pixel]) << np.uint32(16)
                | np.uint32(fourth[pixel]) << np.uint32(24)
            )
