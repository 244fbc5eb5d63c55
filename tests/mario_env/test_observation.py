"""What is seen. The shape of an observation is written out here, and nowhere else in the tests."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from configs import PROJECT
from configs.schema import EnvironmentConfig
from mario_env import make, observation_of, observation_space
from mario_env.console import NesPyConsole
from mario_env.games import Games
from mario_env.observations import OBSERVATIONS
from mario_env.wrappers import CropStatusBar, FrameSkip, Grayscale


class Shades(gymnasium.Env[Any, Any]):
    """Frame i of an episode is uniformly of shade 10 * i, but for one pixel that is bright on odd frames."""

    def __init__(self, length: int) -> None:
        self.observation_space = Box(0, 255, (48, 32, 3), np.uint8)
        self.action_space = Discrete(2)
        self._length = length

    def _screen(self) -> Any:
        screen = np.full((48, 32, 3), 10 * self._frame, np.uint8)
        screen[0, 0] = 255 if self._frame % 2 else 0
        return screen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._frame = 0
        return self._screen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._frame += 1
        return self._screen(), 1.0, self._frame == self._length, False, {"frame": self._frame}


@pytest.fixture
def screens() -> Iterator[list[Any]]:
    console = NesPyConsole(EnvironmentConfig())
    seen = [console.reset()[0]]
    seen += [console.step(0b10000010)[0] for _ in range(30)]
    yield seen
    console.close()


def test_frame_skip_shows_the_maximum_of_the_last_two_frames() -> None:
    env = FrameSkip(Shades(100), 4)
    env.reset()
    seen, reward, terminated, truncated, info = env.step(0)
    assert (seen[1, 1, 0], seen[0, 0, 0]) == (40, 255)
    assert (reward, terminated, truncated, info) == (4.0, False, False, {"frame": 4})


@pytest.mark.parametrize(("length", "shade", "blink"), [(5, 50, 255), (6, 60, 255), (7, 70, 255), (8, 80, 255)])
def test_frame_skip_that_is_cut_short_shows_only_frames_of_this_decision(length: int, shade: int, blink: int) -> None:
    env = FrameSkip(Shades(length), 4)
    env.reset()
    env.step(0)
    seen, reward, terminated, _, _ = env.step(0)
    assert terminated
    assert reward == length - 4
    assert (seen[1, 1, 0], seen[0, 0, 0]) == (shade, blink)


def test_frame_skip_does_not_remember_the_last_episode() -> None:
    env = FrameSkip(Shades(2), 4)
    for _ in range(2):
        env.reset()
        seen, *_ = env.step(0)
        assert seen[1, 1, 0] == 20
    bright = FrameSkip(Shades(1), 4)
    bright.reset()
    assert bright.step(0)[0][1, 1, 0] == 10


def test_grayscale_is_near_gymnasiums(screens: list[Any]) -> None:
    env = NesPyConsole(EnvironmentConfig())
    ours, theirs = Grayscale(env), gymnasium.wrappers.GrayscaleObservation(env)
    for screen in screens:
        gray = ours.observation(screen)
        assert (gray.shape, gray.dtype) == ((240, 256), np.uint8)
        # BT.601 here, BT.709 there: the same order of weights, other numbers
        assert np.abs(gray.astype(int) - theirs.observation(screen)).max() < 60
    assert ours.observation_space == theirs.observation_space
    white = np.full((240, 256, 3), 255, np.uint8)
    assert (ours.observation(white) == 255).all()


def test_grayscale_needs_colours() -> None:
    with pytest.raises(ValueError, match=r"^Grayscale needs pictures of shape \(height, width, 3\), not \(240, 256\)$"):
        Grayscale(Grayscale(NesPyConsole(EnvironmentConfig())))


def test_crop_cuts_exactly_the_status_bar(screens: list[Any]) -> None:
    env = CropStatusBar(NesPyConsole(EnvironmentConfig()))
    assert env.observation_space.shape == (208, 256, 3)
    assert np.array_equal(env.observation(screens[0]), screens[0][32:])
    # The bar does not move while the picture below it scrolls.
    assert np.array_equal(screens[-1][:24], screens[-2][:24])


def test_crop_needs_something_below_the_bar() -> None:
    with pytest.raises(ValueError, match=r"^CropStatusBar needs pictures higher than 32 rows, not of shape \(16, 32, 3\)$"):
        CropStatusBar(CropStatusBar(Shades(1)))


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("skip", [1, 4])
def test_observations_are_stacked_pictures_channel_first(crop: bool, skip: int) -> None:
    env = make(EnvironmentConfig(crop_status_bar=crop, frame_skip=skip))
    assert env.observation_space == Box(0, 255, (4, 84, 84), np.uint8)
    first, _ = env.reset()
    assert (first.shape, first.dtype) == ((4, 84, 84), np.uint8)
    assert all(np.array_equal(first[0], picture) for picture in first), "a reset fills the stack"
    second, *_ = env.step(3)
    for _ in range(5):
        third, *_ = env.step(3)
        assert np.array_equal(second[1:], third[:-1]), "the newest picture is the last"
        second = third
    assert not np.array_equal(third[-1], third[0])
    assert np.array_equal(first, env.reset()[0])


def test_an_observation_is_not_changed_by_later_steps() -> None:
    env = make(EnvironmentConfig())
    first, _ = env.reset()
    copy = first.copy()
    for _ in range(6):
        env.step(3)
    assert np.array_equal(first, copy)


def test_a_configuration_can_name_every_observation_and_no_other() -> None:
    """A kind is named in two places: the registry, and the configuration's schema, which imports nothing of the game."""
    assert set(get_args(EnvironmentConfig.model_fields["observation"].annotation)) == set(OBSERVATIONS)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_both_environments_have_the_space_of_the_definition(name: str) -> None:
    for emulator in ("fast", "nes-py"):
        config = EnvironmentConfig.model_validate({"observation": name, "emulator": emulator})
        kind, env = OBSERVATIONS[name], make(config)
        expected = Box(kind.low, kind.high, kind.shape, kind.dtype.type)
        assert env.observation_space == observation_space(config) == Games(config, 1).observation_space == expected
        assert env.reset()[0] in expected
        assert observation_of(config) == observation_of(config.model_copy()), "an observation is a value"
        env.close()


def test_the_shape_of_frames_is_written_in_one_place() -> None:
    """Everything else asks the definition, so that another size is one change. Docstrings may tell it."""
    packages = ("agents", "benchmarks", "configs", "episodes", "flows", "mario_env", "reports", "tasks", "tracking", "tests")
    files = [path for package in packages for path in (PROJECT / package).rglob("*.py")]
    found = {path.relative_to(PROJECT).as_posix() for path in files if _has_size(path)}
    assert found == {"mario_env/observations/frames.py", "tests/mario_env/test_observation.py"}


def _has_size(path: Path) -> bool:
    """Whether the code has a tuple or list with 84 by 84 in it."""
    sequences = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Tuple | ast.List)]
    numbers = [[getattr(element, "value", None) for element in sequence.elts] for sequence in sequences]
    return any(pair == (84, 84) for each in numbers for pair in pairwise(each))
