"""A picture of an episode: a few of its frames side by side."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reports.video import FRAME_SHAPE, Frame


class MontageError(ValueError):
    """No picture can be made of these frames."""


class FrameSampler:
    """Keeps `count` frames, evenly spaced, of a stream whose length is not known; at most ``2 * count + 1`` at a time."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise MontageError(f"count is {count}: ask for at least one frame")
        self._count = count
        self._kept: list[Frame] = []
        self._last: Frame | None = None
        self._stride = 1
        self._seen = 0

    def add(self, frame: Frame) -> None:
        """Take notice of the next frame, an RGB picture of shape (240, 256, 3), uint8."""
        if self._seen % self._stride == 0:
            self._kept.append(frame.copy())
            self._last = None
            if len(self._kept) == 2 * self._count:  # twice as many as wanted: keep every other one from here on
                self._kept, self._stride = self._kept[::2], self._stride * 2
                self._last = frame  # it was the odd one
        else:
            self._last = frame
        self._seen += 1

    def frames(self) -> list[Frame]:
        """The frames kept: spread over the whole stream, first and last included; all of them if there were fewer."""
        candidates = self._kept if self._last is None else [*self._kept, self._last]
        if len(candidates) <= self._count:
            return list(candidates)
        if self._count == 1:
            return [candidates[len(candidates) // 2]]
        return [candidates[index] for index in np.linspace(0, len(candidates) - 1, self._count).round().astype(int)]


def make_montage(
    frames: Iterable[Frame], path: Path, count: int = 4, *, columns: int | None = None, scale: int = 1, gap: int = 4
) -> Path:
    """Write `count` frames, evenly spaced over the episode, as one PNG and return `path`.

    `frames` yields RGB pictures, uint8 of shape (240, 256, 3). They stand in reading order in `columns` columns (default: one
    row), each `scale` times its size, with `gap` white pixels between. Raises :class:`MontageError` if there is no frame.
    """
    sampler = FrameSampler(count)
    for frame in frames:
        sampler.add(frame)
    chosen = sampler.frames()
    if not chosen:
        raise MontageError("there is no frame to make a picture of: the episode is empty")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_arranged(chosen, columns or len(chosen), scale, gap)).save(path, optimize=True)
    return path


def _arranged(frames: Sequence[Frame], columns: int, scale: int, gap: int) -> Frame:
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
