"""The level as one long picture, put together from the frames of an episode that runs through it."""

from typing import Final

import numpy as np
import numpy.typing as npt

from reports.video import Frame

STATUS_BAR_ROWS: Final = 32
MOST_SCROLL: Final = 8  # pixels a frame; Mario runs at 2.5, and the ground repeats every 16, beyond which a match says nothing
SETTLED: Final = 244  # columns right of this one may still be being written by the game
SCENE_CHANGE: Final = 0.35  # share of differing pixels that no scrolling explains


class LevelPanorama:
    """Collects the columns of a level as they scroll into view; column i of the picture is x = i of the game.

    The camera of Super Mario Bros starts at 0 and only moves right. How far it moved is found by comparing each frame with
    the one before: backgrounds move by whole pixels and match exactly. Each column is taken when it first appears, before
    Mario gets there. Collecting ends at the first cut (a pipe, a black screen, the next level).
    """

    def __init__(self) -> None:
        self._columns: list[Frame] = []
        self._width = 0
        self._scroll = 0
        self._previous: Frame | None = None
        self._ended = False

    def add(self, frame: Frame) -> None:
        """Take the next frame, RGB uint8 of shape (240, 256, 3)."""
        if self._ended:
            return
        view = frame[STATUS_BAR_ROWS:]
        if self._previous is not None:
            shift = _shift(self._previous, view)
            if shift is None:
                self._ended = True
                return
            self._scroll += shift
        self._take(view, SETTLED)
        self._previous = view.copy()

    def picture(self) -> Frame | None:
        """The level as far as it was seen, uint8 of shape (208, width, 3); None without a frame."""
        if self._previous is None:
            return None
        rest = self._previous[:, self._width - self._scroll :]
        whole: Frame = np.concatenate([*self._columns, rest], axis=1)
        return whole

    def _take(self, view: Frame, until: int) -> None:
        begin = self._width - self._scroll
        if begin < until:
            self._columns.append(view[:, begin:until].copy())
            self._width = self._scroll + until


def _shift(before: Frame, now: Frame) -> int | None:
    """How many pixels the picture moved to the left, 0 to :data:`MOST_SCROLL`; None if it is another scene."""
    old: npt.NDArray[np.uint8] = before[::3, :, 0] ^ before[::3, :, 2]
    new: npt.NDArray[np.uint8] = now[::3, :, 0] ^ now[::3, :, 2]
    differing = [float(np.mean(new[:, : 256 - shift] != old[:, shift:])) for shift in range(MOST_SCROLL + 1)]
    best = int(np.argmin(differing))
    return best if differing[best] <= SCENE_CHANGE else None
