"""A panorama of a level, assembled from the frames of an episode."""

from typing import Final

import numpy as np
import numpy.typing as npt

from mario_env.wrappers.observation import STATUS_BAR_ROWS
from reports.video import Frame

# pixels per frame. Mario runs at 3, and the ground repeats every 16 pixels, so larger shifts would be ambiguous.
MAX_SCROLL: Final = 8
SETTLED: Final = 244  # the game may still be drawing columns to the right of this one
SCENE_CHANGE: Final = 0.35  # share of differing pixels above which the scene has changed


class LevelPanorama:
    """Collects the columns of a level as they scroll into view. Column i of the panorama is x = i in the game.

    The camera of Super Mario Bros starts at 0 and only moves right. Its movement is found by comparing consecutive frames:
    backgrounds move by whole pixels. Each column is copied when it first appears, before Mario reaches it. The panorama ends at
    the first change of scene (a pipe, a black screen, the next level).
    """

    def __init__(self) -> None:
        self._columns: list[Frame] = []
        self._width = 0
        self._scroll = 0
        self._previous: Frame | None = None
        self._ended = False

    def add(self, frame: Frame) -> None:
        """Add the next frame, uint8 RGB of shape (240, 256, 3)."""
        if self._ended:
            return
        view = frame[STATUS_BAR_ROWS:]
        if self._previous is not None:
            shift = _shift(self._previous, view)
            if shift is None:
                self._ended = True
                return
            self._scroll += shift
        self._copy_files(view, SETTLED)
        self._previous = view.copy()

    def picture(self) -> Frame | None:
        """The part of the level that was seen, uint8 RGB of shape (208, width, 3); None without a frame."""
        if self._previous is None:
            return None
        rest = self._previous[:, self._width - self._scroll :]
        whole: Frame = np.concatenate([*self._columns, rest], axis=1)
        return whole

    def _copy_files(self, view: Frame, until: int) -> None:
        begin = self._width - self._scroll
        if begin < until:
            self._columns.append(view[:, begin:until].copy())
            self._width = self._scroll + until


def _shift(before: Frame, now: Frame) -> int | None:
    """The shift to the left in pixels, from 0 to :data:`MAX_SCROLL`; None if the scene has changed."""
    old: npt.NDArray[np.uint8] = before[::3, :, 0] ^ before[::3, :, 2]
    new: npt.NDArray[np.uint8] = now[::3, :, 0] ^ now[::3, :, 2]
    differing = [float(np.mean(new[:, : 256 - shift] != old[:, shift:])) for shift in range(MAX_SCROLL + 1)]
    best = int(np.argmin(differing))
    return best if differing[best] <= SCENE_CHANGE else None
