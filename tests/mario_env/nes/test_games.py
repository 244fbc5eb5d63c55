"""Games played together are, in everything an agent gets, the environments that `make` builds on nes-py."""

import numpy as np
import pytest

from benchmarks.decisions import SideBySide
from configs.schema import EnvironmentConfig, RewardConfig
from mario_env.factory import make
from mario_env.games import Games
from mario_env.observations import OBSERVATIONS
from mario_env.stable_baselines import FastVecEnv

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

CONFIGS = {
    **{name: EnvironmentConfig.model_validate({"observation": name}) for name in OBSERVATIONS},
    "random starts": EnvironmentConfig(
        noop_frames=30, sticky_actions=0.25, crop_status_bar=True, reward=RewardConfig(clock=0.3, score=0.01)
    ),
    "sticky decisions": EnvironmentConfig(sticky_decisions=0.25, frame_skip=2, stall_after=30),
    "several levels": EnvironmentConfig(levels=["1-1", "1-2", "7-1"], noop_frames=30, stall_after=25, max_steps=40),
    "full, every frame": EnvironmentConfig(game="full", frame_skip=1, max_steps=200),
    "full, one life": EnvironmentConfig(game="full", frame_skip=2, life_loss_ends_episode=True, stall_after=60),
    "another level": EnvironmentConfig(world=4, stage=2, frame_skip=3, stall_after=None, max_steps=80, actions="complex"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_games_are_the_environments_on_nes_py(name: str) -> None:
    count, seed = 2, 3
    both = SideBySide(CONFIGS[name], count, seed=seed)
    generator, actions, ended = np.random.default_rng(seed), [0] * count, 0
    for _ in range(250):
        if generator.random() < 0.3:
            actions = generator.integers(0, both.actions, count).tolist()
        ended += sum(both.step(actions)[0])
    both.close()
    assert ended > 0, "resets are compared, too"


def test_threads_change_nothing() -> None:
    runs = []
    for threads in (1, 2):
        games = FastVecEnv(EnvironmentConfig(), 5, seed=0, threads=threads)
        games.reset()
        generator = np.random.default_rng(0)
        runs.append([games.step(generator.integers(0, 7, 5))[0] for _ in range(60)])
        games.close()
    np.testing.assert_array_equal(np.array(runs[0]), np.array(runs[1]))


def test_an_impossible_action_is_refused() -> None:
    games = Games(EnvironmentConfig(), 2)
    games.reset(0)
    games.reset(1)
    with pytest.raises(ValueError, match="there is no action 7: the actions are 0 to 6"):
        games.step([0, 7])
    with pytest.raises(ValueError, match="there is no action -1: the actions are 0 to 6"):
        games.step([-1, 0])


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_slots_show_their_screen_and_their_ram(name: str) -> None:
    games = FastVecEnv(EnvironmentConfig.model_validate({"observation": name}), 1, seed=0)
    games.reset()
    games.step(np.array([1]))
    reference = make(EnvironmentConfig(emulator="nes-py"), seed=0)
    reference.reset()
    reference.step(1)
    np.testing.assert_array_equal(games.get_images()[0], reference.unwrapped.render())
    assert games.get_attr("memory")[0] == reference.unwrapped.memory  # type: ignore[attr-defined]
    reference.close()
