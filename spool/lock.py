"""The lock of an outbox."""

import fcntl
import os
from pathlib import Path


class OutboxError(RuntimeError):
    """The outbox cannot be used; the message names its file."""


class OutboxLockedError(OutboxError):
    """Another process uses the outbox."""


class StoppedError(RuntimeError):
    """Nothing may be delivered any more, now or later. A courier whose delivery raises it ends, and keeps what is pending."""


class HeldBackError(RuntimeError):
    """Something else than the courier's server is away, of which the person is told elsewhere. The delivery is tried again."""


class FileLock:
    """An exclusive lock on the file `path`, which is made when it is missing; held until :meth:`release`.

    Raises:
        OutboxLockedError: it is locked, by another process or by another object of this one; the message names `outbox`.
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

    def release(self) -> None:
        # Closing alone would not do: a child process that was forked in between has the same open file.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
