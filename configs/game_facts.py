"""Facts about Super Mario Bros that rows are written with and checked against."""

from typing import Final

WORLDS: Final = range(1, 9)
STAGES: Final = range(1, 5)
CLOCK_MAX: Final = 400  # units of the game's clock at the start of the longest levels
COINS_MAX: Final = 99  # the hundredth coin becomes a life

STATUSES: Final = ("small", "tall", "fireball")

END_REASONS: Final = (
    "completed",  # the level's flag or axe was reached (full game: the last level's)
    "died",  # the only life of a level was lost to an enemy or a pit
    "timed_out",  # a life was lost because the game's clock ran out
    "game_over",  # the full game's last life was lost
    "life_lost",  # the full game, ended by choice at the first lost life
    "stalled",  # truncated: no progress for too long
    "step_limit",  # truncated: too many decisions
)
