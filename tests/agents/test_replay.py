"""The replay buffer on disk gives the same bytes back."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from agents import CheckpointError
from agents.replay import load_replay, save_replay

SPACE = gym.spaces.Box(0, 255, (4, 6, 12), np.uint8)
ODD_SPACE = gym.spaces.Box(0, 255, (4, 5, 5), np.uint8)


def empty(
    space: gym.spaces.Box = SPACE, size: int = 60, n_envs: int = 3, kind: type[ReplayBuffer] = ReplayBuffer, **more: Any
) -> ReplayBuffer:
    return kind(size, space, gym.spaces.Discrete(5), device="cpu", n_envs=n_envs, **more)


def fill(buffer: ReplayBuffer, steps: int, *, stacked: bool = True) -> ReplayBuffer:
    """Play `steps` steps of episodes that end at random; the observations are frame stacks, or unrelated pictures."""
    random = np.random.default_rng(steps)
    shape = buffer.obs_shape
    observations = random.integers(256, size=(buffer.n_envs, *shape), dtype=np.uint8)
    for _ in range(steps):
        frame = random.integers(256, size=(buffer.n_envs, 1, *shape[1:]), dtype=np.uint8)
        following = np.concatenate([observations[:, 1:], frame], axis=1)
        if not stacked:
            following = random.integers(256, size=following.shape, dtype=np.uint8)
        done = random.random(buffer.n_envs) < 0.15
        infos = [{"TimeLimit.truncated": bool(random.random() < 0.5)} for _ in range(buffer.n_envs)]
        action, reward = random.integers(5, size=buffer.n_envs), random.random(buffer.n_envs)
        buffer.add(observations, following, action, reward, done, infos)
        observations = following.copy()
        observations[done] = random.integers(256, size=observations[done].shape, dtype=np.uint8)
    return buffer


@pytest.mark.parametrize("space", [SPACE, ODD_SPACE])
@pytest.mark.parametrize("steps", [1, 2, 7, 19, 20, 33, 600])
@pytest.mark.parametrize("stacked", [True, False])
def test_every_byte_comes_back(steps: int, stacked: bool, space: gym.spaces.Box, tmp_path: Path) -> None:
    original, copy = fill(empty(space), steps, stacked=stacked), empty(space)

    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")

    assert (copy.pos, copy.full) == (original.pos, original.full)
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(original, name))


@pytest.mark.parametrize("steps", [7, 33])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (NStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
        (ReplayBuffer, {"optimize_memory_usage": True, "handle_timeout_termination": False}),
    ],
)
def test_the_same_samples_are_drawn(kind: type[ReplayBuffer], more: dict[str, Any], steps: int, tmp_path: Path) -> None:
    original, copy = fill(empty(kind=kind, **more), steps), empty(kind=kind, **more)
    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")

    drawn = []
    for buffer in (original, copy):
        np.random.seed(5)
        drawn.append(buffer.sample(40))

    for left, right in zip(*drawn, strict=True):
        assert (left is None and right is None) or np.array_equal(left.numpy(), right.numpy())


def test_more_than_one_chunk_is_an_eighth_of_the_memory(tmp_path: Path) -> None:
    space = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)
    original, copy = fill(empty(space, size=1_400, n_envs=2), 900), empty(space, size=1_400, n_envs=2)
    original.observations[0] = 0  # an episode that begins at the oldest slot

    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")

    np.testing.assert_array_equal(copy.observations, original.observations)
    np.testing.assert_array_equal(copy.next_observations, original.next_observations)
    # One episode in seven steps here; the game's are a hundred steps and more.
    assert (tmp_path / "replay.npz").stat().st_size < 0.35 * (original.observations.nbytes + original.next_observations.nbytes)


def test_a_buffer_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_replay(fill(empty(), 10), tmp_path / "replay.npz")

    with pytest.raises(CheckpointError, match="3 environments and 20 slots each, but this training has 2 and 30"):
        load_replay(empty(n_envs=2), tmp_path / "replay.npz")
