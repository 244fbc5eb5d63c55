"""A further observation of games is what games have that show it themselves."""

from typing import Any

import numpy as np
import pytest

from configs import EnvironmentConfig
from mario_env import SnapshotError, make_vec
from mario_env.games import Games
from mario_env.observations import OBSERVATIONS, Frames, Tiles
from mario_env.stable_baselines import FastVecEnv
from mario_env.views import View

SETTINGS: dict[str, Any] = {"levels": ["1-1", "1-2"], "stall_after": 20, "sticky_actions": 0.25, "noop_frames": 5}


def games(observation: str, **more: Any) -> FastVecEnv:
    env = make_vec(EnvironmentConfig(**SETTINGS, observation=observation), 6, seed=3, **more)
    assert isinstance(env, FastVecEnv)
    return env


def actions(count: int) -> Any:
    return np.random.default_rng(1).integers(7, size=(count, 6))


def tiles_of(env: FastVecEnv) -> Any:
    assert env.view is not None
    return env.view.observations.copy()


def test_it_is_what_games_have_that_show_it_themselves() -> None:
    pictures, tiles = games("frames", seen_besides=Tiles()), games("tiles")
    pictures.reset()
    assert np.array_equal(tiles_of(pictures), tiles.reset())
    ended, levels = 0, set()
    for step in actions(120):
        shown, _, dones, _ = tiles.step(step)
        pictures.step(step)
        assert np.array_equal(tiles_of(pictures), shown)
        assert pictures.levels == tiles.levels
        ended += int(dones.sum())
        levels |= set(pictures.levels)
    assert ended > 5
    assert levels == {"1-1", "1-2"}
    assert pictures.begin(2, seed=4, options={"level": "1-2"}).shape == OBSERVATIONS["frames"].shape
    assert np.array_equal(tiles_of(pictures)[2], tiles.begin(2, seed=4, options={"level": "1-2"}))
    assert pictures.levels[2] == "1-2"


def test_it_follows_games_that_are_played_in_parts() -> None:
    whole, parts = (games("frames", seen_besides=Tiles(), threads=2) for _ in range(2))
    whole.reset(), parts.reset()
    for step in actions(60):
        whole.step(step)
        for first in (0, 3):
            parts.send(first, step[first : first + 3])
        for first in (0, 3):
            parts.recv()
            part = slice(first, first + 3)
            assert np.array_equal(tiles_of(parts)[part], tiles_of(whole)[part])


def test_a_snapshot_has_it() -> None:
    env, other = games("frames", seen_besides=Tiles()), games("frames", seen_besides=Tiles())
    env.reset()
    steps = actions(40)
    for step in steps[:20]:
        env.step(step)
    kept, then = env.snapshot(), tiles_of(env)
    other.restore(kept)
    assert np.array_equal(tiles_of(other), then)
    for step in steps[20:]:
        env.step(step)
        other.step(step)
        assert np.array_equal(tiles_of(other), tiles_of(env))
    with pytest.raises(SnapshotError, match="view: tiles then, None now"):
        games("frames").restore(kept)
    with pytest.raises(SnapshotError, match="view: None then, tiles now"):
        env.restore(games("frames").snapshot())


def test_pictures_cannot_be_a_view() -> None:
    fleet = Games(EnvironmentConfig(), 1).fleet
    with pytest.raises(ValueError, match="the observation frames is made from pictures"):
        View(fleet, Frames())
