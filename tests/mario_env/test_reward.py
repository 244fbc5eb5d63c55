"""The reward is what happened, weighted."""

from collections.abc import Callable
from typing import Any

import pytest

from configs.schema import EnvironmentConfig, RewardConfig
from mario_env import make
from mario_env.wrappers import REWARD_COMPONENTS

RUN, RUN_JUMP, IDLE = 3, 4, 0
NOTHING = RewardConfig(**dict.fromkeys(REWARD_COMPONENTS, 0), scale=1)


def _episode(config: EnvironmentConfig, actions: Any) -> list[tuple[float, dict[str, Any]]]:
    env = make(config)
    _, before = env.reset()
    steps = []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        steps.append((float(reward), {**info, "before": before}))
        before = info
        if terminated or truncated:
            break
    env.close()
    return steps


def test_the_default_reward_of_a_completed_level(episode_of_1_1: list[tuple[float, dict[str, Any]]]) -> None:
    steps = episode_of_1_1
    assert sum(reward for reward, _ in steps) == pytest.approx(0.1 * (3161 - 40) + 0.1 * 50)
    for reward, info in steps:
        assert tuple(info["reward_components"]) == REWARD_COMPONENTS
        assert reward == pytest.approx(sum(info["reward_components"].values()))
        assert reward >= 0, "standing still or going back costs nothing"


def test_each_amount_is_weighted(finish: Callable[[str], bytes]) -> None:
    config = EnvironmentConfig(reward=RewardConfig(progress=3.0, clock=2.0, score=0.5, scale=1.0))
    facts = {"progress": ("progress", 3.0), "clock": ("time", 2.0), "score": ("score", 0.5)}
    seen = dict.fromkeys(facts, 0.0)
    for reward, info in _episode(config, finish("1-1")):
        components = info["reward_components"]
        for name, (fact, weight) in facts.items():
            assert components[name] == pytest.approx(weight * (info[fact] - info["before"][fact]))
            seen[name] += abs(components[name])
        assert reward == pytest.approx(sum(components.values()))
    assert all(seen.values()), seen


def test_progress_is_clipped_in_each_decision() -> None:
    limited = EnvironmentConfig(reward=NOTHING.model_copy(update={"progress": 1.0, "progress_limit": 5}))
    rewards = [reward for reward, _ in _episode(limited, [RUN] * 20)]
    free = [reward for reward, _ in _episode(EnvironmentConfig(reward=RewardConfig(scale=1)), [RUN] * 20)]
    assert max(free) > 5
    assert rewards == [min(reward, 5) for reward in free]


def test_a_death_is_paid_once_and_the_new_clock_not_at_all() -> None:
    config = EnvironmentConfig(
        game="full", reward=NOTHING.model_copy(update={"death": -25.0, "clock": 1.0, "scale": 0.1}), stall_after=None
    )
    steps = _episode(config, [RUN] * 100)
    deaths = [info["reward_components"] for _, info in steps if info["reward_components"]["death"]]
    assert deaths == [dict.fromkeys(REWARD_COMPONENTS, 0.0) | {"death": -2.5}] * 3
    assert steps[-1][1]["end_reason"] == "game_over"
    assert all(info["reward_components"]["clock"] <= 0 for _, info in steps)


def test_no_component_is_minus_zero() -> None:
    _, info = _episode(EnvironmentConfig(), [IDLE])[0]
    assert [str(value) for value in info["reward_components"].values()] == ["0.0"] * len(REWARD_COMPONENTS)


def test_going_back_and_forth_is_paid_once() -> None:
    back_and_forth = [1] * 10 + [6] * 10 + [1] * 8
    rewards = [reward for reward, _ in _episode(EnvironmentConfig(), back_and_forth)]
    assert sum(rewards[:10]) > 4
    assert sum(rewards[14:22]) == 0
