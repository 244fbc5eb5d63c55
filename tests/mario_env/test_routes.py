"""The routes through the levels are those of the demonstrations, and full speed is what the game allows."""

import pytest

from configs.levels import FINISH_X, ROUTES, RUN_UP, RUNNING, SWIMMING
from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, play_back
from mario_env.demonstrations import read_plays
from mario_env.fast import FastConsole
from mario_env.memory import area, x_position
from mario_env.wrappers.actions import button_combinations, pressed_buttons

_WATER = 0
_SPEED = 0x0057  # Player_X_Speed, sixteenths of a pixel a frame


def hold(console: FastConsole, buttons: set[str], frames: int) -> int:
    """Hold buttons, and return the pixels moved."""
    config = EnvironmentConfig(actions="complex")
    combinations = [set(each) for each in button_combinations(config)]
    pressed = pressed_buttons(button_combinations(config))[combinations.index(buttons)]
    before = x_position(console.memory)
    for _ in range(frames):
        console.advance(pressed)
    return x_position(console.memory) - before


def started(level: str) -> FastConsole:
    console = FastConsole(EnvironmentConfig(actions="complex").at_level(level))
    console.reset()
    return console


def test_every_level_has_a_route() -> None:
    assert ROUTES.keys() == FINISH_X.keys()


def test_running_has_the_stated_speed_and_run_up() -> None:
    console = started("1-1")
    moved = hold(console, {"right", "B"}, 60)
    assert console.memory[_SPEED] == RUNNING * 16
    assert RUNNING * 60 - moved == RUN_UP
    assert hold(console, {"right", "B"}, 10) == RUNNING * 10


def test_swimming_has_the_stated_speed() -> None:
    console = started("2-2")
    for _ in range(6):  # away from the floor, where he walks
        hold(console, {"right", "A", "B"}, 4)
        hold(console, {"right", "B"}, 4)
    fastest = max(console.memory[_SPEED] for _ in range(40) if hold(console, {"right", "B"}, 1) >= 0)
    assert fastest == SWIMMING * 16


@pytest.mark.parametrize(("world", "stage"), ROUTES)
def test_a_route_is_that_of_the_demonstration(world: int, stage: int) -> None:
    level = f"{world}-{stage}"
    config = EnvironmentConfig(actions="complex", stall_after=None, max_steps=None).at_level(level)
    actions = read_plays()[level]
    swum = progress = 0
    for frame in play_back(config, EpisodeStart(), actions):
        moved = frame.info["progress"] - progress
        progress += moved
        swum += moved * (area(frame.memory) // 32 == _WATER)
    route = ROUTES[world, stage]
    assert (frame.info["end_reason"], frame.info["distance"], progress) == ("completed", route.distance, route.ran + route.swum)
    # The frame in which an area is left counts for either side.
    assert abs(swum - route.swum) <= RUNNING
    assert 180 < route.decisions_at_full_speed(config.frame_skip) < len(actions)


def test_the_shortest_way_through_the_first_level_takes_264_decisions() -> None:
    """As many as the shipped policy of 1-1 needs, which runs all the way."""
    assert ROUTES[1, 1].decisions_at_full_speed(4) == 264
