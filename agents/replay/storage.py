"""The replay memory on disk: an uncompressed .npz of what it holds, each picture once, no pickle.

Written from the arrays and read into them, a piece at a time: neither needs memory beside the buffer's own.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from agents.errors import CheckpointError
from agents.replay.frames import FrameReplayBuffer

_CHUNK = 1 << 20  # bytes handed over at once

_npy: Any = np.lib.format  # typed in NumPy 2, untyped in NumPy 1


def save_replay(buffer: FrameReplayBuffer, path: Path) -> None:
    """Write what `buffer` holds to `path`.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    used = buffer.size()
    state = np.array([*_layout(buffer), buffer.pos, buffer.full, used, buffer.memory.used], np.int64)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _write(archive, "state", state)
        _write(archive, "frames", buffer.memory.frames[: buffer.memory.used])
        for name, array in buffer.arrays(used).items():
            _write(archive, name, array)


def load_replay(buffer: FrameReplayBuffer, path: Path) -> None:
    """Fill `buffer`, built with the same settings, from `path`: its samples are those of the buffer that was saved.

    Raises:
        CheckpointError: the file is of a buffer with another size, number of environments or observation, or of an older
            version of this project.
    """
    with zipfile.ZipFile(path) as archive:
        if "state.npy" not in archive.namelist():
            raise CheckpointError(f"{path}: a replay memory of an older version, which kept it in another form")
        state = np.empty(9, np.int64)
        _read(archive, "state", state)
        layout, (pos, full, used, n_pictures) = tuple(state[:5].tolist()), state[5:].tolist()
        if layout != _layout(buffer):
            raise CheckpointError(
                f"{path}: written for {_described(layout)}, but this training has {_described(_layout(buffer))}"
            )
        buffer.reset()
        _read(archive, "frames", buffer.memory.reserve(n_pictures))
        for name, array in buffer.arrays(used).items():
            _read(archive, name, array)
    buffer.pos, buffer.full = pos, bool(full)
    buffer.arrays_were_read()


def _layout(buffer: FrameReplayBuffer) -> tuple[int, ...]:
    return (buffer.n_envs, buffer.buffer_size, *buffer.obs_shape)


def _described(layout: tuple[int, ...]) -> str:
    n_envs, slots, *shape = layout
    return f"{n_envs} environments, {slots} slots each, of {tuple(shape)}"


def _write(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        _npy.write_array_header_1_0(member, header)
        for piece in _pieces(array):
            member.write(piece)


def _read(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Fill `array`; the archive's checksums are verified on the way."""
    with archive.open(f"{name}.npy") as member:
        _npy.read_magic(member)
        shape, _, dtype = _npy.read_array_header_1_0(member)
        if (shape, dtype) != (array.shape, array.dtype):
            raise CheckpointError(f"{archive.filename}: {name} is {dtype} {shape}, not {array.dtype} {array.shape}")
        for piece in _pieces(array):
            _fill(member, piece)


def _pieces(array: NDArray[Any]) -> list[memoryview]:
    flat = array.reshape(-1).view(np.uint8).data  # of contiguous arrays: no copy
    return [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]


def _fill(member: IO[bytes], piece: memoryview) -> None:
    done = 0
    while done < len(piece):
        count = member.readinto(piece[done:])  # type: ignore[attr-defined]
        if not count:
            raise CheckpointError("the file ends too early")
        done += count
