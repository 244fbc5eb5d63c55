"""Idle starts and button combinations."""

import importlib
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import make
from mario_env.console import NesPyConsole
from mario_env.wrappers import JoypadAction, NoopStart, button_combinations


@pytest.mark.parametrize(
    ("name", "theirs"), [("right_only", "RIGHT_ONLY"), ("simple", "SIMPLE_MOVEMENT"), ("complex", "COMPLEX_MOVEMENT")]
)
def test_the_named_sets_are_those_of_the_game_package(name: Any, theirs: str) -> None:
    actions = importlib.import_module("gym_super_mario_bros.actions")
    ours = button_combinations(EnvironmentConfig(actions=name))
    assert [list(combination) for combination in ours] == getattr(actions, theirs)


def test_a_list_of_combinations_is_taken_as_it_is() -> None:
    config = EnvironmentConfig(actions=[["NOOP"], ["right", "B"], ["down"]])
    assert button_combinations(config) == (("NOOP",), ("right", "B"), ("down",))
    assert make(config).action_space.n == 3  # type: ignore[attr-defined]


def test_a_button_has_the_bit_that_the_package_gives_it() -> None:
    joypad = importlib.import_module("nes_py.wrappers").JoypadSpace
    names = ["right", "left", "down", "up", "start", "select", "B", "A", "NOOP"]
    env = JoypadAction(NesPyConsole(EnvironmentConfig()), [[name] for name in names])
    assert [env.action(index) for index in range(len(names))] == [joypad._button_map[name] for name in names]
    assert JoypadAction(env, [["right", "A", "A"]]).action(np.int64(0)) == 0b10000001


@pytest.mark.parametrize("action", [7, -1])
def test_an_action_that_is_none_is_refused(action: int) -> None:
    env = make(EnvironmentConfig())
    env.reset()
    with pytest.raises(ValueError, match=rf"^there is no action {action}: the actions are 0 to 6$"):
        env.step(action)


def test_no_idle_frames_unless_asked_for() -> None:
    console = NesPyConsole(EnvironmentConfig())
    env = NoopStart(console, 0)
    _, info = env.reset()
    assert info["noop_frames"] == 0
    begin = console.memory
    _, info = env.reset(options={"noop_frames": 7})
    assert info["noop_frames"] == 7
    idled = console.memory
    console.reset()
    assert console.memory == begin
    for _ in range(7):
        console.step(0)
    assert console.memory == idled


def test_the_number_of_idle_frames_is_drawn_from_the_environments_generator() -> None:
    env = NoopStart(NesPyConsole(EnvironmentConfig()), 5)
    drawn = [env.reset(seed=3)[1]["noop_frames"], *(env.reset()[1]["noop_frames"] for _ in range(40))]
    again = [env.reset(seed=3)[1]["noop_frames"], *(env.reset()[1]["noop_frames"] for _ in range(40))]
    assert drawn == again
    assert set(drawn) == {1, 2, 3, 4, 5}


def test_idling_that_would_kill_is_cut_in_half() -> None:
    console = NesPyConsole(EnvironmentConfig(world=1, stage=2))
    env = NoopStart(console, 0)
    # A goomba reaches who stands at the start of 1-2 in frame 318.
    assert env.reset(options={"noop_frames": 317})[1] == {"noop_frames": 317}
    assert env.reset(options={"noop_frames": 400})[1] == {"noop_frames": 158}
    alive = console.memory
    env.reset(options={"noop_frames": 158})
    assert console.memory == alive
