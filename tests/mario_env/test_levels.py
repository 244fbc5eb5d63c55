"""The table of finishes agrees with the level data in the ROM.

Formats as documented in the game's annotated disassembly (doppelganger, SMBDIS.ASM), tables `WorldAddrOffsets` to
`AreaDataAddrHigh`, routines `ProcessAreaData` and `ProcessEnemyData`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import EnvironmentConfig
from configs.game_facts import STAGES, WORLDS
from configs.levels import FINISH_X, LEVELS, kind_of
from mario_env import memory as ram
from mario_env.console import _rom_folder
from mario_env.fast import FastConsole

_AREA_OFFSETS = 0x9CBC  # AreaAddrOffsets, one byte an area; the eight WorldAddrOffsets stand before them
_AREAS = 36
_INTRO = 0x29  # the scene before 1-2, 2-2, 4-2 and 7-2, where the player walks into a pipe by himself
_BONUS_ROOMS = 0x42  # one area with the underground bonus rooms of all levels side by side
_FLAGPOLE, _AXE, _WARP_ZONE = 0x41, 0x42, 0x45
_PLAYER_WIDTH = 16


class Rom:
    """The level data of the game's program."""

    def __init__(self, path: Path) -> None:
        self._program = path.read_bytes()[16 : 16 + 0x8000]

    def byte(self, address: int) -> int:
        return self._program[address - 0x8000]

    def levels(self) -> Iterator[tuple[int, int, int]]:
        """World, stage and area of each level's beginning."""
        starts = [self.byte(_AREA_OFFSETS - 8 + world) for world in range(8)]
        for world, (start, end) in enumerate(zip(starts, [*starts[1:], _AREAS], strict=True), start=1):
            areas = [self.byte(_AREA_OFFSETS + index) for index in range(start, end)]
            for stage, area in enumerate((area for area in areas if area != _INTRO), start=1):
                yield world, stage, area

    def _data(self, area: int, offsets: int, low: int, high: int) -> int:
        index = self.byte(offsets + (area >> 5 & 3)) + (area & 31)
        return self.byte(low + index) | self.byte(high + index) << 8

    def objects(self, area: int) -> Iterator[tuple[int, int, int]]:
        """x in pixels, row and kind of what an area is built of."""
        address, page = self._data(area, 0x9D28, 0x9D2C, 0x9D4E) + 2, 0
        while self.byte(address) != 0xFD:
            place, kind = self.byte(address), self.byte(address + 1)
            address += 2
            page += kind >> 7
            if place & 15 == 13 and not kind & 0x40:
                page = kind & 31
            else:
                yield page * 256 + (place >> 4) * 16, place & 15, kind & 0x7F

    def exits(self, area: int, world: int) -> Iterator[tuple[int, int, int]]:
        """x of an exit that counts in this world, the area it leads to, and the page one arrives on."""
        address, page = self._data(area, 0x9CE0, 0x9CE4, 0x9D06), 0
        while self.byte(address) != 0xFF:
            place, kind = self.byte(address), self.byte(address + 1)
            row = place & 15
            page = kind & 0x3F if row == 15 else page + (kind >> 7)
            if row == 14:
                where = self.byte(address + 2)
                if where >> 5 == world - 1:
                    yield page * 256 + (place >> 4) * 16, kind & 0x7F, where & 31
            address += 3 if row == 14 else 2

    def reachable(self, area: int, world: int) -> set[int]:
        """The areas of a level."""
        seen: set[tuple[int, int]] = set()
        ahead = [(area, 0)]
        while ahead:
            here, page = ahead.pop()
            if (here, page) in seen:
                continue
            seen.add((here, page))
            ways = list(self.exits(here, world))
            if here == _BONUS_ROOMS:  # each room has its own way out, and a wall behind it
                ways = [min((way for way in ways if way[0] >= page * 256), default=ways[-1])]
            ahead += [(there, arrival) for _, there, arrival in ways]
        return {here for here, _ in seen}

    def finishes(self, area: int) -> Iterator[int]:
        """x of everything in an area that completes the level."""
        objects = list(self.objects(area))
        for x, row, kind in objects:
            if row == 13 and kind in (_FLAGPOLE, _AXE):
                yield x
            if row == 13 and kind == _WARP_ZONE:  # its pipes stand on the screen that ends here
                yield min(pipe for pipe, row, kind in objects if row < 12 and kind >= 0x78 and x - 512 <= pipe < x)


@pytest.fixture(scope="module")
def rom() -> Rom:
    return Rom(_rom_folder() / "super-mario-bros.nes")


def test_every_level_has_a_finish() -> None:
    assert sorted(FINISH_X) == [(world, stage) for world in WORLDS for stage in STAGES]


def test_the_finishes_are_those_of_the_rom(rom: Rom) -> None:
    read = {
        (world, stage): min(x for part in rom.reachable(area, world) for x in rom.finishes(part)) - _PLAYER_WIDTH
        for world, stage, area in rom.levels()
    }
    assert read == FINISH_X


def test_the_kinds_are_those_of_the_areas_where_the_levels_begin() -> None:
    kinds = ("water", "ground", "underground", "castle")  # AreaType
    begun = {}
    for world, stage in FINISH_X:
        console = FastConsole(EnvironmentConfig(world=world, stage=stage))
        console.reset()
        begun[f"{world}-{stage}"] = kinds[ram.area(console.memory) // 32]
    assert begun == {level: kind_of(level) for level in LEVELS}
