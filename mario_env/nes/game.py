"""Super Mario Bros on the machine: what gym-super-mario-bros does around the emulator, and what the RAM means.

A game starts by leaving the title screen, while the number of the level is written into RAM. After each frame, scenes that no
player can influence are skipped: deaths, pipes and changes of scene, the black screens between levels. The facts are those of
`mario_env.memory`, which names the sources. Tests compare the two.
"""

from typing import Any

from numba import int64

from mario_env.nes import console
from mario_env.nes.compiling import leaf

ENGINE_SUBROUTINE = 0x000E  # what the player does: 6 lost a life, 8 plays, 11 dies
ENEMY_ID = 0x0016
PLAYER_STATE = 0x001D  # 3: climbs
PLAYER_PAGE, PLAYER_X = 0x006D, 0x0086
PLAYER_Y_HIGH, PLAYER_RELATIVE_Y = 0x00B5, 0x03B8
CHANGE_AREA_TIMER = 0x06DE
AREA_TYPE, AREA_OFFSET = 0x074E, 0x074F
PLAYER_STATUS, TIMER_EXPIRED, LIVES = 0x0756, 0x0759, 0x075A
STAGE, WORLD, AREA = 0x075C, 0x075F, 0x0760
OPERATION_MODE = 0x0770  # 2: victory
PRELEVEL_TIMER = 0x07A0
SCORE, COINS, CLOCK = 0x07DE, 0x07ED, 0x07F8

LOST_LIFE, DYING = 6, 11
LAST_LEVEL = 31
START = 0x08  # the button
# A bound on skipping, whatever the game does: no scene lasts that long.
LONGEST_SKIP = 20_000


@leaf
def digits(ram: Any, address: int, count: int) -> int:
    """A decimal number of one digit a byte."""
    number = 0
    for i in range(count):
        number = number * 10 + int64(ram[address + i])
    return number


@leaf
def x_position(ram: Any) -> int:
    """Pixels from the left end of the area."""
    return int64(ram[PLAYER_PAGE]) * 256 + int64(ram[PLAYER_X])


@leaf
def y_position(ram: Any) -> int:
    """Pixels above the lower edge of the screen."""
    return max(0, 511 - int64(ram[PLAYER_Y_HIGH]) * 256 - int64(ram[PLAYER_RELATIVE_Y]))


@leaf
def level(ram: Any) -> int:
    """4 x (world - 1) + (stage - 1)."""
    return int64(ram[WORLD]) * 4 + int64(ram[STAGE])


@leaf
def place(ram: Any) -> int:
    """What has an x axis of its own: the level and the loaded area, as one number; see mario_env.memory.area."""
    return level(ram) * 8192 + int64(ram[AREA_TYPE]) * 32 + int64(ram[AREA_OFFSET] & 31)


@leaf
def lives(ram: Any) -> int:
    """Lives left including the current one."""
    return (int64(ram[LIVES]) + 1) & 0xFF


@leaf
def is_dying(ram: Any) -> bool:
    """Whether the player dies, is dead, or fell out of the screen."""
    return ram[ENGINE_SUBROUTINE] == DYING or ram[ENGINE_SUBROUTINE] == LOST_LIFE or ram[PLAYER_Y_HIGH] > 1


@leaf
def _is_world_over(ram: Any) -> bool:
    return ram[OPERATION_MODE] == 2


@leaf
def is_flag_reached(ram: Any) -> bool:
    """Whether the player slides down the flagpole (an object is the flag or Bowser, and he climbs), or has the axe."""
    if _is_world_over(ram):
        return True
    if ram[PLAYER_STATE] != 3:
        return False
    found = False
    for i in range(5):
        found = found or ram[ENEMY_ID + i] == 0x31 or ram[ENEMY_ID + i] == 0x2D
    return found


@leaf
def is_last_princess_saved(ram: Any) -> bool:
    """Whether the axe of 8-4 is reached."""
    return _is_world_over(ram) and level(ram) >= LAST_LEVEL


@leaf
def _is_busy(ram: Any) -> bool:
    return ram[ENGINE_SUBROUTINE] <= 7 and ram[ENGINE_SUBROUTINE] != LOST_LIFE


@leaf
def start(m: Any, c: Any, words: Any, pixels: Any, one_level: bool, world: int, stage: int, area: int) -> None:
    """Reset the machine and play to where the player can move. World, stage and area count from 1."""
    ram = m.ram
    console.reset(m, c)
    console.run_frame(m, c, words, pixels, START, True)
    console.run_frame(m, c, words, pixels, 0, True)
    frames = 0
    while digits(ram, CLOCK, 3) == 0 and frames < LONGEST_SKIP:
        console.run_frame(m, c, words, pixels, START, True)
        if one_level:
            ram[WORLD], ram[STAGE], ram[AREA] = world - 1, stage - 1, area - 1
        console.run_frame(m, c, words, pixels, 0, True)
        ram[PRELEVEL_TIMER] = 0
        frames += 1
    last = digits(ram, CLOCK, 3)
    while digits(ram, CLOCK, 3) >= last and frames < LONGEST_SKIP:
        last = digits(ram, CLOCK, 3)
        console.run_frame(m, c, words, pixels, START, True)
        console.run_frame(m, c, words, pixels, 0, True)
        frames += 1


@leaf
def step(m: Any, c: Any, words: Any, pixels: Any, frame_ram: Any, buttons: int, draw: bool, one_level: bool) -> bool:
    """Play one frame, skip the scenes after it, and return whether the game is over.

    `frame_ram` receives the RAM at the end of the frame, before anything is skipped. The screen is that of the last frame.
    """
    ram = m.ram
    console.run_frame(m, c, words, pixels, buttons, draw)
    for i in range(0x800):
        frame_ram[i] = ram[i]
    over = (is_dying(ram) or is_flag_reached(ram)) if one_level else ram[LIVES] == 0xFF
    if over or is_last_princess_saved(ram):
        return True
    _skip(m, c, words, pixels, draw, one_level)
    return False


@leaf
def _skip(m: Any, c: Any, words: Any, pixels: Any, draw: bool, one_level: bool) -> None:
    ram, frames = m.ram, 0
    if ram[ENGINE_SUBROUTINE] == DYING or ram[PLAYER_Y_HIGH] > 1:
        ram[ENGINE_SUBROUTINE] = LOST_LIFE
        console.run_frame(m, c, words, pixels, 0, draw)
    if not one_level and _is_world_over(ram):
        clock = digits(ram, CLOCK, 3)
        while digits(ram, CLOCK, 3) == clock and frames < LONGEST_SKIP:
            console.run_frame(m, c, words, pixels, 0, draw)
            frames += 1
    if 1 < ram[CHANGE_AREA_TIMER] < 255:
        ram[CHANGE_AREA_TIMER] = 1
    while (_is_busy(ram) or _is_world_over(ram)) and frames < LONGEST_SKIP:
        ram[PRELEVEL_TIMER] = 0
        console.run_frame(m, c, words, pixels, 0, draw)
        frames += 1
