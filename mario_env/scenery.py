"""The background of a level as one picture, without Mario and enemies."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from configs.schema import EnvironmentConfig
from mario_env.demonstrations import read_plays
from mario_env.fast import FastConsole, cartridge
from mario_env.memory import area
from mario_env.nes.picture import PALETTE_RGB
from mario_env.observations.tiles import SCREEN_LEFT, SCREEN_LEFT_PAGE
from mario_env.wrappers.actions import button_combinations, pressed_buttons
from mario_env.wrappers.observation import STATUS_BAR_ROWS

__all__ = ["Scenery", "first_area", "scenery"]

_SCREEN: Final = 256
_SETTLED: Final = 240
"""The game may still be drawing the columns of the screen from this one on."""


@dataclass(frozen=True)
class Scenery:
    """What a level looks like.

    Attributes:
        area: which area of the level, as :func:`mario_env.memory.area`. Areas behind pipes are not in the picture.
        picture: uint8 RGB of shape (208, width, 3), without the status bar. Column i is x = i in the game. Columns that the
            demonstration does not pass are black.
    """

    area: int
    picture: npt.NDArray[np.uint8]


def first_area(rom: str, level: str) -> int:
    """The area in which a level begins, as :func:`mario_env.memory.area`.

    Args:
        rom: a variant of the ROM, as `environment.rom`.
        level: such as 1-2.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    return area(_console(rom, level).memory)


@lru_cache(maxsize=32)
def scenery(rom: str, level: str) -> Scenery | None:
    """The picture of a level, drawn while a shipped demonstration plays it; None: there is no demonstration of it.

    It takes a quarter of a second, and is kept in memory.

    Args:
        rom, level: as for :func:`first_area`.

    Raises:
        RomUnavailableError: the installed gym-super-mario-bros has no such ROM.
    """
    actions = read_plays().get(level)
    if actions is None:
        return None
    console, config = _console(rom, level), _config(rom, level)
    pressed = pressed_buttons(button_combinations(config))
    drawing = _Drawing(cartridge(rom)["chr"][0], console)
    for action in actions:
        for _ in range(config.frame_skip):
            console.advance(pressed[action])
        drawing.look()
    return drawing.finish()


def _config(rom: str, level: str) -> EnvironmentConfig:
    return EnvironmentConfig(actions="complex", rom=rom).at_level(level)  # type: ignore[arg-type]


def _console(rom: str, level: str) -> FastConsole:
    console = FastConsole(_config(rom, level))
    console.reset()
    return console


class _Drawing:
    """Copies the columns of the first area as they come onto the screen: Mario has changed nothing there yet."""

    def __init__(self, characters: npt.NDArray[np.uint8], console: FastConsole) -> None:
        self._console, self._characters = console, _patterns(characters)
        self._area = area(console.memory)
        self._palette = console.machine["palette"].copy()  # coins and blocks glitter by changes of the palette
        self._columns = np.zeros((240 - STATUS_BAR_ROWS, 0, 3), np.uint8)
        self._left = 0
        self.look()

    def look(self, until: int = _SETTLED) -> None:
        memory = self._console.memory
        left = int(memory[SCREEN_LEFT_PAGE]) * 256 + int(memory[SCREEN_LEFT])
        width = self._columns.shape[1]
        if area(memory) != self._area or left + until <= width:
            return
        self._left = left
        new = np.zeros((self._columns.shape[0], left + until - width, 3), np.uint8)
        first = max(width, left)
        new[:, first - width :] = self._background()[STATUS_BAR_ROWS:, np.arange(first, left + until) % (2 * _SCREEN)]
        self._columns = np.concatenate([self._columns, new], axis=1)

    def finish(self) -> Scenery:
        self.look(_SCREEN)
        return Scenery(self._area, self._columns)

    def _background(self) -> npt.NDArray[np.uint8]:
        """Both nametables side by side, uint8 RGB of shape (240, 512, 3): the screen is a part of them."""
        machine = self._console.machine
        return np.concatenate([self._table(machine, number) for number in range(2)], axis=1)

    def _table(self, machine: Any, number: int) -> npt.NDArray[np.uint8]:
        memory = machine["nametables"][1024 * number : 1024 * (number + 1)]
        rows, columns = np.mgrid[:30, :32]
        attributes = memory[960:].reshape(8, 8)[rows // 4, columns // 4]
        palettes = attributes >> ((rows & 2) << 1 | (columns & 2)) & 3
        tiles = memory[:960].reshape(30, 32).astype(np.int64) + 256 * int(machine["ppuctrl"] >> 4 & 1)
        pixels = self._characters[tiles]  # (30, 32, 8, 8)
        colours = np.where(pixels, 4 * palettes[:, :, np.newaxis, np.newaxis] + pixels, 0)
        blocks = PALETTE_RGB[self._palette[colours] & 0x3F]
        picture: npt.NDArray[np.uint8] = blocks.transpose(0, 2, 1, 3, 4).reshape(240, 256, 3)
        return picture


def _patterns(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels of all tiles, 0 to 3, uint8 (512, 8, 8)."""
    planes = np.unpackbits(characters.reshape(512, 2, 8, 1), axis=3)
    return (planes[:, 0] | planes[:, 1] << 1).astype(np.uint8)
