"""The course of a full game, by playing it again."""

from collections.abc import Callable
from typing import Any

import pytest

from configs import EnvironmentConfig
from mario_env import EpisodeSummary, PlaybackError
from mario_env.courses import Visit, course_of, until_warp
from mario_env.games import Games

RIGHT, RUN = 1, 3


def play(config: EnvironmentConfig, actions: bytes, seed: int = 0) -> EpisodeSummary:
    """Play until the game ends; the last action goes on."""
    games = Games(config, 1, seed=seed, threads=1)
    games.reset(0)
    for number in range(5_000):
        _, _, terminated, truncated, infos = games.step([actions[min(number, len(actions) - 1)]])
        if terminated[0] or truncated[0]:
            summary: EpisodeSummary = infos[0]["episode_summary"]
            return summary
    raise AssertionError("the game does not end")


def test_a_game_through_several_levels(finish: Callable[[str], bytes]) -> None:
    actions = finish("full")
    config = EnvironmentConfig(game="full", actions="complex", stall_after=None, max_steps=len(actions))
    summary = play(config, actions)
    course = course_of(config, summary.start, summary.actions)
    assert [visit.level for visit in course] == ["1-1", "1-2", "1-3", "1-4", "2-1", "2-2"]
    assert [visit.completed for visit in course] == [True] * 5 + [False]
    assert sum(visit.decisions for visit in course) == summary.steps
    assert sum(visit.frames for visit in course) == summary.frames
    assert sum(visit.distance for visit in course) == summary.distance_traveled
    assert {visit.lives_lost for visit in course} == {0}
    assert course[0].distance > 3000


@pytest.mark.parametrize("settings", [{}, {"sticky_actions": 0.5, "noop_frames": 9}])
def test_three_lives_in_the_first_level(settings: dict[str, Any]) -> None:
    """Also with delayed actions and idle frames, without which the game would be another."""
    config = EnvironmentConfig(game="full", stall_after=None, max_steps=None, **settings)
    summary = play(config, bytes([RIGHT, RUN]))
    (visit,) = course_of(config, summary.start, summary.actions, summary.delays)
    assert summary.end_reason == "game_over"
    assert (visit.lives_lost, visit.completed, visit.decisions, visit.distance) == (
        3,
        False,
        summary.steps,
        summary.distance_traveled,
    )


@pytest.mark.parametrize("change", [-1, 1])
def test_actions_that_do_not_end_the_game_are_refused(change: int) -> None:
    config = EnvironmentConfig(game="full", stall_after=None, max_steps=40)
    summary = play(config, bytes([RIGHT]))
    actions = summary.actions[:change] if change < 0 else summary.actions + bytes([RIGHT])
    with pytest.raises(PlaybackError, match="does not end with the last of its decisions"):
        course_of(config, summary.start, actions)


def test_without_warps_a_game_counts_up_to_the_first() -> None:
    levels = ("1-1", "1-2", "4-1", "4-2", "8-1")
    course = tuple(Visit(level, decisions=7, completed=level != "8-1") for level in levels)
    assert until_warp(course) == (course[0], Visit("1-2", decisions=7, completed=False))
    assert until_warp(course[:2]) == course[:2]
