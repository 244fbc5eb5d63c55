"""stable-baselines3 accepts the environment. Apart, because the other stack is tested without torch."""

import sys
from typing import Any

import gymnasium
import pytest
from stable_baselines3.common.env_checker import check_env

from configs.schema import EnvironmentConfig
from mario_env import RomUnavailableError, make, make_vec, observation_space

EVERYTHING = EnvironmentConfig(
    game="full", life_loss_ends_episode=True, crop_status_bar=True, sticky_actions=0.25, noop_frames=10, actions="complex"
)
CONFIGS = [EnvironmentConfig(), EVERYTHING, EnvironmentConfig(world=4, stage=3, frame_skip=1, max_steps=None, stall_after=None)]


@pytest.mark.parametrize("config", CONFIGS)
def test_its_check_passes(config: EnvironmentConfig) -> None:
    env = make(config)
    check_env(env, warn=True)
    assert env.observation_space == observation_space(config)
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this stack carries the other ROMs")
@pytest.mark.parametrize("rom", ["downsample", "pixel", "rectangle"])
def test_a_missing_rom_is_refused_before_a_worker_is_started(rom: Any) -> None:
    with pytest.raises(RomUnavailableError, match=rom):
        make_vec(EnvironmentConfig(rom=rom), 2, seed=0)
