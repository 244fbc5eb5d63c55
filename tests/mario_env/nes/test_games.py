"""Games played together are, in everything an agent gets, the environments that `make` builds on nes-py."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest

from configs.schema import EnvironmentConfig, RewardConfig
from mario_env.factory import make
from mario_env.fast_vector import FastVecEnv, FastVectorEnv
from mario_env.games import Games

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

CONFIGS = {
    "default": EnvironmentConfig(),
    "random starts": EnvironmentConfig(
        noop_frames=30, sticky_actions=0.25, crop_status_bar=True, reward=RewardConfig(clock=0.3, score=0.01)
    ),
    "full, every frame": EnvironmentConfig(game="full", frame_skip=1, max_steps=600),
    "full, one life": EnvironmentConfig(game="full", frame_skip=2, life_loss_ends_episode=True, stall_after=60),
    "another level": EnvironmentConfig(world=4, stage=2, frame_skip=3, stall_after=None, max_steps=80, actions="complex"),
}


def without_duration(info: dict[str, Any]) -> dict[str, Any]:
    """An info without what depends on the clock on the wall."""
    info = {name: value for name, value in info.items() if name not in ("episode", "terminal_observation", "episode_summary")}
    return info


def summary_of(info: dict[str, Any]) -> dict[str, Any] | None:
    if "episode_summary" not in info:
        return None
    return dataclasses.asdict(info["episode_summary"]) | {"duration_seconds": 0.0}


@pytest.mark.parametrize("name", CONFIGS)
def test_games_are_the_environments_on_nes_py(name: str) -> None:
    config, count, seed = CONFIGS[name], 2, 3
    references = [make(config.model_copy(update={"emulator": "nes-py"}), seed=seed + i) for i in range(count)]
    games = FastVecEnv(config, count, seed=seed)
    games.seed(seed)
    observations = games.reset()
    for i, reference in enumerate(references):
        expected, info = reference.reset(seed=seed + i)
        np.testing.assert_array_equal(observations[i], expected)
        assert games.reset_infos[i] == info
    generator, actions = np.random.default_rng(seed), np.zeros(count, np.int64)
    for _ in range(250):
        if generator.random() < 0.3:
            actions = generator.integers(0, games.action_space.n, count)  # type: ignore[attr-defined]
        observations, rewards, dones, infos = games.step(actions)
        for i, reference in enumerate(references):
            _compare_step(reference, int(actions[i]), observations[i], rewards[i], dones[i], infos[i], games.reset_infos[i])
    for reference in references:
        reference.close()
    games.close()


def _compare_step(
    reference: gymnasium.Env[Any, Any],
    action: int,
    observation: Any,
    reward: float,
    done: bool,
    info: dict[str, Any],
    reset_info: dict[str, Any],
) -> None:
    expected, expected_reward, terminated, truncated, expected_info = reference.step(action)
    expected_info["TimeLimit.truncated"] = truncated and not terminated
    np.testing.assert_array_equal(info["terminal_observation"] if done else observation, expected)
    assert (reward, done) == (expected_reward, terminated or truncated)
    assert without_duration(info) == without_duration(expected_info)
    assert summary_of(info) == summary_of(expected_info)
    if done:
        first, first_info = reference.reset()
        np.testing.assert_array_equal(observation, first)
        assert reset_info == first_info


def test_threads_change_nothing() -> None:
    runs = []
    for threads in (1, 2):
        games = FastVecEnv(EnvironmentConfig(), 5, seed=0, threads=threads)
        games.reset()
        generator = np.random.default_rng(0)
        runs.append([games.step(generator.integers(0, 7, 5))[0] for _ in range(60)])
        games.close()
    np.testing.assert_array_equal(np.array(runs[0]), np.array(runs[1]))


def test_gymnasium_interface_resets_in_the_same_step() -> None:
    games = FastVectorEnv(EnvironmentConfig(max_steps=3), 2, seed=0)
    first, infos = games.reset(seed=0)
    assert first.shape == (2, 4, 84, 84)
    assert infos["x_pos"].tolist() == [40, 40]
    for _ in range(2):
        games.step(np.array([3, 0]))
    observations, _, terminated, truncated, infos = games.step(np.array([3, 0]))
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [True, True])
    np.testing.assert_array_equal(observations, first)
    assert not np.array_equal(infos["final_obs"][0], first[0])
    assert infos["final_info"]["frame_count"].tolist() == [12, 12]
    games.close()


def test_an_impossible_action_is_refused() -> None:
    games = Games(EnvironmentConfig(), 2)
    games.reset(0)
    games.reset(1)
    with pytest.raises(ValueError, match="there is no action 7: the actions are 0 to 6"):
        games.step([0, 7])
    with pytest.raises(ValueError, match="there is no action -1: the actions are 0 to 6"):
        games.step([-1, 0])


def test_seats_show_their_screen_and_their_ram() -> None:
    games = FastVecEnv(EnvironmentConfig(), 1, seed=0)
    games.reset()
    games.step(np.array([1]))
    reference = make(EnvironmentConfig(emulator="nes-py"), seed=0)
    reference.reset()
    reference.step(1)
    np.testing.assert_array_equal(games.get_images()[0], reference.unwrapped.render())
    assert games.get_attr("memory")[0] == reference.unwrapped.memory  # type: ignore[attr-defined]
    reference.close()
