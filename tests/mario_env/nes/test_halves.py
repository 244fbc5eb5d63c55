"""Games that are sent their decisions in parts play as games that are stepped together."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from configs.schema import EnvironmentConfig
from mario_env.stable_baselines import FastVecEnv

GAMES, STEPS = 6, 120
CONFIGS = {
    "sticky actions": EnvironmentConfig(sticky_actions=0.25, noop_frames=20, stall_after=10, max_steps=25),
    "sticky decisions": EnvironmentConfig(sticky_decisions=0.25, noop_frames=20, stall_after=10, max_steps=25),
    "tiles": EnvironmentConfig(observation="tiles", sticky_actions=0.25, noop_frames=20, stall_after=10, max_steps=25),
    "levels": EnvironmentConfig(
        levels=["1-1", "1-2", "4-2"], observation="tiles", noop_frames=20, stall_after=10, max_steps=25
    ),
    "full game": EnvironmentConfig(game="full", frame_skip=1, max_steps=40),
}
HALVES = (slice(0, GAMES // 2), slice(GAMES // 2, GAMES))


def plain(info: dict[str, Any]) -> dict[str, Any]:
    """An info without what a clock says, its pictures as bytes."""
    values = {name: value for name, value in info.items() if name != "episode"}
    if "episode_summary" in values:
        values["episode_summary"] = {**vars(values["episode_summary"]), "duration_seconds": 0.0}
    if "terminal_observation" in values:
        values["terminal_observation"] = values["terminal_observation"].tobytes()
    return values


def rows(games: range, observations: Any, rewards: Any, dones: Any, infos: Any) -> Iterator[tuple[Any, ...]]:
    """What came of a decision in each of these games."""
    for game, observation, reward, done, info in zip(games, observations, rewards, dones, infos, strict=True):
        yield game, observation.tobytes(), float(reward), bool(done), plain(info)


def together(envs: FastVecEnv, actions: Any) -> list[list[tuple[Any, ...]]]:
    return [list(rows(range(GAMES), *envs.step(each))) for each in actions]


def by_turns(envs: FastVecEnv, actions: Any) -> list[list[tuple[Any, ...]]]:
    """While a half plays, the other is received and sent its next decision: a half is up to one decision ahead."""
    steps: list[list[tuple[Any, ...]]] = [[] for _ in actions]
    envs.send(0, actions[0][HALVES[0]])
    for step in range(len(actions)):
        envs.send(GAMES // 2, actions[step][HALVES[1]])
        steps[step] += rows(range(GAMES // 2), *envs.recv())
        if step + 1 < len(actions):
            envs.send(0, actions[step + 1][HALVES[0]])
        steps[step] += rows(range(GAMES // 2, GAMES), *envs.recv())
    assert not envs.playing
    return steps


def everything(envs: FastVecEnv) -> tuple[Any, ...]:
    """What a snapshot has, without what a clock says, and the screens."""
    taken = envs.snapshot()
    for slot in taken.values["slots"]:
        del slot["record"]["seconds"]
    arrays = {name: array.tobytes() for name, array in taken.arrays.items()}
    return taken.values, arrays, [screen.tobytes() for screen in envs.get_images()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_halves_play_as_games_that_are_stepped_together(name: str, threads: int) -> None:
    """Observations, rewards, ends and infos, with resets; then whole steps go on from there."""
    actions = np.random.default_rng(0).integers(0, 5, (STEPS, GAMES))
    found, ends = [], []
    for play in (together, by_turns):
        envs = FastVecEnv(CONFIGS[name], GAMES, seed=4, threads=threads)
        envs.reset()
        found.append([*together(envs, actions[:10]), *play(envs, actions[10:-10]), *together(envs, actions[-10:])])
        ends.append(everything(envs))
        envs.close()

    assert found[0] == found[1]
    assert ends[0] == ends[1]
    assert sum(row[3] for step in found[0] for row in step) > GAMES, "resets are compared, too"


def test_what_needs_whole_steps_is_refused_meanwhile() -> None:
    envs = FastVecEnv(EnvironmentConfig(), 4, seed=0, threads=2)
    envs.reset()
    taken = envs.snapshot()
    envs.send(0, np.array([1, 1]))
    assert envs.playing
    refused = (
        lambda: envs.step(np.zeros(4, np.int64)),
        envs.reset,
        envs.snapshot,
        lambda: envs.restore(taken),
        lambda: envs.send(1, np.array([0, 0])),
        lambda: envs.begin(1, seed=0, options={}),
    )
    for call in refused:
        with pytest.raises(RuntimeError, match=r"these games are being played: call recv\(\) first"):
            call()
    envs.begin(2, seed=0, options={})  # it is not being played
    with pytest.raises(ValueError, match="there is no action 7"):
        envs.send(2, np.array([7, 0]))
    envs.recv()
    with pytest.raises(RuntimeError, match=r"no games are being played: call send\(\) first"):
        envs.recv()
    envs.restore(taken)
    envs.close()
