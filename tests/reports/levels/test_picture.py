"""Which moment stands for a level."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, play_back
from mario_env.demonstrations import read_plays
from reports.levels.picture import Shown, choose_shown, flag_frame, furthest_frame, read_png, write_png

Rows = Callable[..., pd.DataFrame]


def test_the_fastest_completed_stochastic_episode_is_shown(rows: Rows) -> None:
    stochastic = rows(10, completed=3)
    stochastic.loc[stochastic["id"] == 9, "steps"] = 200
    stochastic.loc[stochastic["id"] == 2, "steps"] = 20  # it did not complete the level
    shown = choose_shown(pd.concat([rows(2, "sticky", completed=2, first_id=20), stochastic]))
    assert shown == Shown(9, "stochastic", 200, 3_121, True)
    shown = choose_shown(pd.concat([rows(5), rows(4, "sticky", completed=1, first_id=20)]))
    assert shown is not None
    assert (shown.protocol, shown.completed) == ("sticky", True)


def test_the_furthest_episode_is_shown_if_none_completed(rows: Rows) -> None:
    played = pd.concat([rows(5), rows(5, "sticky", first_id=20), rows(5, "random", distance=2_900, first_id=40)])
    shown = choose_shown(played)
    agent = played[played["protocol"] != "random"]
    assert shown is not None
    assert (shown.distance, shown.completed) == (agent["distance_traveled"].max(), False)
    assert choose_shown(rows(5, "random")) is None


def test_the_picture_is_that_moment_of_the_episode(tmp_path: Path) -> None:
    config = EnvironmentConfig(actions="complex", stall_after=40)
    # He runs, and then stands and goes back until the episode ends.
    actions = read_plays()["1-1"][:60] + bytes([6] * 200)
    frames = list(play_back(config, EpisodeStart(), actions[: ended(config, actions)]))
    furthest = max(frame.info["distance"] for frame in frames)
    first = next(frame for frame in frames if frame.info["distance"] == furthest)
    assert first is not frames[-1]
    assert (furthest_frame(iter(frames)) == first.screen).all()
    assert (flag_frame(iter(frames)) == frames[-1].screen).all()
    assert (read_png(write_png(tmp_path / "one.png", first.screen)) == first.screen).all()
    with Image.open(tmp_path / "one.png") as image:
        assert (image.mode, image.size) == ("P", (256, 240))
    assert (tmp_path / "one.png").stat().st_size < 20_000


def ended(config: EnvironmentConfig, actions: bytes) -> int:
    """After how many of the actions the episode ends."""
    from mario_env.playback import SteppedGame

    game = SteppedGame(config, EpisodeStart())
    number = next(index for index, action in enumerate(actions, 1) if game.step(action)[-1].summary is not None)
    game.close()
    return number


@pytest.mark.parametrize("frame", [flag_frame, furthest_frame])
def test_an_episode_without_frames_has_no_picture(frame: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="without frames"):
        frame(iter(()))


def test_a_picture_of_many_colours_is_kept_without_loss(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert (read_png(write_png(tmp_path / "noise.png", noise)) == noise).all()
