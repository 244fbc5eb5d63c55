"""An episode played again is the same episode."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, EpisodeSummary, PlaybackError, make, play_back


def _episode(config: EnvironmentConfig, seed: int, weights: list[float]) -> tuple[EpisodeSummary, np.ndarray[Any, Any]]:
    """A random episode, and its last picture."""
    env = make(config, seed=seed)
    env.reset()
    chance = np.random.default_rng(seed)
    while True:
        action = int(chance.choice(len(weights), p=weights))
        for _ in range(int(chance.integers(1, 8))):
            *_, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                screen = env.unwrapped.render()
                env.close()
                return info["episode_summary"], np.array(screen)


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        (EnvironmentConfig(max_steps=150), 1),
        (EnvironmentConfig(frame_skip=1, max_steps=400, noop_frames=30), 2),
        (EnvironmentConfig(sticky_actions=0.25, noop_frames=60, world=3, stage=1, max_steps=150), 3),
        (EnvironmentConfig(game="full", stall_after=60, max_steps=250), 4),
        (EnvironmentConfig(sticky_decisions=0.25, max_steps=150), 3),
        (EnvironmentConfig(levels=["1-1", "4-2"], max_steps=60), 1),
        (EnvironmentConfig(game="full", life_loss_ends_episode=True, sticky_actions=0.25, max_steps=250, frame_skip=3), 5),
        (EnvironmentConfig(actions=[["left"], ["right", "B"]], stall_after=5, crop_status_bar=True), 6),
    ],
)
def test_playing_back_gives_the_same_episode(config: EnvironmentConfig, seed: int) -> None:
    weights = [0.05, 0.1, 0.15, 0.25, 0.35, 0.05, 0.05] if config.actions == "simple" else [0.5, 0.5]
    summary, last_screen = _episode(config, seed, weights)
    count, rewards = 0, [0.0]
    for frame in play_back(config, summary.start, summary.actions, summary.delays):
        assert (frame.screen.shape, frame.screen.dtype) == ((240, 256, 3), np.uint8)
        rewards.append(frame.reward)
        count += 1
        assert (frame.summary is None) == (count < summary.frames)
    assert count == summary.frames
    assert frame.summary is not None
    assert dataclasses.replace(frame.summary, duration_seconds=summary.duration_seconds) == summary
    assert rewards[-1] == pytest.approx(summary.reward)
    assert np.array_equal(frame.screen, last_screen)


def test_frames_of_the_three_life_game_are_told_with_their_facts() -> None:
    config = EnvironmentConfig(game="full", stall_after=None)
    frames = list(play_back(config, EpisodeStart(), bytes([3] * 80)))
    assert [frame.info["life"] for frame in frames][:: len(frames) - 1] == [3, 0]
    assert sorted({frame.info["life"] for frame in frames}) == [0, 1, 2, 3]
    assert {frame.action for frame in frames} == {3}
    screens = [frame.screen for frame in frames]
    assert not np.shares_memory(screens[0], screens[1])
    assert not np.array_equal(screens[0], screens[40])


def test_actions_that_do_not_end_the_episode_are_refused() -> None:
    message = r"^the episode has not ended after 5 decisions: it was played under another configuration$"
    with pytest.raises(PlaybackError, match=message):
        list(play_back(EnvironmentConfig(), EpisodeStart(), bytes(5)))


def test_actions_beyond_the_end_are_refused(finish: Callable[[str], bytes]) -> None:
    message = r"^the episode ended \(died\) with decision 27 of 40: it was played under another configuration$"
    with pytest.raises(PlaybackError, match=message):
        list(play_back(EnvironmentConfig(), EpisodeStart(), bytes([3] * 40)))


def test_actions_of_another_set_are_refused() -> None:
    message = r"^decision 2 of 2: there is no action 9: the actions are 0 to 6$"
    with pytest.raises(PlaybackError, match=message):
        list(play_back(EnvironmentConfig(), EpisodeStart(), bytes([3, 9])))


def test_a_start_that_loses_a_life_is_refused() -> None:
    message = r"^idling for 400 frames loses a life: it was played under another configuration$"
    with pytest.raises(PlaybackError, match=message):
        list(play_back(EnvironmentConfig(world=1, stage=2), EpisodeStart(noop_frames=400), bytes(1)))


def test_leaving_early_is_no_error() -> None:
    frames = play_back(EnvironmentConfig(), EpisodeStart(), bytes(50))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
