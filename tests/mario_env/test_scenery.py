"""The picture of a level is what its screens show, without what moves."""

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env.demonstrations import read_plays
from mario_env.fast import FastConsole
from mario_env.memory import area, x_position
from mario_env.observations.tiles import SCREEN_LEFT, SCREEN_LEFT_PAGE
from mario_env.scenery import first_area, scenery
from mario_env.wrappers.actions import button_combinations, pressed_buttons


@pytest.mark.parametrize("level", ["1-1", "2-2", "1-4"])
def test_the_picture_is_what_the_screen_shows(level: str) -> None:
    found = scenery("vanilla", level)
    assert found is not None
    assert found.picture.shape[1] > 2000
    config = EnvironmentConfig(actions="complex").at_level(level)
    console, pressed = FastConsole(config), pressed_buttons(button_combinations(config))
    console.reset()
    compared = 0
    for index, action in enumerate(read_plays()[level]):
        for _ in range(config.frame_skip):
            console.advance(pressed[action])
        if index % 40 or area(console.memory) != found.area:
            continue
        left = console.memory[SCREEN_LEFT_PAGE] * 256 + console.memory[SCREEN_LEFT]
        assert left <= x_position(console.memory) < left + 256
        shown = console.render()[32:, :240]
        # The screen was drawn before the last scroll of at most three pixels.
        starts = range(max(0, left - 3), left + 1)
        differing = min(float(np.mean(np.any(shown != found.picture[:, at : at + 240], axis=2))) for at in starts)
        # Mario, enemies, and blocks that he has hit or that glitter.
        assert differing < 0.06
        compared += 1
    assert compared >= 4


def test_a_level_without_a_demonstration_has_no_picture() -> None:
    assert scenery("vanilla", "1-1 backwards") is None


def test_an_area_behind_a_pipe_is_another_than_the_first() -> None:
    config = EnvironmentConfig(actions="complex")
    console, pressed = FastConsole(config), pressed_buttons(button_combinations(config))
    console.reset()
    areas = [area(console.memory)]
    for action in read_plays()["1-1 pipe"]:
        for _ in range(config.frame_skip):
            console.advance(pressed[action])
        areas.append(area(console.memory))
    assert areas[0] == first_area("vanilla", "1-1")
    assert set(areas) > {areas[0]}
