"""The background of a level as one picture, without Mario and enemies."""

from dataclasses import dataclass
from typing import Final

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


def scenery(rom: str, level: str) -> Scenery | None:
    """The picture of a level, drawn while a shipped demonstration plays it; None: there is no demonstration of it.

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
        left = memory[SCREEN_LEFT_PAGE] * 256 + memory[SCREEN_LEFT]
        width = self._columns.shape[1]
        if area(memory) != self._area or left + until <= width:
            return
        self._left = left
        new = np.zeros((self._columns.shape[0], left + until - width, 3), np.uint8)
        first = max(width, left)
        new[:, first - width :] = self._background(first, left + until)[STATUS_BAR_ROWS:]
        self._columns = np.concatenate([self._columns, new], axis=1)

    def finish(self) -> Scenery:
        self.look(_SCREEN)
        return Scenery(self._area, self._columns)

    def _background(self, first: int, end: int) -> npt.NDArray[np.uint8]:
        """The columns of the level from `first` to before `end`, uint8 RGB of shape (240, end - first, 3).

        The nametables, side by side, have 64 columns of tiles, and each column of the level is in one of them at a time.
        """
        machine = self._console.machine
        memory = machine["nametables"].reshape(-1, 1024)
        rows, columns = np.arange(30)[:, np.newaxis], np.arange(first // 8, -(-end // 8))
        table, column = columns // 32 % 2, columns % 32
        attributes = memory[table, 960 + rows // 4 * 8 + column // 4]
        palettes = attributes >> ((rows & 2) << 1 | (column & 2)) & 3
        tiles = memory[table, 32 * rows + column].astype(np.int64) + 256 * int(machine["ppuctrl"] >> 4 & 1)
        pixels = self._characters[tiles]  # (30, columns, 8, 8)
        colours = np.where(pixels, 4 * palettes[:, :, np.newaxis, np.newaxis] + pixels, 0)
        blocks = PALETTE_RGB[self._palette[colours] & 0x3F]
        picture: npt.NDArray[np.uint8] = blocks.transpose(0, 2, 1, 3, 4).reshape(240, -1, 3)
        return picture[:, first % 8 :][:, : end - first]


def _patterns(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels of all tiles, 0 to 3, uint8 (512, 8, 8)."""
    planes = np.unpackbits(characters.reshape(512, 2, 8, 1), axis=3)
    return (planes[:, 0] | planes[:, 1] << 1).astype(np.uint8)
