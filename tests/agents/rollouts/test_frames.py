"""Rollouts that store each frame once give the samples of stable-baselines3's buffer, for any sequence of observations."""

from typing import Any

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

from agents.rollouts import FrameRolloutBuffer
from mario_env.observations import Frames

ACTIONS = gym.spaces.Discrete(3)
GAME = Frames.shape


def buffers(steps: int, n_envs: int, space: gym.spaces.Box) -> tuple[FrameRolloutBuffer, RolloutBuffer]:
    """A buffer of each class."""
    arguments = {"buffer_size": steps, "observation_space": space, "action_space": ACTIONS, "device": "cpu", "n_envs": n_envs}
    return FrameRolloutBuffer(**arguments), RolloutBuffer(**arguments)  # type: ignore[arg-type]


def pictures(shape: tuple[int, ...]) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


def fill(buffer: RolloutBuffer, observations: NDArray[Any], seed: int) -> None:
    """Fill `buffer` with observations (steps, n_envs, …) and random numbers."""
    generator, n_envs = np.random.default_rng(seed), observations.shape[1]
    buffer.reset()
    for each in observations:
        numbers = [generator.normal(size=n_envs).astype(np.float32) for _ in range(4)]
        actions = generator.integers(3, size=(n_envs, 1))
        # The caller may write to the array afterwards, as environments do that reuse it.
        given, values = each.copy(), (torch.as_tensor(numbers[2]), torch.as_tensor(numbers[3]))
        buffer.add(given, actions, numbers[0], numbers[1] > 1, *values)
        given[:] = 0
    buffer.compute_returns_and_advantage(torch.zeros(n_envs), np.zeros(n_envs))


def require_equal_samples(ours: RolloutBuffer, theirs: RolloutBuffer, batch_size: int) -> None:
    """Two epochs of samples are equal."""
    drawn = []
    for buffer in (ours, theirs):
        np.random.seed(3)
        drawn.append([batch for _ in range(2) for batch in buffer.get(batch_size)])
    for one, other in zip(*drawn, strict=True):
        for name in one._fields:
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@given(
    shape=st.sampled_from([(4, 3, 5), (3, 2, 2), (1, 4, 4)]),
    n_envs=st.integers(1, 3),
    steps=st.integers(1, 9),
    seed=st.integers(0, 1_000),
    resets=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_samples_equal_those_of_the_library(
    shape: tuple[int, int, int], n_envs: int, steps: int, seed: int, resets: float
) -> None:
    """For stacks that continue, begin again and do not fit together; the second rollout replaces the first."""
    generator = np.random.default_rng(seed)
    ours, theirs = buffers(steps, n_envs, pictures(shape))
    for rollout in range(2):
        stack, observations = generator.integers(3, size=(n_envs, *shape), dtype=np.uint8), []
        for _ in range(steps):
            newest = generator.integers(3, size=(n_envs, 1, *shape[1:]), dtype=np.uint8)
            stack = np.concatenate([stack[:, 1:], newest], axis=1)
            for env in np.flatnonzero(generator.random(n_envs) < resets):
                stack[env] = generator.integers(3, size=(1, *shape[1:])) if env % 2 else generator.integers(3, size=shape)
            observations.append(stack)
        for buffer in (ours, theirs):
            fill(buffer, np.array(observations), seed + rollout)
        require_equal_samples(ours, theirs, batch_size=4)


@pytest.mark.parametrize("space", [gym.spaces.Box(-1, 1, (5,), np.float32), pictures((6, 7)), gym.spaces.Box(0, 1, GAME)])
def test_other_observations_are_sampled_as_in_the_library(space: gym.spaces.Box) -> None:
    ours, theirs = buffers(6, 2, space)
    space.seed(0)
    observations = np.array([[space.sample() for _ in range(2)] for _ in range(6)])
    for buffer in (ours, theirs):
        fill(buffer, observations, seed=0)

    require_equal_samples(ours, theirs, batch_size=5)


def test_stacks_take_a_quarter_of_the_memory_and_are_drawn_in_channels_last() -> None:
    steps, n_envs = 64, 2
    ours, _ = buffers(steps, n_envs, pictures(GAME))
    frames = np.random.default_rng(0).integers(256, size=(steps + 3, n_envs, *GAME[1:]), dtype=np.uint8)
    fill(ours, np.array([frames[step : step + 4].swapaxes(0, 1) for step in range(steps)]), seed=0)

    assert ours._pool.used == len(frames) * n_envs
    assert len(ours._pool.frames) < 1.6 * steps * n_envs
    assert ours.observations.nbytes == 0
    assert all(batch.observations.is_contiguous(memory_format=torch.channels_last) for batch in ours.get(16))
