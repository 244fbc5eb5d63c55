"""Rollouts whose frames are on the device give the observations and samples of the others, here on torch's device "cpu"."""

from typing import Any

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from toy_game import toy_config, toy_vec
from twins import twin_config

from agents import build
from agents.algorithms.ppo import PPO
from agents.algorithms.pqn import PQN
from agents.rollouts import DeviceRolloutBuffer, FrameRolloutBuffer, buffer_class
from mario_env import make_training_vec
from mario_env.observations import Frames

ACTIONS = gym.spaces.Discrete(3)


def pictures(shape: tuple[int, ...]) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


class LaidOutAsOnCPU(DeviceRolloutBuffer):
    """Its samples have the layout that samples have on a CPU, so that updates have the same bits."""

    def _gather(self, frame_ids: NDArray[np.int32]) -> torch.Tensor:
        return super()._gather(frame_ids).contiguous(memory_format=torch.channels_last)


def with_frames_on_device(model: Any) -> Any:
    """`model` with the buffer that a GPU would have, on its device."""
    old = model.rollout_buffer
    model.rollout_buffer_class = LaidOutAsOnCPU
    model.rollout_buffer = LaidOutAsOnCPU(
        old.buffer_size, old.observation_space, old.action_space, model.device, old.gae_lambda, old.gamma, old.n_envs
    )
    return model


def require_equal_samples(ours: RolloutBuffer, theirs: RolloutBuffer) -> None:
    """Two epochs of samples are equal."""
    drawn = []
    for buffer in (ours, theirs):
        np.random.seed(3)
        drawn.append([batch for _ in range(2) for batch in buffer.get(4)])
    for one, other in zip(*drawn, strict=True):
        for name in one._fields:
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@given(
    shape=st.sampled_from([(4, 3, 5), (3, 2, 2), (1, 4, 4)]),
    n_envs=st.integers(1, 4),
    steps=st.integers(1, 9),
    parts=st.integers(1, 2),
    seed=st.integers(0, 1_000),
    resets=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_observations_and_samples_are_those_that_were_given(
    shape: tuple[int, int, int], n_envs: int, steps: int, parts: int, seed: int, resets: float
) -> None:
    """For stacks that continue, begin again and do not fit together, observed at once or in two parts, in two rollouts."""
    generator = np.random.default_rng(seed)
    ours = DeviceRolloutBuffer(steps, pictures(shape), ACTIONS, "cpu", n_envs=n_envs)
    theirs = RolloutBuffer(steps, pictures(shape), ACTIONS, "cpu", n_envs=n_envs)
    stack = generator.integers(3, size=(n_envs, *shape), dtype=np.uint8)
    middle = n_envs // 2 if parts == 2 else 0
    for _ in range(2):
        ours.reset()
        theirs.reset()
        for step in range(steps + 1):
            for games in (slice(0, middle), slice(middle, n_envs)):
                if len(stack[games]):
                    assert torch.equal(ours.observe(stack[games], games.start), torch.as_tensor(stack[games]))
            if step == steps:
                break
            numbers = [generator.normal(size=n_envs).astype(np.float32) for _ in range(4)]
            values, actions = map(torch.as_tensor, numbers[2:]), generator.integers(3, size=(n_envs, 1))
            arguments = (actions, numbers[0], numbers[1] > 1, *values)
            for buffer in (ours, theirs):
                buffer.add(stack, *arguments)
            newest = generator.integers(3, size=(n_envs, 1, *shape[1:]), dtype=np.uint8)
            stack = np.concatenate([stack[:, 1:], newest], axis=1)
            for env in np.flatnonzero(generator.random(n_envs) < resets):
                stack[env] = generator.integers(3, size=(1, *shape[1:])) if env % 2 else generator.integers(3, size=shape)
        for buffer in (ours, theirs):
            buffer.compute_returns_and_advantage(torch.zeros(n_envs), np.zeros(n_envs))
        require_equal_samples(ours, theirs)


def test_a_frame_is_sent_once() -> None:
    steps, n_envs = 32, 2
    buffer = DeviceRolloutBuffer(steps, pictures(Frames.shape), ACTIONS, "cpu", n_envs=n_envs)
    frames = np.random.default_rng(0).integers(256, size=(steps + 4, n_envs, *Frames.shape[1:]), dtype=np.uint8)
    for step in range(steps + 1):
        buffer.observe(np.ascontiguousarray(frames[step : step + 4].swapaxes(0, 1)))

    assert buffer._pool.used == len(frames) * n_envs
    assert torch.equal(buffer._pool.frames[buffer._frame_ids[7, 1]], torch.as_tensor(frames[7:11, 1]))


def test_adding_what_was_not_observed_is_refused() -> None:
    buffer = DeviceRolloutBuffer(3, pictures(Frames.shape), ACTIONS, "cpu", n_envs=2)
    observations = np.zeros((2, *Frames.shape), np.uint8)
    buffer.observe(observations[:1], 0)
    with pytest.raises(RuntimeError, match="step 0 of the rollout has not been observed: call observe before add"):
        buffer.add(observations, np.zeros((2, 1)), np.zeros(2), np.zeros(2), torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize("variant", ["ppo", "pqn", "pqn, every switch", "ppo, tiles"])
def test_a_training_ends_with_the_same_bits(variant: str) -> None:
    """On one device it makes no difference where frames are; the last of four rollouts is shortened."""
    weights = []
    for change in (lambda model: model, with_frames_on_device):
        config = twin_config(variant)
        env = make_training_vec(config)
        model = change(build(config, env, device="cpu"))
        model.learn(3 * model.n_envs * model.n_steps + 6)
        assert model.rollout_buffer.buffer_size == 2
        weights.append([each.clone() for each in model.policy.state_dict().values()])
        env.close()

    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_toy_game_is_learned() -> None:
    model = with_frames_on_device(build(toy_config("pqn"), toy_vec(), device="cpu"))
    model.learn(1_500)
    observations = toy_vec(8).reset()

    assert isinstance(model, PQN)
    assert (model.predict(observations)[0] == (np.asarray(observations)[:, -1, 0, -1] == 255)).all()


def test_the_device_decides() -> None:
    assert buffer_class("cpu") is FrameRolloutBuffer
    assert buffer_class("cuda") is DeviceRolloutBuffer
    model = build(toy_config("ppo"), toy_vec(), device="cpu")
    assert isinstance(model, PPO)
    assert type(model.rollout_buffer) is FrameRolloutBuffer
