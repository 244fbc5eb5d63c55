"""The lock of an outbox, and the two numbers it keeps."""

import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

_NUMBERS: Final = struct.Struct(">QQ")
_CHECKSUM: Final = struct.Struct(">I")


class OutboxError(RuntimeError):
    """The outbox cannot be used; the message names its file."""


class OutboxLockedError(OutboxError):
    """Another process uses the outbox."""


class Counters(NamedTuple):
    """Identifiers of records; they start at 1 and grow by 1.

    Attributes:
        removed: of the last record that was removed.
        appended: of the last record that was appended.
    """

    removed: int = 0
    appended: int = 0


class LockFile:
    """An exclusive lock on a file, held until :meth:`close`. The file holds the outbox's counters.

    SQLite ignores the damaged tail of a write-ahead log without a word. The counters, which are no part of the database, say
    how many records it should have.

    Raises:
        OutboxLockedError: it is locked, by another process or by another object of this one.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, outbox: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            message = f"{outbox} is in use by another process that runs this experiment: wait until it ends, or stop it"
            raise OutboxLockedError(message) from None

    def read(self) -> Counters | None:
        """The counters; None if they are damaged."""
        return _decode(os.pread(self._descriptor, 1024, 0))

    def write(self, counters: Counters, *, sync: bool = False) -> None:
        """Store the counters.

        Args:
            counters: the new ones.
            sync: wait until they are on the disk.

        Raises:
            OSError: the disk fails.
        """
        numbers = _NUMBERS.pack(*counters)
        os.pwrite(self._descriptor, numbers + _CHECKSUM.pack(zlib.crc32(numbers)), 0)
        if sync:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Release the lock."""
        # Closing alone would not do: a child process that was forked in between has the same open file.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def read_counters(path: Path) -> Counters | None:
    """The counters in the file at `path`, whoever holds its lock; None if they are damaged."""
    return _decode(path.read_bytes()) if path.exists() else Counters()


def _decode(data: bytes) -> Counters | None:
    if not data:
        return Counters()
    numbers = data[: _NUMBERS.size]
    if len(data) != _NUMBERS.size + _CHECKSUM.size or data[_NUMBERS.size :] != _CHECKSUM.pack(zlib.crc32(numbers)):
        return None
    return Counters(*_NUMBERS.unpack(numbers))
