"""What is on its way to or from a GPU arrives as it was; as far as it can be told without one. `test_gpu.py` has the rest."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from played import Player
from stable_baselines3.common.buffers import RolloutBuffer

from agents.frame_replay import FrameReplayBuffer
from agents.prioritised_replay import PrioritisedReplayBuffer
from agents.rollout import ChannelsLastDeviceRolloutBuffer, ChannelsLastRolloutBuffer, DeviceRolloutBuffer
from agents.transfer import Arriving, to_device

SHAPE = (4, 6, 12)
SPACE = gym.spaces.Box(0, 255, SHAPE, np.uint8)
ACTIONS = gym.spaces.Discrete(5)
CPU = torch.device("cpu")


class OnTheWay(Arriving):
    """Numbers that are not there until somebody waits for them, as a GPU's are."""

    there = False  # type: ignore[assignment]


def test_on_a_cpu_nothing_is_copied() -> None:
    array = np.arange(6, dtype=np.float32)

    tensor = to_device(array, CPU)
    array[0] = 7

    assert float(tensor[0]) == 7


def test_numbers_of_a_cpu_are_there_at_once_and_without_gradients() -> None:
    arriving = Arriving(torch.tensor([1.0, 2.0], requires_grad=True))

    assert arriving.there
    assert arriving.numpy().tolist() == [1, 2]


def filled_rollout(kind: type[RolloutBuffer], steps: int = 10, n_envs: int = 3) -> RolloutBuffer:
    buffer = kind(steps, SPACE, ACTIONS, "cpu", n_envs=n_envs)
    fill(buffer, seed=0)
    return buffer


def fill(buffer: RolloutBuffer, seed: int) -> None:
    generator, n_envs = np.random.default_rng(seed), buffer.n_envs
    for _ in range(buffer.buffer_size):
        observations = generator.integers(256, size=(n_envs, *SHAPE), dtype=np.uint8)
        actions, rewards, starts = generator.integers(5, size=n_envs), generator.normal(size=n_envs), np.zeros(n_envs)
        values, probabilities = (torch.as_tensor(generator.normal(size=n_envs), dtype=torch.float32) for _ in range(2))
        buffer.add(observations, actions, rewards, starts, values, probabilities)
    buffer.compute_returns_and_advantage(torch.zeros(n_envs), np.zeros(n_envs, bool))


def batches(buffer: RolloutBuffer) -> list[Any]:
    """Two epochs."""
    np.random.seed(4)
    return [batch for _ in range(2) for batch in buffer.get(8)]


@pytest.mark.parametrize(
    ("kind", "reference"),
    [(DeviceRolloutBuffer, RolloutBuffer), (ChannelsLastDeviceRolloutBuffer, ChannelsLastRolloutBuffer)],
)
def test_a_rollout_that_was_sent_once_is_drawn_as_the_librarys(
    kind: type[RolloutBuffer], reference: type[RolloutBuffer]
) -> None:
    ours, theirs = filled_rollout(kind), filled_rollout(reference)
    for seed in (1, 2):
        mine, expected = batches(ours), batches(theirs)
        assert len(mine) == len(expected) == 8
        for batch, other in zip(mine, expected, strict=True):
            for name, one, two in zip(batch._fields, batch, other, strict=True):
                assert (one.dtype, one.shape, one.stride()) == (two.dtype, two.shape, two.stride()), name
                assert torch.equal(one, two), name
        # The next rollout is another one.
        for buffer in (ours, theirs):
            buffer.reset()
            fill(buffer, seed)


def filled(size: int = 8, n_envs: int = 3) -> tuple[PrioritisedReplayBuffer, Player]:
    buffer, player = PrioritisedReplayBuffer(size * n_envs, SPACE, ACTIONS, "cpu", n_envs), Player(n_envs, SHAPE, seed=0)
    for _ in range(size + 2):
        buffer.add(*player.play(player.ordinary(mean_length=5)))
    return buffer, player


def test_errors_that_come_late_are_set_before_they_matter() -> None:
    """Drawn from, added to, written down: as if they had been there at once."""
    known = []
    for kind in (Arriving, OnTheWay):
        buffer, player = filled()
        np.random.seed(1)
        for _ in range(12):
            for _ in range(2):
                drawn = buffer.draw(6, beta=0.4)
                errors = torch.as_tensor(np.random.random(6), dtype=torch.float32)
                before = buffer.priorities.copy()
                buffer.set_arriving_errors(drawn.places, kind(errors))
                assert np.array_equal(before, buffer.priorities) == (kind is OnTheWay)
            # Takes the places of transitions that may just have been drawn: their errors are not the new ones'.
            buffer.add(*player.play(player.ordinary(mean_length=5)))
        buffer.set_arriving_errors(drawn.places, kind(errors))
        known.append(buffer.arrays(buffer.size()))

    assert known[0].keys() == known[1].keys()
    assert all(np.array_equal(array, known[1][name]) for name, array in known[0].items())


def test_errors_on_the_way_to_a_memory_that_is_emptied_are_dropped() -> None:
    buffer, _ = filled()
    buffer.set_arriving_errors(np.arange(3), OnTheWay(torch.ones(3)))

    buffer.reset()

    assert not buffer.arrays(buffer.buffer_size)["priorities"].any()


@pytest.mark.parametrize("channels_last", [False, True])
def test_samples_are_sent_as_bytes_in_the_layout_they_are_gathered_in(channels_last: bool) -> None:
    buffer, player = FrameReplayBuffer(24, SPACE, ACTIONS, "cpu", 3, channels_last=channels_last), Player(3, SHAPE, seed=0)
    for _ in range(8):
        buffer.add(*player.play(player.ordinary(mean_length=5)))

    observations = buffer.sample(10).observations

    assert observations.dtype == torch.uint8
    assert observations.is_contiguous(memory_format=torch.channels_last) == channels_last
