"""The summary of an episode."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from configs.game_facts import END_REASONS, STATUSES
from configs.schema import EnvironmentConfig
from mario_env import EpisodeStart, EpisodeSummary, make


def _play(config: EnvironmentConfig, actions: Any = None, seed: int = 0) -> tuple[list[dict[str, Any]], list[float]]:
    env = make(config, seed=seed)
    env.reset()
    infos, rewards, done = [], [], False
    while not done:
        action = env.action_space.sample() if actions is None else actions[len(infos)]
        _, reward, terminated, truncated, info = env.step(action)
        infos.append(info)
        rewards.append(float(reward))
        done = terminated or truncated
    return infos, rewards


def test_the_summary_of_a_completed_level(
    episode_of_1_1: list[tuple[float, dict[str, Any]]], finish: Callable[[str], bytes]
) -> None:
    summary: EpisodeSummary = episode_of_1_1[-1][1]["episode_summary"]
    assert dataclasses.replace(summary, duration_seconds=0.0, reward=0.0, reward_components={}) == EpisodeSummary(
        reward=0.0, steps=284, frames=1135, duration_seconds=0.0, distance_traveled=3121, x_pos=3161, y_pos=130, score=700,
        coins=1, time=344, life=3, status="small", world=1, stage=1, level_completed=True, end_reason="completed",
        reward_components={}, start=EpisodeStart(noop_frames=0), actions=finish("1-1"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        EnvironmentConfig(noop_frames=30, sticky_actions=0.25),
        EnvironmentConfig(frame_skip=1, max_steps=150, crop_status_bar=True),
        EnvironmentConfig(game="full", life_loss_ends_episode=True, actions="right_only"),
    ],
)
def test_the_summary_adds_up(config: EnvironmentConfig) -> None:
    begin = time.perf_counter()
    infos, rewards = _play(config, seed=7)
    elapsed = time.perf_counter() - begin
    assert not any("episode" in info or "episode_summary" in info for info in infos[:-1])
    last = infos[-1]
    summary: EpisodeSummary = last["episode_summary"]
    assert summary.steps == len(infos) == len(summary.actions)
    assert summary.frames == sum(info["frames"] for info in infos)
    assert (summary.steps - 1) * config.frame_skip < summary.frames <= summary.steps * config.frame_skip
    assert summary.reward == pytest.approx(sum(rewards))
    assert summary.reward == sum(summary.reward_components.values())
    assert last["episode"] == {"r": summary.reward, "l": summary.steps, "t": pytest.approx(summary.duration_seconds, abs=1e-5)}
    assert 0 < summary.duration_seconds < elapsed
    assert summary.end_reason in END_REASONS
    assert summary.status in STATUSES
    assert summary.level_completed is False
    assert (summary.start.noop_frames > 0) == (config.noop_frames > 0)


def test_every_value_is_pythons_own(episode_of_1_1: list[tuple[float, dict[str, Any]]]) -> None:
    for _, info in (episode_of_1_1[0], episode_of_1_1[-1]):
        plain = {name: value for name, value in info.items() if not name.startswith("episode")}
        assert {type(value) for value in plain.values()} <= {int, str, bool, dict}
    for field, value in dataclasses.asdict(episode_of_1_1[-1][1]["episode_summary"]).items():
        assert type(value) in (int, float, str, bool, dict, bytes), field


def test_the_actions_recorded_are_those_executed_not_those_asked_for() -> None:
    env = make(EnvironmentConfig(sticky_decisions=0.5, max_steps=60), seed=1)
    env.reset()
    asked = bytes(range(7)) * 9
    done, count = False, 0
    while not done:
        _, _, terminated, truncated, info = env.step(asked[count])
        done, count = terminated or truncated, count + 1
    executed = info["episode_summary"].actions
    assert executed[0] == asked[0]
    repeated = 0
    for index in range(1, count):
        assert executed[index] in (asked[index], executed[index - 1])
        repeated += executed[index] != asked[index]
    assert 10 < repeated < 50
