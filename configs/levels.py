"""The levels of Super Mario Bros: how they are named, and where each of them ends."""

import re
from typing import Final

__all__ = ["FINISH_X", "LEVEL_NAME"]

LEVEL_NAME: Final = re.compile("[1-8]-[1-4]")
"""World and stage, such as 1-2."""

FINISH_X: Final[dict[tuple[int, int], int]] = {
    (1, 1): 3152,
    (1, 2): 2832,  # the warp zone's first pipe; the flagpole is at 3152
    (1, 3): 2416,
    (1, 4): 2240,
    (2, 1): 3184,
    (2, 2): 3152,
    (2, 3): 3584,
    (2, 4): 2240,
    (3, 1): 3184,
    (3, 2): 3328,
    (3, 3): 2400,
    (3, 4): 2240,
    (4, 1): 3584,
    (4, 2): 784,  # the first pipe of the warp zone up the vine; the flagpole is at 3152
    (4, 3): 2336,
    (4, 4): 2752,
    (5, 1): 3168,
    (5, 2): 3184,
    (5, 3): 2416,
    (5, 4): 2240,
    (6, 1): 2960,
    (6, 2): 3440,
    (6, 3): 2656,
    (6, 4): 2240,
    (7, 1): 2848,
    (7, 2): 3152,
    (7, 3): 3584,
    (7, 4): 3264,
    (8, 1): 6000,
    (8, 2): 3440,
    (8, 3): 3408,
    (8, 4): 4800,
}
"""By (world, stage): the smallest x position (pixels, the player's left edge) at which the level can be completed.

Each value is the x of the level's flagpole or axe, minus 16 pixels: the player is 16 pixels wide and comes from the left.
Where the level has a warp zone, it is the x of the zone's first pipe instead. The positions are read from the level data in
the ROM, and `tests/mario_env/test_levels.py` checks them. The pole of 1-1 is at 3168, for example; its flag is reached at 3161.
Levels 1-2, 2-2, 4-2 and 7-2 end in a separate area, the last pages of 1-1. Their x positions count from that area's left end.
"""
