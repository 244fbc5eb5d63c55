"""FrameReplayBuffer gives the samples of stable-baselines3's buffers, byte for byte."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Player
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from agents.replay import FrameReplayBuffer
from mario_env.observations import Frames

ACTIONS = gym.spaces.Discrete(5)
GAME = Frames().space


def box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


def library_buffer(size: int, space: gym.spaces.Box, n_envs: int, n_steps: int = 1, **more: Any) -> ReplayBuffer:
    """The buffer that stable-baselines3 would choose."""
    if n_steps == 1:
        return ReplayBuffer(size, space, ACTIONS, "cpu", n_envs, **more)
    return NStepReplayBuffer(size, space, ACTIONS, "cpu", n_envs, n_steps=n_steps, gamma=0.9, **more)


def frame_buffer(size: int, space: gym.spaces.Box, n_envs: int, n_steps: int = 1, **more: Any) -> FrameReplayBuffer:
    return FrameReplayBuffer(size, space, ACTIONS, "cpu", n_envs, n_steps=n_steps, gamma=0.9, **more)


def samples(buffer: ReplayBuffer, seed: int, count: int = 24) -> ReplayBufferSamples:
    np.random.seed(seed)
    return buffer.sample(count)


def assert_same(left: ReplayBufferSamples, right: ReplayBufferSamples) -> None:
    for name, one, other in zip(left._fields, left, right, strict=True):
        if one is None or other is None:
            assert one is other, name
            continue
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes(), name


EVENTS = ["on", "on", "on", "still", "terminated", "truncated", "both", "new stack", "jump", "unrelated"]


@settings(max_examples=150, deadline=None)
@given(
    events=st.integers(1, 3).flatmap(
        lambda n_envs: st.lists(st.tuples(*[st.sampled_from(EVENTS)] * n_envs), min_size=1, max_size=50)
    ),
    size=st.integers(1, 40),
    n_steps=st.sampled_from([1, 2, 3, 5]),
    shape=st.sampled_from([(4, 2, 3), (4, 1, 1), (1, 2, 2), (2, 1, 3), (5, 2, 2)]),
    timeouts=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_samples_equal_those_of_stable_baselines3(
    events: list[tuple[str, ...]],
    size: int,
    n_steps: int,
    shape: tuple[int, int, int],
    timeouts: bool,
    channels_last: bool,
    seed: int,
) -> None:
    n_envs = len(events[0])
    expected = library_buffer(size, box(*shape), n_envs, n_steps, handle_timeout_termination=timeouts)
    buffer = frame_buffer(size, box(*shape), n_envs, n_steps, handle_timeout_termination=timeouts, channels_last=channels_last)
    # Few values, so that some frames are equal by chance.
    player = Player(n_envs, shape, seed, values=2)

    for step, row in enumerate(events):
        transition = player.play(row)
        expected.add(*transition)
        buffer.add(*transition)

        assert (buffer.pos, buffer.full, buffer.size()) == (expected.pos, expected.full, expected.size())
        assert_same(samples(expected, step), samples(buffer, step))
        used = buffer.size()
        np.testing.assert_array_equal(buffer.observations[:used], expected.observations[:used])
        np.testing.assert_array_equal(buffer.next_observations[:used], expected.next_observations[:used])


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_samples_of_game_observations_are_equal_when_the_buffer_wraps_around(n_steps: int, channels_last: bool) -> None:
    expected = library_buffer(60, GAME, 2, n_steps)
    buffer = frame_buffer(60, GAME, 2, n_steps, channels_last=channels_last)
    player = Player(2, Frames.shape, seed=n_steps)

    for step in range(100):
        transition = player.play(player.ordinary(mean_length=12))
        expected.add(*transition)
        buffer.add(*transition)
        if step % 9 == 0:
            assert_same(samples(expected, step), samples(buffer, step))

    assert samples(buffer, 0).observations.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_added_observations_are_copied() -> None:
    buffer = frame_buffer(8, box(4, 2, 2), 1)
    transition = Player(1, (4, 2, 2), seed=0).play(["on"])
    before = transition[0].copy(), transition[1].copy()
    buffer.add(*transition)
    transition[0][:] = transition[1][:] = 0

    np.testing.assert_array_equal(buffer.observations[0], before[0])
    np.testing.assert_array_equal(buffer.next_observations[0], before[1])


def test_samples_do_not_change_when_the_buffer_does() -> None:
    buffer = frame_buffer(4, box(4, 2, 2), 1)
    player = Player(1, (4, 2, 2), seed=0)
    for _ in range(6):
        buffer.add(*player.play(["on"]))
    drawn = samples(buffer, 1)
    kept = copy.deepcopy(drawn)

    for _ in range(6):
        buffer.add(*player.play(["on"]))
    samples(buffer, 2)

    assert_same(kept, drawn)


@pytest.mark.parametrize("n_envs", [1, 16])
@pytest.mark.parametrize(("size", "limit"), [(100_000, 0.8e9), (1_000_000, 8e9)])
def test_size_in_memory_for_the_game(size: int, limit: float, n_envs: int) -> None:
    buffer = frame_buffer(size, GAME, n_envs)
    pool = buffer.pool
    arrays = (
        pool.frames, pool.references, pool._free, buffer.frame_ids, buffer.actions, buffer.rewards, buffer.dones,
        buffer.timeouts,
    )  # fmt: skip

    assert sum(array.nbytes for array in arrays) == buffer.nbytes <= limit
    assert FrameReplayBuffer.bytes_for(size, n_envs, GAME, ACTIONS) == buffer.nbytes
    assert {id(array) for array in arrays} == {
        id(value) for owner in (pool, buffer) for value in vars(owner).values() if isinstance(value, np.ndarray)
    }


def test_every_frame_is_stored_once() -> None:
    buffer = frame_buffer(1_000, box(4, 3, 3), 2)
    player = Player(2, (4, 3, 3), seed=0)
    for step in range(250):
        buffer.add(*player.play(["terminated" if step % 50 == 49 else "on"] * 2))

    # Five episodes of 50 transitions in each of two environments, each with one frame more than transitions.
    assert buffer.pool.used == 2 * 5 * 51


def test_a_buffer_does_not_grow_when_it_is_refilled() -> None:
    buffer = frame_buffer(320, box(4, 2, 2), 4)
    before, player = buffer.nbytes, Player(4, (4, 2, 2), seed=0)
    for step in range(1_000):
        buffer.add(*player.play(["truncated" if step % 20 == 19 else "on"] * 4))

    assert buffer.nbytes == before
    assert buffer.pool.references.sum() == buffer.frame_ids.size


def test_unrelated_observations_take_more_memory_but_a_bounded_amount() -> None:
    buffer = frame_buffer(40, box(4, 4, 4), 2)
    player, sizes = Player(2, (4, 4, 4), seed=0), []
    for _ in range(400):
        buffer.add(*player.play(["unrelated", "jump"]))
        sizes.append(buffer.pool.used)

    assert len(buffer.pool.frames) > 40 * 4
    assert sizes[100] == sizes[-1] <= 40 * 8 + 2 * 8


def test_a_reset_buffer_behaves_like_a_new_one() -> None:
    expected, buffer = library_buffer(20, box(4, 2, 2), 2), frame_buffer(20, box(4, 2, 2), 2)
    player = Player(2, (4, 2, 2), seed=0)
    for _ in range(13):
        buffer.add(*player.play(["on", "on"]))
    buffer.reset()
    assert (buffer.size(), buffer.pool.used, buffer.pool.references.sum()) == (0, 0, 0)

    for _ in range(25):
        transition = player.play(["on", "on"])
        expected.add(*transition)
        buffer.add(*transition)
    assert_same(samples(expected, 1), samples(buffer, 1))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda buffer: pickle.loads(pickle.dumps(buffer))])
def test_copies_are_independent(duplicate: Any) -> None:
    expected, buffer = library_buffer(30, box(4, 2, 2), 2, 3), frame_buffer(30, box(4, 2, 2), 2, 3)
    player = Player(2, (4, 2, 2), seed=0)
    for step in range(40):
        transition = player.play(player.ordinary(mean_length=3))
        expected.add(*transition)
        buffer.add(*transition)
        buffer = duplicate(buffer) if step % 10 == 9 else buffer
    assert_same(samples(expected, 1), samples(buffer, 1))


def test_n_step_returns_stop_at_end_episodes() -> None:
    buffer = frame_buffer(20, box(4, 2, 2), 1, n_steps=3)
    player = Player(1, (4, 2, 2), seed=0)
    for events in (["on"], ["on"], ["on"]):
        buffer.add(*player.play(events))
    buffer.end_episodes()
    for events in (["on"], ["terminated"]):
        buffer.add(*player.play(events))
    buffer.end_episodes()

    drawn = buffer._get_samples(np.arange(5))

    assert drawn.discounts is not None
    np.testing.assert_allclose(drawn.discounts[:, 0], [0.9**3, 0.9**2, 0.9, 0.9**2, 0.9], rtol=1e-6)
    assert drawn.dones[:, 0].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(drawn.next_observations[1], buffer.next_observations[2, 0])


@pytest.mark.parametrize(
    "space",
    [box(8, 8), gym.spaces.Box(0, 1, (4, 8, 8), np.float32), gym.spaces.Discrete(3)],
)
def test_other_observation_spaces_are_refused(space: gym.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"needs a uint8 Box \(channels, height, width\), not"):
        FrameReplayBuffer(10, space, ACTIONS)


def test_optimize_memory_usage_is_refused() -> None:
    with pytest.raises(ValueError, match="optimize_memory_usage must be False"):
        FrameReplayBuffer(10, GAME, ACTIONS, optimize_memory_usage=True)


def test_a_buffer_larger_than_available_memory_warns() -> None:
    memory = psutil.virtual_memory()
    if memory.total - memory.available < 5e8:
        pytest.skip("nearly all memory is free: the system refuses a larger allocation before the buffer can warn")
    # Between the available and the total memory: the system grants it, and none of it is touched.
    size = (memory.total + memory.available) // 2 // FrameReplayBuffer.bytes_for(1_000, 1, GAME, ACTIONS) * 1_000

    expected = r"the replay buffer takes \d+\.\d+ GB when full, but only \d+\.\d+ GB of memory are available"
    with pytest.warns(UserWarning, match=expected):
        FrameReplayBuffer(size, GAME, ACTIONS)
