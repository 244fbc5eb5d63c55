"""Facts about Super Mario Bros, used to write and check episode rows."""

from typing import Final

WORLDS: Final = range(1, 9)
STAGES: Final = range(1, 5)
CLOCK_MAX: Final = 400  # in the game's clock units: the time limit of the longest levels
COINS_MAX: Final = 99  # the hundredth coin is exchanged for a life

STATUSES: Final = ("small", "tall", "fireball")

END_REASONS: Final = (
    "completed",  # the level's flag or axe was reached (full game: that of the last level)
    "died",  # single level: the life was lost to an enemy or a pit
    "timed_out",  # a life was lost because the game's clock ran out
    "game_over",  # full game: the last life was lost
    "life_lost",  # full game with life_loss_ends_episode: a life was lost
    "stalled",  # truncated: no progress for environment.stall_after decisions
    "step_limit",  # truncated: environment.max_steps decisions
)
