"""The levels of Super Mario Bros: how they are named, where each of them ends, and how long the way there takes at best."""

import re
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

__all__ = ["FINISH_X", "LEVELS", "LEVEL_NAME", "ROUTES", "RUNNING", "RUN_UP", "SWIMMING", "Kind", "Route", "kind_of"]

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

RUNNING: Final = 3.0
"""Pixels a frame at full speed, running. The vanilla ROM has the European release's speeds; the American one runs at 2.5."""

SWIMMING: Final = 1.75
"""Pixels a frame at full swimming speed."""

RUN_UP: Final = 43
"""Pixels that starting from rest costs against full running speed."""


@dataclass(frozen=True)
class Route:
    """The way through a level that its demonstration in `mario_env/finishes.json` takes.

    Attributes:
        distance: pixels as episodes count them: from where an area was entered to its furthest x, summed over areas. A pipe
            or a maze that moves the player within an area counts.
        ran: pixels that the player has to run: without what a pipe or a maze moves him.
        swum: pixels that he has to swim.
    """

    distance: int
    ran: int
    swum: int = 0

    def decisions_at_full_speed(self, frame_skip: int) -> int:
        """The fewest decisions of `frame_skip` frames on this route: full speed all the way, after one run-up from rest.

        Nothing is in the way, and pipes, vines and further stops cost nothing. Where a shortcut takes less than this route, an
        episode may need fewer.
        """
        frames = (self.ran + RUN_UP) / RUNNING + self.swum / SWIMMING
        return ceil(frames / frame_skip)


ROUTES: Final[dict[tuple[int, int], Route]] = {
    (1, 1): Route(3121, 3121),
    (1, 2): Route(2893, 2893),
    (1, 3): Route(2385, 2385),
    (1, 4): Route(2221, 2221),
    (2, 1): Route(3153, 3153),
    (2, 2): Route(3260, 290, 2970),
    (2, 3): Route(3553, 3553),
    (2, 4): Route(2217, 2217),
    (3, 1): Route(3153, 3153),
    (3, 2): Route(3297, 3297),
    (3, 3): Route(2369, 2369),
    (3, 4): Route(2215, 2215),
    (4, 1): Route(3553, 3553),
    (4, 2): Route(3228, 3228),
    (4, 3): Route(2305, 2305),
    (4, 4): Route(2721, 2721),
    (5, 1): Route(3137, 3137),
    (5, 2): Route(3153, 3153),
    (5, 3): Route(2385, 2385),
    (5, 4): Route(2220, 2220),
    (6, 1): Route(2929, 2929),
    (6, 2): Route(3409, 3409),
    (6, 3): Route(2625, 2625),
    (6, 4): Route(2211, 2211),
    (7, 1): Route(2817, 2817),
    (7, 2): Route(3260, 290, 2970),
    (7, 3): Route(3553, 3553),
    (7, 4): Route(3235, 3235),
    (8, 1): Route(5969, 5969),
    (8, 2): Route(3409, 3409),
    (8, 3): Route(3377, 3377),
    (8, 4): Route(5798, 2856, 1018),
}
"""By (world, stage): the route to the flagpole or axe. `tests/mario_env/test_routes.py` plays them."""

LEVELS: Final = tuple(f"{world}-{stage}" for world, stage in FINISH_X)
"""All levels, in the order of the game."""

Kind = Literal["ground", "underground", "water", "castle"]

_UNUSUAL: Final[dict[str, Kind]] = {"1-2": "underground", "4-2": "underground", "2-2": "water", "7-2": "water"}


def kind_of(level: str) -> Kind:
    """What a level looks like where it begins, as the ROM has it (AreaType)."""
    return "castle" if level.endswith("-4") else _UNUSUAL.get(level, "ground")
