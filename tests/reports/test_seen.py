"""Pictures of what an agent sees, drawn where the screen shows it."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, make, play_back
from mario_env.demonstrations import read_plays
from mario_env.observations import OBSERVATIONS, tiles
from reports import seen
from reports.replay import frames_with_observations
from reports.video import Frame, render_video
from reports.window import show_in_window

START = EpisodeStart(noop_frames=0)
PLAYS = read_plays()


def config(observation: str, play: str = "1-1") -> EnvironmentConfig:
    level = {"world": int(play[0]), "stage": int(play[2])}
    return EnvironmentConfig.model_validate({"observation": observation, "actions": "complex", "max_steps": None, **level})


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_observation_can_be_shown_beside_the_game(name: str) -> None:
    frames = list(islice(frames_with_observations(config(name), START, PLAYS["1-1"]), 200))
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {(seen.SHAPE, "uint8")}
    left, right = frames[150][:, : seen.WIDTH], frames[150][:, seen.WIDTH :]
    played = next(islice(play_back(config(name), START, PLAYS["1-1"]), 150, None))
    np.testing.assert_array_equal(left[::3, ::3], played.screen)
    np.testing.assert_array_equal(right, seen.draw_observation(config(name), played.observation))
    pictures = [frame[:, seen.WIDTH :] for frame in frames]
    assert not np.array_equal(pictures[100], pictures[104]), "the next decision sees something else"
    assert np.array_equal(pictures[100], pictures[103]), "a decision lasts four frames"


def test_the_observation_is_the_one_that_the_action_was_chosen_by() -> None:
    env = make(config("tiles"))
    observation, _ = env.reset()
    frames = play_back(config("tiles"), START, PLAYS["1-1"])
    for action in PLAYS["1-1"][:40]:
        for played in islice(frames, 4):
            assert played.action == action
            np.testing.assert_array_equal(played.observation, observation)
        observation, *_ = env.step(action)
    env.close()


def test_tiles_are_drawn_where_the_screen_shows_them() -> None:
    env = make(config("tiles"))
    observation, _ = env.reset()
    picture = seen.draw_observation(config("tiles"), observation)
    assert picture[seen.HEIGHT - 24, 24].tolist() == list(seen._BLOCK_COLOURS["solid"]), "the ground"
    x, y = int(observation[tiles.X_ROW, 0]), int(observation[tiles.Y_ROW, 0])
    # Small Mario is the lower half of his 32 pixels.
    assert picture[(y + 24) * 3, (x + 8) * 3].tolist() == list(seen._MARIO_COLOUR)
    assert picture[(y + 8) * 3, (x + 15) * 3].tolist() != list(seen._MARIO_COLOUR)
    env.close()


@pytest.mark.parametrize("play", [play for play in PLAYS if play != "full"])
def test_every_level_can_be_drawn(play: str) -> None:
    env = make(config("tiles", play))
    observation, _ = env.reset()
    for number, action in enumerate(PLAYS[play]):
        if number % 40 == 0:
            assert seen.draw_observation(config("tiles"), observation).shape == (seen.HEIGHT, seen.WIDTH, 3)
        observation, _, terminated, *_ = env.step(action)
        if terminated:
            break
    env.close()


def test_every_kind_has_a_name_that_fits_into_three_cells() -> None:
    for kind in range(1, tiles.KINDS):
        name, colour = seen._appearance(kind)
        assert len(colour) == 3
        assert ImageFont.load_default(15).getlength(name) < 3 * 48, name


def test_the_legend_fits_into_the_picture() -> None:
    widths = [32 + ImageFont.load_default(14).getlength(name) for name in seen._BLOCK_COLOURS]
    assert 10 + sum(widths) < seen.WIDTH
    assert set(seen._BLOCK_COLOURS) == set(tiles.BLOCKS) - {"empty"}


def test_larger_frames_become_a_video_and_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[Frame] = [np.full(seen.SHAPE, 10 * number, np.uint8) for number in range(5)]
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert show_in_window(frames, fps=600, scale=1, shape=seen.SHAPE) == 5
    path = render_video(frames, tmp_path / "seen.mp4", scale=1, shape=seen.SHAPE)
    assert path.stat().st_size > 0
