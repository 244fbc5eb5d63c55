"""A queue in a file: appended to at its end, taken from at its front, whole again after a crash."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from spool.frames import HEAD_BYTES, frame, read_frame, read_frames

_LOG: Final = logging.getLogger(__name__)
MAGIC: Final = b"train-mario spool 1\n"


class SpoolError(RuntimeError):
    """The spool cannot be used; the message names its file."""


class SpoolLockedError(SpoolError):
    """Another process has the spool open."""


class Spool:
    """An open spool; safe to use from several threads.

    The file begins with `MAGIC` and a frame that names the owner; every frame after it is a record that waits. What has been
    taken off is remembered in memory only, and the file is cut back when nothing waits: after a crash records may be taken a
    second time, so whoever receives them must not mind. Only its user can read the file.

    Damage is never fatal: what follows the last whole record is copied to a file beside it, which a warning names, and cut off.
    The same is done with the records of another owner.

    Args:
        path: the file; it and its folder are made when they are missing.
        owner: whom the records belong to. An experiment may be begun anew under a name whose folder is still there.

    Attributes:
        path: the file.
        recovered: how many records waited when it was opened.
        cut: how many records that waited were found damaged since, and are set aside.

    Raises:
        SpoolLockedError: another process, or another object of this one, has it open.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._count = 0
        self._first = self._front = self._end = 0  # positions: of the first record, of the first that waits, of the end
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _hold(self._descriptor, path)
            self._recover(MAGIC + frame(owner.encode()))
        except BaseException:
            os.close(self._descriptor)
            raise
        self.recovered = self._count
        self.cut = 0

    @property
    def count(self) -> int:
        """How many records wait."""
        return self._count

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._descriptor < 0

    def append(self, payloads: Sequence[bytes]) -> None:
        """Add records. They survive the end of this process from now on, and a power cut after :meth:`sync`.

        Raises:
            OSError: the disk is full, or fails; no record was added.
        """
        data = b"".join(frame(payload) for payload in payloads)
        with self._lock:
            self._require_open()
            try:
                _write(self._descriptor, data, self._end)
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
            self._end += len(data)
            self._count += len(payloads)

    def sync(self) -> None:
        """Wait until the disk has the records; does nothing when none waits.

        Raises:
            OSError: the disk fails.
        """
        with self._lock:
            if self._count and not self.closed:
                os.fsync(self._descriptor)

    def peek(self, limit: int) -> list[bytes]:
        """The first records that wait, at most `limit`; they stay. Nothing once the spool is closed."""
        with self._lock:
            if self.closed:
                return []
            found = [payload for payload, _ in islice(read_frames(self._descriptor, self._front, self._end), limit)]
            if len(found) < min(limit, self._count):
                self._cut(self._behind(len(found)), "damaged")
                self.cut += self._count - len(found)
                self._count = len(found)
            return found

    def drop(self, number: int) -> None:
        """Take the first `number` records off; does nothing once the spool is closed."""
        with self._lock:
            if self.closed:
                return
            self._front = self._behind(number)
            self._count -= number
            if self._count == 0:
                os.ftruncate(self._descriptor, self._first)
                self._front = self._end = self._first

    def records(self) -> Iterator[bytes]:
        """All records that wait, in order; none of them is taken off."""
        with self._lock:
            position, end = self._front, self._end
        for payload, _ in read_frames(self._descriptor, position, end):
            yield payload

    def close(self) -> None:
        """Give the file free; what waits in it stays. Closing twice is no error."""
        with self._lock:
            if self.closed:
                return
            if self._count:
                os.fsync(self._descriptor)
            # Not left to closing: a child process that was forked meanwhile holds the same open file.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def _require_open(self) -> None:
        if self.closed:
            raise SpoolError(f"the spool {self.path} is closed")

    def _behind(self, number: int) -> int:
        """The position behind the first `number` waiting records."""
        position = self._front
        for _ in range(number):
            position += HEAD_BYTES + int.from_bytes(os.pread(self._descriptor, 4, position), "big")
        return position

    def _recover(self, head: bytes) -> None:
        """Find what the file holds, and set aside what cannot be used."""
        self._first = self._front = len(head)
        self._end = size = os.fstat(self._descriptor).st_size
        if os.pread(self._descriptor, len(head), 0) != head:
            self._begin(head, size)
            return
        good = self._first
        for _, behind in read_frames(self._descriptor, self._first, size):
            good = behind
            self._count += 1
        if good < size:
            self._cut(good, "damaged")

    def _begin(self, head: bytes, size: int) -> None:
        first = _first_record(self._descriptor, size)
        if first is None and size:
            self._cut(0, "damaged")
        elif first is not None and first < size:
            self._cut(0, "of-another-run")
        os.ftruncate(self._descriptor, 0)
        _write(self._descriptor, head, 0)
        os.fsync(self._descriptor)
        _sync_folder(self.path.parent)
        self._end = self._first

    def _cut(self, position: int, why: str) -> None:
        """Copy what lies from `position` on to a file of its own, and cut it off."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.{why}-{moment}")
        target = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            at = 0
            while part := os.pread(self._descriptor, 1 << 20, position + at):
                _write(target, part, at)
                at += len(part)
            os.fsync(target)
        finally:
            os.close(target)
        _sync_folder(aside.parent)
        os.ftruncate(self._descriptor, position)
        self._end = position
        reason = "is damaged from byte %d on" if why == "damaged" else "holds records of another run, from byte %d on"
        _LOG.warning(f"%s {reason}; these %d bytes are kept in %s", self.path, position, at, aside)


def waiting(path: Path) -> int:
    """How many whole records the spool at `path` holds, whoever has it open; 0 if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        first = _first_record(descriptor, size)
        return 0 if first is None else sum(1 for _ in read_frames(descriptor, first, size))
    finally:
        os.close(descriptor)


def _first_record(descriptor: int, size: int) -> int | None:
    """Where the records begin; None if the file has no whole head."""
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return None
    owner = read_frame(descriptor, len(MAGIC), size)
    return None if owner is None else len(MAGIC) + HEAD_BYTES + len(owner)


def _hold(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = f"{path} is held by another process that runs this experiment: wait for it, or end it"
        raise SpoolLockedError(message) from None


def _write(descriptor: int, data: bytes, position: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, position)
        position += written
        rest = rest[written:]


def _sync_folder(folder: Path) -> None:
    """Make the disk remember the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
