"""Button presses for the comparison of the emulators, in several styles of play."""

from functools import cache
from typing import Final

import numpy as np

from benchmarks.finishes import FRAME_SKIP, GOALS, Level, config_of, name_of
from mario_env.demonstrations import read_plays
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["STYLES", "Pilot", "frames_needed", "stored_plays"]

# "finish" plays the episodes that `benchmarks.finishes` found for the level (finishing, pipes, hits), and then "run". "still"
# presses nothing with little time left on the clock, "wait" with all of it. "hold" holds buttons for seconds. "tampered" is
# "run" with writes into the RAM.
STYLES: Final = ("mash", "run", "pipes", "idle", "anything", "tampered", "finish", "hold", "still", "wait")
# RAM writes of "tampered": growing, fire, the star, coins, a clock that runs out.
_TAMPERING: Final = ((0x0756, 1), (0x0756, 2), (0x079F, 35), (0x07EE, 9), (0x07F8, 0), (0x07F9, 0), (0x07FA, 1), (0x0754, 0))
_LITTLE_TIME: Final = ((0x07F8, 0), (0x07F9, 1))  # the first two of the clock's three digits
_CLOCK_UNIT: Final = 24  # frames
A, B, SELECT, START, UP, DOWN, LEFT, RIGHT = (1 << bit for bit in range(8))


@cache
def stored_plays(level: Level | None) -> tuple[bytes, ...]:
    """The actions that `benchmarks.finishes` found for a level, or for the full game. Each lasts `FRAME_SKIP` frames."""
    plays = read_plays()
    names = ["full"] if level is None else [name_of(level, goal) for goal in GOALS]
    return tuple(plays[name] for name in names if name in plays)


def frames_needed(style: str, level: Level | None) -> int:
    """The frames that a style needs: for the stored episodes, or until the clock has run out."""
    if style == "finish":
        # If the actions end before the game, the pilot runs until Mario dies.
        return sum(len(actions) * FRAME_SKIP + 600 for actions in stored_plays(level)) - 580
    return {"still": 21, "wait": 410}.get(style, 10) * _CLOCK_UNIT


def _pressed_at_random(style: str, generator: np.random.Generator) -> int:
    match style:
        case "run" | "tampered" | "finish":
            return RIGHT | B | (A if generator.random() < 0.6 else 0)
        case "pipes":
            return int(generator.choice([RIGHT, RIGHT | A, RIGHT | A | B, DOWN, DOWN, DOWN | RIGHT, LEFT, UP, 0]))
        case "idle":
            return int(generator.choice([0, 0, 0, 0, A, LEFT, DOWN]))
        case "still" | "wait":
            return 0
        case "anything":
            return int(generator.integers(256)) & ~START
    return int(generator.choice([0, RIGHT, RIGHT | A, RIGHT | B, RIGHT | A | B, A, LEFT, LEFT | A, LEFT | B, DOWN, UP]))


class Pilot:
    """Chooses the buttons of consecutive games, frame by frame.

    Args:
        style: one of `STYLES`.
        level: the level; None: the full game.
        seed: seed of random buttons.
    """

    def __init__(self, style: str, level: Level | None, seed: int) -> None:
        self._style, self._generator, self._held = style, np.random.default_rng(seed), 0
        self._plays = list(stored_plays(level)) if style == "finish" else []
        self._pressed = pressed_buttons(button_combinations(config_of(level)))
        self._play = b""
        self._frame = 0
        self._changes = {"idle": 0.02, "hold": 0.008}.get(style, 0.1)  # most buttons are held for a while, as players do

    def begin(self) -> None:
        """Start the next game."""
        self._play = self._plays.pop(0) if self._plays else b""
        self._frame = 0

    def buttons(self) -> int:
        """The buttons of the next frame."""
        decision = self._frame // FRAME_SKIP
        self._frame += 1
        if decision < len(self._play):
            return self._pressed[self._play[decision]]
        if self._generator.random() < self._changes:
            self._held = _pressed_at_random(self._style, self._generator)
        return self._held

    def tamper(self) -> tuple[tuple[int, int], ...]:
        """The addresses and values to write into the RAM of both emulators before the next frame."""
        if self._style == "still" and self._frame == 0:
            return _LITTLE_TIME
        if self._style == "tampered" and self._generator.random() < 0.02:
            return (_TAMPERING[int(self._generator.integers(len(_TAMPERING)))],)
        return ()
