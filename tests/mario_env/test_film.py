"""Any frame of an episode, drawn at once, is the console's."""

from collections.abc import Iterator

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, EpisodeSummary, make, play_back
from mario_env.console import NesPyConsole
from mario_env.demonstrations import read_plays
from mario_env.film import INTERVAL, Film

LEVELS = [(1, 1), (1, 2), (2, 2), (3, 1), (8, 3)]


def episodes() -> Iterator[tuple[EnvironmentConfig, EpisodeSummary]]:
    """Twenty random episodes: levels on land, under ground, in water and by night, with idle starts and sticky actions."""
    for seed in range(20):
        world, stage = LEVELS[seed % len(LEVELS)]
        config = EnvironmentConfig(
            world=world, stage=stage, max_steps=36, noop_frames=5 * (seed % 3), sticky_actions=0.25 * (seed % 2)
        )
        env = make(config, seed=seed)
        env.reset()
        chance, ended = np.random.default_rng(seed), False
        while not ended:
            *_, terminated, truncated, info = env.step(int(chance.choice(7, p=[0.05, 0.1, 0.15, 0.25, 0.35, 0.05, 0.05])))
            ended = terminated or truncated
        env.close()
        yield config, info["episode_summary"]


def test_every_frame_of_twenty_episodes_is_the_consoles() -> None:
    for number, (config, summary) in enumerate(episodes()):
        buttons = bytes(frame.buttons for frame in play_back(config, summary.start, summary.actions, summary.delays))
        assert len(buttons) == summary.frames > INTERVAL
        console = NesPyConsole(config.model_copy(update={"emulator": "nes-py"}))
        console.reset()
        for _ in range(summary.start.noop_frames):
            console.advance(0)
        film = Film(config, summary.start, buttons)
        # The middle first, and then what comes before it and after it.
        firsts = sorted(range(0, len(film), INTERVAL), key=lambda first: (first * 7) % 5)
        drawn = {first: film.screens(first, min(INTERVAL, len(film) - first)) for first in firsts}
        for frame, pressed in enumerate(buttons):
            console.advance(pressed)
            here = frame - frame % INTERVAL
            assert np.array_equal(console.render(), drawn[here][frame - here]), f"episode {number}, frame {frame}"
        console.close()


def test_a_play_goes_on_from_any_frame() -> None:
    config, summary = next(episodes())
    buttons = bytes(frame.buttons for frame in play_back(config, summary.start, summary.actions, summary.delays))
    film = Film(config, summary.start, buttons)
    console = film.console_at(70)
    memories = []
    for pressed in buttons[70:]:
        console.advance(pressed)
        memories.append(console.frame_memory)
    played = [frame.memory for frame in play_back(config, summary.start, summary.actions, summary.delays)]
    assert memories == played[70:]
    assert np.array_equal(film.screens(100, 1)[0], Film(config, summary.start, buttons).screens(100, 1)[0])


def test_an_episode_that_began_along_a_demonstration_is_drawn_from_there() -> None:
    config, play = EnvironmentConfig(levels=["1-1", "1-2"], actions="complex", max_steps=20), read_plays()["1-2"]
    start = EpisodeStart(level="1-2", demonstration=play[:60])
    played = list(play_back(config, start, play[60:80]))
    film = Film(config, start, bytes(frame.buttons for frame in played))
    assert len(film) == 20 * config.frame_skip
    assert np.array_equal(film.screens(0, len(film)), np.stack([frame.screen for frame in played]))
    assert played[0].info["x_pos"] > 100


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 5), (4, 1)])
def test_frames_beyond_the_episode_are_refused(first: int, count: int) -> None:
    with pytest.raises(IndexError, match="of an episode with 4"):
        Film(EnvironmentConfig(), EpisodeStart(), bytes(4)).screens(first, count)
