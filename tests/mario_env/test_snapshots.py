"""Games that are written down in the midst of their episodes and go on elsewhere: nothing shows that they were."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import EnvironmentConfig
from mario_env import SnapshotError, make_vec
from mario_env.snapshots import GamesSnapshot, Snapshots
from mario_env.stable_baselines import FastVecEnv

CONFIGS = {
    "sticky actions, random starts": EnvironmentConfig(stall_after=10, max_steps=25, noop_frames=20, sticky_actions=0.25),
    "sticky decisions": EnvironmentConfig(stall_after=10, max_steps=25, sticky_decisions=0.25),
    "full game, every frame": EnvironmentConfig(game="full", frame_skip=1, max_steps=40, noop_frames=5),
    "tiles": EnvironmentConfig(observation="tiles", stall_after=10, max_steps=25, noop_frames=20, sticky_actions=0.25),
    "two frames, no status bar": EnvironmentConfig(frame_skip=2, max_steps=30, crop_status_bar=True),
}
WITHOUT_CLOCK = ("duration_seconds", "episode")


def stored(snapshot: GamesSnapshot) -> GamesSnapshot:
    """As it comes back from a file."""
    return GamesSnapshot(json.loads(json.dumps(snapshot.values)), {name: each.copy() for name, each in snapshot.arrays.items()})


def play(env: FastVecEnv, steps: int, seed: int) -> list[Any]:
    generator, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        observations, rewards, dones, infos = env.step(generator.integers(0, 5, env.num_envs))
        seen.append((observations.tobytes(), rewards.tobytes(), dones.tobytes(), [plain(info) for info in infos]))
        seen.append([screen.tobytes() for screen in env.get_images()])
    return seen


def plain(info: Mapping[str, Any]) -> dict[str, Any]:
    """An info without what a clock says, its pictures as bytes."""
    values = {name: value for name, value in info.items() if name not in WITHOUT_CLOCK}
    if "episode_summary" in values:
        values["episode_summary"] = {**vars(values["episode_summary"]), "duration_seconds": 0.0}
    if "terminal_observation" in values:
        values["terminal_observation"] = values["terminal_observation"].tobytes()
    return values


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=6, deadline=None)
@given(before=st.integers(0, 60), elsewhere=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_what_follows_a_snapshot_is_the_same_elsewhere(name: str, before: int, elsewhere: int, seed: int) -> None:
    first = FastVecEnv(CONFIGS[name], 3, seed=seed % 1000)
    second = FastVecEnv(CONFIGS[name], 3, seed=7)
    first.reset()
    second.seed(99)
    second.reset()
    play(first, before, seed)
    play(second, elsewhere, seed + 1)

    taken = stored(first.snapshot())
    screens = [screen.tobytes() for screen in first.get_images()]
    observations = second.restore(taken)

    np.testing.assert_array_equal(observations, first.games.fleet.observations)
    assert [screen.tobytes() for screen in second.get_images()] == screens
    assert [space.sample() for space in first.get_attr("action_space")] == [
        space.sample() for space in second.get_attr("action_space")
    ]
    assert play(second, 60, seed + 2) == play(first, 60, seed + 2)
    first.close()
    second.close()


def test_taking_a_snapshot_changes_nothing() -> None:
    runs = []
    for taken in (False, True):
        env, seen = FastVecEnv(CONFIGS["sticky actions, random starts"], 2, seed=1), []
        env.reset()
        for part in range(20):
            seen.append(play(env, 3, part))
            if taken:
                env.snapshot()
        runs.append(seen)
        env.close()
    assert runs[0] == runs[1]


def test_an_episode_that_goes_on_elsewhere_lasts_as_long_as_it_did() -> None:
    config = EnvironmentConfig(max_steps=4)
    first, second = FastVecEnv(config, 1, seed=0), FastVecEnv(config, 1, seed=0)
    first.reset()
    second.reset()
    first.step(np.array([1]))
    taken = first.snapshot()
    seconds = taken.values["slots"][0]["record"]["seconds"]
    taken.values["slots"][0]["record"]["seconds"] += 100

    second.restore(taken)
    for _ in range(3):
        info = second.step(np.array([1]))[3][0]

    assert 0 < seconds < 60
    assert 100 < info["episode_summary"].duration_seconds < 160
    assert info["episode_summary"].steps == 4


@pytest.mark.parametrize(
    ("config", "count", "message"),
    [
        (EnvironmentConfig(frame_skip=2), 2, r"environment\.frame_skip: 4 then, 2 now"),
        (EnvironmentConfig(sticky_actions=0.1), 2, r"environment\.sticky_actions: 0\.0 then, 0\.1 now"),
        (EnvironmentConfig(), 3, "games: 2 then, 3 now"),
    ],
)
def test_a_snapshot_of_other_games_is_refused(config: EnvironmentConfig, count: int, message: str) -> None:
    taken = FastVecEnv(EnvironmentConfig(), 2, seed=0).snapshot()
    other = FastVecEnv(config, count, seed=0)
    before = other.reset()

    with pytest.raises(SnapshotError, match=message):
        other.restore(taken)

    np.testing.assert_array_equal(other.games.fleet.observations, before)


def test_a_snapshot_of_another_emulator_is_refused() -> None:
    env = FastVecEnv(EnvironmentConfig(), 1, seed=0)
    taken = stored(env.snapshot())
    taken.values["of"]["emulator"] = "another"

    with pytest.raises(SnapshotError, match=r"emulator: another then, [0-9a-f]{12}… now"):
        env.restore(taken)


def test_only_the_fast_emulators_games_can_be_written_down() -> None:
    fast = make_vec(EnvironmentConfig(), 1, seed=0)
    other = make_vec(EnvironmentConfig(emulator="nes-py"), 1, seed=0, processes=False)

    assert isinstance(fast, Snapshots)
    assert not isinstance(other, Snapshots)
    fast.close()
    other.close()
