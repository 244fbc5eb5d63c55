"""A replay buffer loaded from disk gives the same samples as the saved one."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from played import Player

from agents import CheckpointError
from agents.replay import FrameReplayBuffer, load_replay, save_replay
from mario_env.observations import Frames

SHAPE = (4, 6, 12)


def empty(size: int = 60, n_envs: int = 3, shape: tuple[int, ...] = SHAPE, **more: Any) -> FrameReplayBuffer:
    return FrameReplayBuffer(size, gym.spaces.Box(0, 255, shape, np.uint8), gym.spaces.Discrete(5), "cpu", n_envs, **more)


def fill(
    buffer: FrameReplayBuffer, steps: int, player: Player, *, stacked: bool = True, mean_length: int = 7
) -> FrameReplayBuffer:
    for _ in range(steps):
        events = player.ordinary(mean_length) if stacked else ["unrelated"] * buffer.n_envs
        buffer.add(*player.play(events))
    return buffer


def assert_same(left: FrameReplayBuffer, right: FrameReplayBuffer) -> None:
    assert (left.pos, left.full) == (right.pos, right.full)
    used = left.size()
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(left, name)[:used], getattr(right, name)[:used])
    drawn = []
    for buffer in (left, right):
        np.random.seed(5)
        drawn.append(buffer.sample(40) if used else ())
    for one, other in zip(*drawn, strict=True):
        assert (one is None and other is None) or one.numpy().tobytes() == other.numpy().tobytes()


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 19, 20, 33, 600])
@pytest.mark.parametrize("stacked", [True, False])
def test_a_loaded_buffer_equals_the_saved_one(steps: int, stacked: bool, n_steps: int, tmp_path: Path) -> None:
    player = Player(3, SHAPE, seed=steps)
    original, copy = fill(empty(n_steps=n_steps), steps, player, stacked=stacked), empty(n_steps=n_steps)
    # Loading replaces the previous contents.
    fill(copy, 5, Player(3, SHAPE, seed=1))

    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")
    assert_same(original, copy)

    for _ in range(45):
        transition = player.play(player.ordinary(mean_length=7))
        original.add(*transition)
        copy.add(*transition)
    assert_same(original, copy)


def test_the_file_has_the_size_of_its_frames(tmp_path: Path) -> None:
    original = fill(empty(2_000, 2, (4, 36, 36)), 600, Player(2, (4, 36, 36), seed=0))

    save_replay(original, tmp_path / "replay.npz")

    # 1 200 transitions in a buffer for 2 000, in episodes of seven.
    assert (tmp_path / "replay.npz").stat().st_size < 1_200 * 36 * 36 * 1.5
    with np.load(tmp_path / "replay.npz", allow_pickle=False) as archive:
        assert archive["frames"].shape == (original.pool.used, 36 * 36)


def test_saving_and_loading_do_not_copy_the_buffer(tmp_path: Path) -> None:
    shape = Frames.shape
    original, copy = empty(8_000, 2, shape), empty(8_000, 2, shape)
    fill(original, 4_500, Player(2, shape, seed=0), mean_length=100)
    tracemalloc.start()

    save_replay(original, tmp_path / "replay.npz")
    load_replay(copy, tmp_path / "replay.npz")

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert original.pool.used * math.prod(shape[1:]) > 56e6
    assert peak < 4e6
    np.testing.assert_array_equal(copy.pool.frames[: copy.pool.used], original.pool.frames[: original.pool.used])


def test_a_buffer_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_replay(fill(empty(), 10, Player(3, SHAPE, seed=0)), tmp_path / "replay.npz")

    expected = (
        r"has 3 environments, 20 slots each, observations \(4, 6, 12\); "
        r"this training has 2 environments, 30 slots each, observations \(4, 6, 12\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_replay(empty(n_envs=2), tmp_path / "replay.npz")
    with pytest.raises(CheckpointError, match=r"this training has .* observations \(4, 12, 6\)"):
        load_replay(empty(shape=(4, 12, 6)), tmp_path / "replay.npz")


def test_a_file_of_an_older_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "replay.npz", layout=np.zeros(5, np.int64), newest=np.zeros((1, 1, 2, 2), np.uint8))

    with pytest.raises(CheckpointError, match="the format of an older version"):
        load_replay(empty(), tmp_path / "replay.npz")
