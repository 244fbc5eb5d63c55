"""The replay buffer on disk: an uncompressed .npz of its arrays, with each frame once and without pickle.

Arrays are written and read in small pieces. So saving and loading need no memory besides the buffer itself.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from agents.errors import CheckpointError
from agents.replay.frames import FrameReplayBuffer

_CHUNK = 1 << 20  # bytes written or read at once

_npy: Any = np.lib.format  # typed in NumPy 2, untyped in NumPy 1


def save_replay(buffer: FrameReplayBuffer, path: Path) -> None:
    """Write the contents of `buffer` to `path`.

    Raises:
        OSError: the file cannot be written, for instance because the disk is full.
    """
    used = buffer.size()
    state = np.array([*_layout(buffer), buffer.pos, buffer.full, used, buffer.pool.used], np.int64)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _write(archive, "state", state)
        _write(archive, "frames", buffer.pool.frames[: buffer.pool.used])
        for name, array in buffer.stored_arrays(used).items():
            _write(archive, name, array)


def load_replay(buffer: FrameReplayBuffer, path: Path) -> None:
    """Fill `buffer` from `path`. It then gives the same samples as the buffer that was saved.

    Args:
        buffer: built with the same settings as the saved one.

    Raises:
        CheckpointError: the saved buffer has another size, number of environments or observation shape, or the file is from
            an older version of this project.
    """
    with zipfile.ZipFile(path) as archive:
        if "state.npy" not in archive.namelist():
            raise CheckpointError(f"{path}: this replay buffer has the format of an older version, which cannot be read")
        state = np.empty(9, np.int64)
        _read(archive, "state", state)
        layout, (pos, full, used, n_frames) = tuple(state[:5].tolist()), state[5:].tolist()
        if layout != _layout(buffer):
            raise CheckpointError(
                f"{path}: the saved replay buffer has {_described(layout)}; this training has {_described(_layout(buffer))}"
            )
        buffer.reset()
        _read(archive, "frames", buffer.pool.reserve(n_frames))
        for name, array in buffer.stored_arrays(used).items():
            _read(archive, name, array)
    buffer.pos, buffer.full = pos, bool(full)
    buffer.after_loading()


def _layout(buffer: FrameReplayBuffer) -> tuple[int, ...]:
    return (buffer.n_envs, buffer.buffer_size, *buffer.obs_shape)


def _described(layout: tuple[int, ...]) -> str:
    n_envs, slots, *shape = layout
    return f"{n_envs} environments, {slots} slots each, observations {tuple(shape)}"


def _write(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        _npy.write_array_header_1_0(member, header)
        for piece in _pieces(array):
            member.write(piece)


def _read(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Fill `array` from a member of `archive`; this also verifies the member's checksum."""
    with archive.open(f"{name}.npy") as member:
        _npy.read_magic(member)
        shape, _, dtype = _npy.read_array_header_1_0(member)
        if (shape, dtype) != (array.shape, array.dtype):
            raise CheckpointError(f"{archive.filename}: {name} is {dtype} {shape} instead of {array.dtype} {array.shape}")
        for piece in _pieces(array):
            _fill(member, piece)


def _pieces(array: NDArray[Any]) -> list[memoryview]:
    flat = array.reshape(-1).view(np.uint8).data  # no copy: the arrays are contiguous
    return [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]


def _fill(member: IO[bytes], piece: memoryview) -> None:
    done = 0
    while done < len(piece):
        count = member.readinto(piece[done:])  # type: ignore[attr-defined]
        if not count:
            raise CheckpointError(f"{member.name}: the file is truncated")
        done += count
