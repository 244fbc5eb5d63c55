"""Pictures of an episode as sheets: many pictures in one file, one below the other, from which a browser shows any at once.

The files are WebP without loss. A picture differs little from the one before it. The format makes use of that, so that a screen
takes less than 1 KB.
"""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from inspection.analysis import Analysis
from mario_env.film import INTERVAL, Film
from mario_env.scenery import scenery

__all__ = ["Layout", "Pictures", "data_uri", "level_map", "screens_uri", "sheet_count"]

SCREENS: Final = INTERVAL
"""Screens in a sheet: those from one snapshot to the next."""
_SEEN: Final = 64  # small pictures in a sheet
_FAST: Final[dict[str, Any]] = {"method": 1, "quality": 20}
_THOROUGH: Final[dict[str, Any]] = {"method": 4, "quality": 75}


@dataclass(frozen=True)
class Layout:
    """How the pictures of a kind lie in their sheets.

    Attributes:
        width, height: of a picture, in pixels.
        per_sheet: pictures in a sheet; the last sheet may have fewer.
        count: pictures in all.
    """

    width: int
    height: int
    per_sheet: int
    count: int

    @property
    def sheets(self) -> int:
        """How many sheets there are."""
        return sheet_count(self.count, self.per_sheet)


def sheet_count(count: int, per_sheet: int) -> int:
    """How many sheets `count` pictures take."""
    return -(-count // per_sheet)


class Pictures:
    """The pictures of an episode. It is not safe to use from several threads at once.

    Args:
        analysis: the episode.
        thorough: take three times as long to make the files a third smaller.
    """

    def __init__(self, analysis: Analysis, *, thorough: bool = False) -> None:
        self._analysis = analysis
        self._effort = _THOROUGH if thorough else _FAST
        self.film = Film(analysis.episode.environment, analysis.episode.start, analysis.buttons)

    @property
    def screens(self) -> Layout:
        """The game's screens, one for each frame."""
        return Layout(256, 240, SCREENS, self._analysis.frames)

    @property
    def seen(self) -> Layout:
        """The newest picture that the agent sees, one for each decision. Of tiles there are none: the page draws them."""
        if self._analysis.episode.environment.observation == "tiles":
            return Layout(0, 0, _SEEN, 0)
        height, width = self._analysis.observations.newest.shape[1:]
        return Layout(width, height, _SEEN, self._analysis.decisions)

    def screen_sheet(self, number: int) -> bytes:
        """A sheet of screens.

        Raises:
            IndexError: there is no such sheet.
        """
        first, count = _part(self.screens, number)
        return self._encode(self.film.screens(first, count).reshape(-1, 256, 3))

    def seen_sheet(self, number: int) -> bytes:
        """A sheet of what the agent sees.

        Raises:
            IndexError: there is no such sheet.
        """
        first, count = _part(self.seen, number)
        return self._encode(self._analysis.observations.newest[first : first + count].reshape(-1, self.seen.width))

    def _encode(self, picture: npt.NDArray[np.uint8]) -> bytes:
        return _webp(picture, self._effort)


@lru_cache(maxsize=32)
def level_map(rom: str, level: str) -> bytes | None:
    """The picture of a level as a file, of some 10 KB, which is kept in memory; None: there is none.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    found = scenery(rom, level)
    return None if found is None else _webp(found.picture, _FAST)


def data_uri(picture: bytes) -> str:
    """A WebP file as an address that holds it."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def screens_uri(screens: npt.NDArray[np.uint8]) -> str:
    """Screens, uint8 RGB of shape (n, 240, 256, 3), as the address of one sheet; empty if there are none."""
    return data_uri(_webp(screens.reshape(-1, *screens.shape[2:]), _FAST)) if len(screens) else ""


def _webp(picture: npt.NDArray[np.uint8], effort: dict[str, Any]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(picture).save(written, format="WEBP", lossless=True, **effort)
    return written.getvalue()


def _part(layout: Layout, number: int) -> tuple[int, int]:
    """The first picture of a sheet, and how many it has."""
    if not 0 <= number < layout.sheets:
        raise IndexError(f"sheet {number} of {layout.sheets}")
    first = number * layout.per_sheet
    return first, min(layout.per_sheet, layout.count - first)
