"""A montage of an episode: some of its frames side by side."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reports.video import FRAME_SHAPE, Frame


class MontageError(ValueError):
    """A montage cannot be made from these frames."""


class FrameSampler:
    """Samples `count` evenly spaced frames from a stream of unknown length. It stores at most ``2 * count + 1`` frames."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise MontageError(f"count is {count}: ask for at least one frame")
        self._count = count
        self._kept: list[Frame] = []
        self._last: Frame | None = None
        self._stride = 1
        self._seen = 0

    def add(self, frame: Frame) -> None:
        """Add the next frame, uint8 RGB of shape (240, 256, 3)."""
        if self._seen % self._stride == 0:
            self._kept.append(frame.copy())
            self._last = None
            if len(self._kept) == 2 * self._count:  # twice the number: keep every other one from now on
                self._kept, self._stride = self._kept[::2], self._stride * 2
                self._last = frame  # it was dropped from `_kept`
        else:
            self._last = frame
        self._seen += 1

    def frames(self) -> list[Frame]:
        """The sampled frames, including the first and the last of the stream; all frames if there were fewer."""
        candidates = self._kept if self._last is None else [*self._kept, self._last]
        if len(candidates) <= self._count:
            return list(candidates)
        if self._count == 1:
            return [candidates[len(candidates) // 2]]
        return [candidates[index] for index in np.linspace(0, len(candidates) - 1, self._count).round().astype(int)]


def make_montage(
    frames: Iterable[Frame], path: Path, count: int = 4, *, columns: int | None = None, scale: int = 1, gap: int = 4
) -> Path:
    """Write `count` evenly spaced frames of an episode as one PNG, and return `path`.

    Args:
        frames: the frames, uint8 RGB of shape (240, 256, 3).
        path: the PNG file.
        count: number of frames in the montage.
        columns: number of columns, filled in reading order; None: one row.
        scale: factor by which each frame is enlarged.
        gap: white pixels between frames.

    Raises:
        MontageError: there is no frame, or one has another shape.
    """
    sampler = FrameSampler(count)
    for frame in frames:
        sampler.add(frame)
    chosen = sampler.frames()
    if not chosen:
        raise MontageError("there is no frame for a montage: the episode is empty")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_arrange(chosen, columns or len(chosen), scale, gap)).save(path, optimize=True)
    return path


def _arrange(frames: Sequence[Frame], columns: int, scale: int, gap: int) -> Frame:
    height, width = FRAME_SHAPE[0] * scale, FRAME_SHAPE[1] * scale
    columns = min(columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        if frame.shape != FRAME_SHAPE:
            raise MontageError(f"frame {index} has the shape {frame.shape}; expected {FRAME_SHAPE}")
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    return canvas
