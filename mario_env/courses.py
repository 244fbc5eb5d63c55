"""The course of a full game: which levels it went through, and what happened in each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from configs.levels import LEVELS
from configs.schema import EnvironmentConfig
from mario_env.errors import PlaybackError
from mario_env.fast import cartridge, start_of_game
from mario_env.games import rules_of
from mario_env.nes.machine import Fleet
from mario_env.observations import observation_of
from mario_env.summary import EpisodeStart
from mario_env.wrappers.actions import button_combinations, pressed_buttons

__all__ = ["Visit", "course_of", "until_warp"]


@dataclass(frozen=True)
class Visit:
    """What happened in one level of a full game.

    Attributes:
        level: such as 1-2.
        decisions, frames: that were played in it, all lives together.
        distance: pixels from where its areas were entered to the furthest x in them.
        lives_lost: in it.
        completed: whether the game left it for a later level, by its flag, axe or a warp pipe; or saved the last princess.
    """

    level: str
    decisions: int = 0
    frames: int = 0
    distance: int = 0
    lives_lost: int = 0
    completed: bool = False


def course_of(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes = b"") -> tuple[Visit, ...]:
    """The course of a full game, which is played again for it on the fast emulator; a game of 5000 decisions takes a second.

    Args:
        config: the environment that it was played in; `start`, `actions` and `delays` as for :func:`mario_env.play_back`.

    Returns:
        Its levels in their order. A world beyond the eighth (the minus world) counts as the level from which it was entered.

    Raises:
        PlaybackError: the episode does not end with the last action, so it was played under another configuration.
    """
    visits = [Visit("1-1")]
    before = dict.fromkeys(("distance", "deaths", "levels_completed"), 0)
    for after in _outcomes(config, start, actions, delays):
        now = visits[-1]
        visits[-1] = replace(
            now,
            decisions=now.decisions + 1,
            frames=now.frames + after["frames"],
            distance=now.distance + after["distance"] - before["distance"],
            lives_lost=now.lives_lost + after["deaths"] - before["deaths"],
            completed=after["levels_completed"] > before["levels_completed"],
        )
        level = f"{after['world']}-{after['stage']}"
        if level != visits[-1].level and level in LEVELS:
            visits.append(Visit(level))
        before = after
    return tuple(visits)


def until_warp(course: tuple[Visit, ...]) -> tuple[Visit, ...]:
    """The course up to the first warp pipe, as if the game had ended there: its level counts as not completed."""
    for number, (here, there) in enumerate(pairwise(course)):
        if LEVELS.index(there.level) > LEVELS.index(here.level) + 1:
            return *course[:number], replace(here, completed=False)
    return course


def _outcomes(config: EnvironmentConfig, start: EpisodeStart, actions: bytes, delays: bytes) -> Iterator[dict[str, Any]]:
    """What each decision came to (`mario_env.nes.play.OUTCOME`)."""
    observation = observation_of(config)
    fleet = Fleet(cartridge(config.rom), rules_of(config), 1, observation)
    fleet.restore(0, start_of_game(config.rom, None, observation))
    for _ in range(start.noop_frames):
        fleet.step(0, 0)
    fleet.begin(0)
    pressed = pressed_buttons(button_combinations(config))
    names = fleet.outcomes.dtype.names or ()
    for number, action in enumerate(actions, 1):
        fleet.decide([pressed[action]], delays=[delays[number - 1]] if delays else None)
        outcome = dict(zip(names, fleet.facts[0].tolist(), strict=True))
        yield outcome
        if outcome["terminated"] or outcome["truncated"]:
            if number == len(actions):
                return
            break
    raise PlaybackError("the game does not end with the last of its decisions: it was played under another configuration")
