"""The replay buffer on disk: each frame once, no pickle.

In memory stable-baselines3 keeps every observation twice, and each is a stack of frames of which all but the newest are in
the observation before: 56 KB a transition. On disk a frame is stored once, and whole observations only where one does not
follow from its neighbour (episode starts and ends, the write position), which is found by comparing, not by assuming. One
eighth of the size, the same bytes back.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer

from agents.errors import CheckpointError

_CHUNK = 256  # slots compared at once: some tens of MB
_ROWS = ("actions", "rewards", "dones", "timeouts")

Frames = NDArray[np.uint8]

_npy: Any = np.lib.format  # typed in NumPy 2, untyped in NumPy 1


def save_replay(buffer: ReplayBuffer, path: Path) -> None:
    """Write what `buffer` holds to `path` (an uncompressed .npz).

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    used = _slots_used(buffer)
    observations = buffer.observations
    following = None if buffer.optimize_memory_usage else buffer.next_observations
    whole, next_whole = _exceptions(observations, following, used)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add(archive, "layout", np.array([used, buffer.pos, buffer.full, buffer.buffer_size, buffer.n_envs], dtype=np.int64))
        with archive.open("newest.npy", "w", force_zip64=True) as member:
            _write_newest(member, observations, used)
        _add(archive, "whole_at", whole)
        _add(archive, "whole", observations[whole[:, 0], whole[:, 1]])
        if following is not None:
            _add(archive, "next_whole_at", next_whole)
            _add(archive, "next_whole", following[next_whole[:, 0], next_whole[:, 1]])
        for name in _ROWS:
            _add(archive, name, getattr(buffer, name)[:used])


def load_replay(buffer: ReplayBuffer, path: Path) -> None:
    """Fill `buffer`, built with the same settings, from `path`: every byte as it was when saved.

    Raises:
        CheckpointError: the file is of a buffer with another size, number of environments or observation.
    """
    with np.load(path, allow_pickle=False) as archive:
        used, pos, full, size, n_envs = (int(value) for value in archive["layout"])
        newest = archive["newest"]
        if (size, n_envs, newest.shape[2:]) != (buffer.buffer_size, buffer.n_envs, buffer.observations.shape[3:]):
            raise CheckpointError(
                f"{path}: written for {n_envs} environments and {size} slots each, "
                f"but this training has {buffer.n_envs} and {buffer.buffer_size}"
            )
        _restore(buffer.observations[:used], newest, archive["whole_at"], archive["whole"])
        if not buffer.optimize_memory_usage:
            following = buffer.next_observations
            following[: used - 1] = buffer.observations[1:used]
            at = archive["next_whole_at"]
            following[at[:, 0], at[:, 1]] = archive["next_whole"]
        for name in _ROWS:
            getattr(buffer, name)[:used] = archive[name]
    buffer.pos, buffer.full = pos, bool(full)


def _slots_used(buffer: ReplayBuffer) -> int:
    if buffer.full:
        return int(buffer.buffer_size)
    # With optimize_memory_usage the slot at the write position already holds the newest observation.
    return min(buffer.pos + int(buffer.optimize_memory_usage), int(buffer.buffer_size))


def _exceptions(observations: Frames, following: Frames | None, used: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(slot, environment) of observations that do not continue the slot before, and of next ones unlike the slot after."""
    breaks = np.ones(observations.shape[:2], dtype=bool)[:used]
    ends = np.ones_like(breaks)
    for start in range(0, used, _CHUNK):
        stop = min(start + _CHUNK, used - 1)
        if stop <= start:
            break
        here, after = observations[start:stop], observations[start + 1 : stop + 1]
        breaks[start + 1 : stop + 1] = _differ(here[:, :, 1:], after[:, :, :-1])
        if following is not None:
            ends[start:stop] = _differ(following[start:stop], after)
    return np.argwhere(breaks), np.argwhere(ends)


def _differ(left: Frames, right: Frames) -> NDArray[np.bool_]:
    """Per (slot, environment): is any byte different? Shapes (slots, environments, …)."""
    if left.shape[-1] * left.shape[-2] % 8 == 0:  # compare eight bytes at a time; frames are contiguous
        return _unequal(_words(left), _words(right))
    return _unequal(left, right)


def _words(frames: Frames) -> NDArray[np.uint64]:
    return frames.reshape(*frames.shape[:-2], -1).view(np.uint64)


def _unequal(left: NDArray[np.unsignedinteger[Any]], right: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
    unequal: NDArray[np.bool_] = (left != right).any(axis=tuple(range(2, left.ndim)))
    return unequal


def _write_newest(member: IO[bytes], observations: Frames, used: int) -> None:
    n_envs, _, *frame = observations.shape[1:]
    header = {"descr": observations.dtype.str, "fortran_order": False, "shape": (used, n_envs, *frame)}
    _npy.write_array_header_1_0(member, header)
    for start in range(0, used, _CHUNK):
        member.write(np.ascontiguousarray(observations[start : min(start + _CHUNK, used), :, -1]).data)


def _restore(observations: Frames, newest: Frames, whole_at: NDArray[np.int64], whole: Frames) -> None:
    """Rebuild the stacks slot by slot, each from the one before."""
    first = np.searchsorted(whole_at[:, 0], np.arange(len(newest) + 1))
    for slot in range(len(newest)):
        if slot:
            observations[slot, :, :-1] = observations[slot - 1, :, 1:]
        observations[slot, :, -1] = newest[slot]
        entries = slice(first[slot], first[slot + 1])
        observations[slot, whole_at[entries, 1]] = whole[entries]


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[np.generic]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        _npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
