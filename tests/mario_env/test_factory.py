"""The one constructor: contract, determinism, order."""

import hashlib
import pickle
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FrameStackObservation, TimeLimit

from configs.schema import EnvironmentConfig
from mario_env import make
from mario_env.wrappers import (
    ActionDelay,
    CropStatusBar,
    DemonstrationStart,
    EpisodeRecorder,
    FrameSkip,
    Grayscale,
    JoypadAction,
    LifeLossTermination,
    MemoryFacts,
    MemoryReward,
    NoopStart,
    Resize,
    StallTruncation,
    StickyActions,
)

EVERYTHING = EnvironmentConfig(
    game="full", life_loss_ends_episode=True, crop_status_bar=True, sticky_actions=0.25, noop_frames=10, actions="complex"
)
CONFIGS = [EnvironmentConfig(), EVERYTHING, EnvironmentConfig(world=4, stage=3, frame_skip=1, max_steps=None, stall_after=None)]


def _rollout(env: gymnasium.Env[Any, Any], seed: int | None, steps: int = 50) -> str:
    digest = hashlib.sha256()
    observation, info = env.reset(seed=seed)
    chance = np.random.default_rng(0)
    for _ in range(steps):
        digest.update(observation.tobytes() + repr(sorted(info.items())).encode())
        observation, reward, terminated, truncated, info = env.step(chance.integers(5))
        digest.update(repr((reward, terminated, truncated)).encode())
        if terminated or truncated:
            info.pop("episode"), info.pop("episode_summary")
            observation, info = env.reset()
    return digest.hexdigest()


# Every other warning is an error. These two want a raw environment out of Gymnasium's registry; ours is wrapped, and its
# parts come from a configuration.
@pytest.mark.filterwarnings("ignore:.*likely has a wrapper applied to it")
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes due to the environment not having a spec")
@pytest.mark.parametrize("config", CONFIGS)
def test_gymnasiums_check_passes(config: EnvironmentConfig) -> None:
    check_env(make(config))


def test_the_order_of_the_transforms() -> None:
    def layers(config: EnvironmentConfig) -> list[type]:
        env: Any = make(config)
        found = []
        while isinstance(env, gymnasium.Wrapper):
            found.append(type(env))
            env = env.env
        return found[::-1]

    frames = [NoopStart, MemoryFacts, LifeLossTermination, ActionDelay, JoypadAction]
    pictures = [FrameSkip, Grayscale, CropStatusBar, Resize, FrameStackObservation]
    assert layers(EVERYTHING) == [
        *frames, *pictures, DemonstrationStart, MemoryReward, StallTruncation, TimeLimit, EpisodeRecorder, StickyActions,
    ]  # fmt: skip
    assert layers(CONFIGS[2]) == [
        NoopStart, MemoryFacts, ActionDelay, JoypadAction, Grayscale, Resize, FrameStackObservation, DemonstrationStart,
        MemoryReward, EpisodeRecorder,
    ]  # fmt: skip


def test_reset_takes_a_seed_and_returns_two_values() -> None:
    env = make(EVERYTHING)
    returned = env.reset(seed=3)
    assert len(returned) == 2
    assert isinstance(returned[1], dict)
    assert len(env.step(0)) == 5


@pytest.mark.parametrize("config", [EVERYTHING, EnvironmentConfig()])
def test_one_seed_gives_one_rollout(config: EnvironmentConfig) -> None:
    env = make(config)
    first = _rollout(env, seed=1)
    assert _rollout(env, seed=1) == first
    assert _rollout(make(config, seed=1), seed=None) == first
    if config is EVERYTHING:
        assert _rollout(env, seed=2) != first


def test_the_seed_is_also_the_action_spaces() -> None:
    drawn = [[make(EnvironmentConfig(), seed=seed).action_space.sample() for _ in range(1)] for seed in (3, 3)]
    assert drawn[0] == drawn[1]
    env, other = make(EnvironmentConfig(), seed=3), make(EnvironmentConfig(), seed=4)
    assert [env.action_space.sample() for _ in range(20)] != [other.action_space.sample() for _ in range(20)]


@pytest.mark.parametrize(
    ("rule", "digested"),
    [("sticky_actions", "24d27bf48793933c1caef826"), ("sticky_decisions", "312194f97064530ed29d7eb6")],
)
def test_both_stacks_give_the_same_observations_and_rewards(rule: str, digested: str) -> None:
    # Written down once, checked on whichever stack runs this: emulator, OpenCV and NumPy differ between them.
    env = make(EVERYTHING.model_copy(update={"sticky_actions": 0.0, rule: 0.25}), seed=12)
    observation, _ = env.reset()
    digest = hashlib.sha256(observation.tobytes())
    for step in range(60):
        observation, reward, terminated, truncated, _ = env.step((3, 4, 3, 2, 6)[step % 5])
        digest.update(observation.tobytes() + repr(float(reward)).encode())
        if terminated or truncated:
            env.reset()
    assert digest.hexdigest()[:24] == digested


def test_a_factory_can_be_sent_to_another_process() -> None:
    factory = pickle.loads(pickle.dumps(partial(make, EVERYTHING, seed=1)))
    assert _rollout(factory(), seed=None, steps=5) == _rollout(make(EVERYTHING, seed=1), seed=None, steps=5)


def test_closing_is_enough_to_make_another() -> None:
    for _ in range(3):
        env = make(EnvironmentConfig())
        env.reset()
        env.close()
