"""The emulator against nes-py, frame by frame: all RAM after every frame, every fifth picture.

200 000 frames, that is three to five minutes of one core, most of them nes-py's; MARIO_PARITY_FRAMES asks for fewer or more.
"""

import os

import pytest

from benchmarks.parity import GAMES, Count, available_roms, lockstep, plays_of_level
from benchmarks.pilot import STYLES

FRAMES = int(os.environ.get("MARIO_PARITY_FRAMES", "200000"))


def _name(number: int) -> str:
    return "full" if number == GAMES - 1 else f"{number // 4 + 1}-{number % 4 + 1}"


@pytest.mark.parametrize("number", range(GAMES), ids=_name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_byte_and_every_pixel_are_those_of_nes_py(number: int) -> None:
    total = Count()
    todo = plays_of_level(number, -(-FRAMES // GAMES), 100 * number, picture_every=5)
    for play in todo:
        total.add(lockstep(play))
    assert total.frames == sum(play.frames for play in todo) >= FRAMES // GAMES
    assert {play.rom for play in todo} == set(available_roms())
    assert {play.style for play in todo} == set(STYLES) - {"wait"}
    assert total.flags + total.axes > 0, "the stored play finishes the level"
    assert total.time_ups > 0
    assert total.falls + total.deaths_by_enemies > 0
