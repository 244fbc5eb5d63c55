"""The meaning of the console's 2 KiB of RAM while Super Mario Bros runs.

Addresses are those of the annotated disassembly of the game (doppelganger, "SMBDIS.ASM",
https://gist.github.com/1wErt3r/4048722; the labels are quoted below) and of Data Crystal's RAM map
(https://datacrystal.tcrf.net/wiki/Super_Mario_Bros./RAM_map). All functions take a copy of the RAM as `bytes`. Indexing
bytes is many times faster than indexing a NumPy array, and gives Python integers, which do not overflow at 256.
"""

from typing import Any, Final

from configs.game_facts import STATUSES

__all__ = [
    "FACTS",
    "area",
    "is_axe_reached",
    "is_dying",
    "is_flag_reached",
    "is_game_over",
    "is_last_princess_saved",
    "is_time_up",
    "level",
    "lives",
    "read_facts",
    "x_position",
]

RAM_SIZE: Final = 0x800

FACTS: Final = ("x_pos", "y_pos", "score", "coins", "time", "life", "status", "world", "stage", "flag_get")
"""The names of the facts that :func:`read_facts` gives."""

_GAME_ENGINE_SUBROUTINE: Final = 0x000E  # 6: the player lost a life, 11: he is dying (PlayerDeath), 8: he plays
_ENEMY_ID: Final = 0x0016  # five slots
_PLAYER_STATE: Final = 0x001D  # 3: climbing, also down the flagpole
_PLAYER_PAGE: Final = 0x006D  # Player_PageLoc: pages of 256 pixels
_PLAYER_X: Final = 0x0086  # Player_X_Position within the page
_PLAYER_Y_HIGH: Final = 0x00B5  # Player_Y_HighPos: 0 above the screen, 1 on it, 2 and more below it
_PLAYER_RELATIVE_Y: Final = 0x03B8  # Player_Rel_YPos: pixels from the top
_AREA_TYPE: Final = 0x074E  # AreaType: 0 water, 1 ground, 2 underground, 3 castle
_AREA_OFFSET: Final = 0x074F  # AreaAddrsLOffset: which area of that type
_PLAYER_STATUS: Final = 0x0756  # 0 small, 1 tall, 2 fireball
_GAME_TIMER_EXPIRED: Final = 0x0759  # GameTimerExpiredFlag: the clock ran out and killed the player
_NUMBER_OF_LIVES: Final = 0x075A  # lives beyond the current one; wraps to 255 when the last is lost
_LEVEL_NUMBER: Final = 0x075C  # stage, from 0
_WORLD_NUMBER: Final = 0x075F  # world, from 0
_OPERATION_MODE: Final = 0x0770  # 0 title, 1 game, 2 victory (the axe was reached), 3 game over
_SCORE: Final = 0x07DE  # six decimal digits
_COINS: Final = 0x07ED  # two
_CLOCK: Final = 0x07F8  # three

_LOST_LIFE: Final = 6
_DYING: Final = 11
_CLIMBING: Final = 3
_VICTORY: Final = 2
_BOWSER: Final = 0x2D
_FLAG: Final = 0x31
_NO_LIVES: Final = 0xFF
_LAST_LEVEL: Final = 8 * 4 - 1


def _digits(memory: bytes, address: int, count: int) -> int:
    number = 0
    for digit in memory[address : address + count]:
        number = number * 10 + digit
    return number


def x_position(memory: bytes) -> int:
    """The player's distance from the left end of the area, in pixels."""
    return memory[_PLAYER_PAGE] * 256 + memory[_PLAYER_X]


def _y_position(memory: bytes) -> int:
    """The player's height above the lower edge of the screen, in pixels: 0 below that edge, 256 to 511 above the upper edge."""
    return max(0, 511 - memory[_PLAYER_Y_HIGH] * 256 - memory[_PLAYER_RELATIVE_Y])


def level(memory: bytes) -> int:
    """The level as one number: 4 x (world - 1) + (stage - 1)."""
    return memory[_WORLD_NUMBER] * 4 + memory[_LEVEL_NUMBER]


def area(memory: bytes) -> int:
    """The area that is loaded, as one number: 32 x AreaType + AreaAddrsLOffset, 0 to 8191.

    The game sets both when it loads an area (GetAreaDataAddrs). It takes them from AreaPointer (0x0750), which is not always
    the present area: as soon as the screen nears a pipe, the game writes the area behind the pipe there (ParseRow0e).
    """
    return memory[_AREA_TYPE] * 32 + (memory[_AREA_OFFSET] & 31)


def lives(memory: bytes) -> int:
    """Lives left including the current one; 0 when the game is over."""
    return (memory[_NUMBER_OF_LIVES] + 1) & 0xFF


def is_dying(memory: bytes) -> bool:
    """Whether the player dies, is dead, or fell out of the screen."""
    return memory[_GAME_ENGINE_SUBROUTINE] in (_DYING, _LOST_LIFE) or memory[_PLAYER_Y_HIGH] > 1


def is_time_up(memory: bytes) -> bool:
    """Whether it was the clock that killed the player."""
    return memory[_GAME_TIMER_EXPIRED] != 0


def is_game_over(memory: bytes) -> bool:
    """Whether the last life was lost."""
    return memory[_NUMBER_OF_LIVES] == _NO_LIVES


def is_axe_reached(memory: bytes) -> bool:
    """Whether the player has the axe of a castle."""
    return memory[_OPERATION_MODE] == _VICTORY


def is_flag_reached(memory: bytes) -> bool:
    """Whether the level's goal is reached: the player slides down the flagpole, or he has the axe of a castle.

    Climbing alone is not enough, since the player climbs vines too: one of the moving objects must be the flag. Bowser counts
    as in gym-super-mario-bros: there are no vines where he is.
    """
    if is_axe_reached(memory):
        return True
    if memory[_PLAYER_STATE] != _CLIMBING:
        return False
    enemies = memory[_ENEMY_ID : _ENEMY_ID + 5]
    return _FLAG in enemies or _BOWSER in enemies


def is_last_princess_saved(memory: bytes) -> bool:
    """Whether the axe of 8-4 is reached. No level comes after it: the game waits for a button for ever."""
    return is_axe_reached(memory) and level(memory) >= _LAST_LEVEL


def read_facts(memory: bytes) -> dict[str, Any]:
    """The facts that every step's info carries.

    Returns:
        x_pos and y_pos (pixels), score, coins (0-99), time (units of the game's clock), life (lives left, the current one
        included), status ("small", "tall" or "fireball"), world, stage (from 1) and flag_get (whether the goal is reached).
    """
    return {
        "x_pos": x_position(memory),
        "y_pos": _y_position(memory),
        "score": _digits(memory, _SCORE, 6),
        "coins": _digits(memory, _COINS, 2),
        "time": _digits(memory, _CLOCK, 3),
        "life": lives(memory),
        "status": STATUSES[min(memory[_PLAYER_STATUS], 2)],
        "world": memory[_WORLD_NUMBER] + 1,
        "stage": memory[_LEVEL_NUMBER] + 1,
        "flag_get": is_flag_reached(memory),
    }
