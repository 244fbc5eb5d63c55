"""Takes things without making anybody wait, files them on disk, and delivers them in order.

Two threads do it: one files what was put, so that a server that hangs for a minute keeps nothing off the disk; the other
delivers what is filed, and tries again for as long as the server is away.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from spool.file import Spool
from spool.outage import Outage

_LOG: Final = logging.getLogger(__name__)
_SYNC_SECONDS: Final = 1.0

Item = TypeVar("Item")


class Waiting(Protocol):
    """What waits, first in, first out."""

    @property
    def count(self) -> int: ...
    def peek(self, limit: int) -> list[bytes]: ...
    def drop(self, number: int) -> None: ...


class Memory:
    """What waits where there is no file, or the disk is full."""

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return len(self._payloads)

    def append(self, payloads: Sequence[bytes]) -> None:
        with self._lock:
            self._payloads.extend(payloads)

    def peek(self, limit: int) -> list[bytes]:
        with self._lock:
            return list(islice(self._payloads, limit))

    def drop(self, number: int) -> None:
        with self._lock:
            for _ in range(number):
                self._payloads.popleft()


class Courier(Generic[Item]):
    """A queue on disk and the threads that fill and empty it.

    An item is in memory until the first thread has written it to the file, at once; that survives the end of the process. The
    disk is asked to have it (fsync) once a second, for what still waits then: a power cut costs a second's items at most.

    Args:
        name: of the threads.
        encode: turns an item into bytes; called in a thread of its own.
        deliver: is given the first payloads that wait and returns how many of them are settled, at least one; what it raises
            means that the server is away, and its text is told to the person. Must not mind a payload it has had before.
        outage: whom to tell.
        spool: where items wait; closed by :meth:`close`. None: in memory.
        batch: payloads for one call of `deliver`, at most.
        interval_seconds: how long items gather before they are delivered together.
        retry_seconds: first and longest wait after a failure; it doubles between.
        capacity: most items that wait in memory; what comes beyond is lost and counted. None: as many as there are.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Item], bytes],
        deliver: Callable[[Sequence[bytes]], int],
        outage: Outage,
        *,
        spool: Spool | None,
        batch: int,
        interval_seconds: float,
        retry_seconds: tuple[float, float],
        capacity: int | None = None,
    ) -> None:
        self._encode = encode
        self._deliver = deliver
        self._outage = outage
        self._spool = spool
        self._batch = batch
        self._interval = interval_seconds
        self._retry = retry_seconds
        self._capacity = capacity
        # Reentrant: a signal handler that logs may run while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._incoming: deque[Item] = deque()
        self._filing = 0  # taken from there, not yet on the file
        self._memory = Memory()
        self._accepted = 0 if spool is None else spool.count
        self._settled = 0
        self._catching_up = self._accepted > 0
        self._attempts = self._failures = 0  # ever; in a row
        self._flushing = 0
        self._nudged = False
        self._closing = self._ended = False
        self.lost = 0
        self.reason = ""
        self._filer = threading.Thread(target=self._file_all, name=f"{name}-filing", daemon=True)
        self._carrier = threading.Thread(target=self._deliver_all, name=name, daemon=True)
        self._filer.start()
        self._carrier.start()

    @property
    def waiting(self) -> int:
        """How many items are not settled."""
        return self._accepted - self._settled

    @property
    def unfiled(self) -> int:
        """How many of these are on no disk."""
        with self._changed:
            return len(self._incoming) + self._filing + self._memory.count

    def put(self, item: Item) -> bool:
        """Hand an item over; returns at once. False after :meth:`close`."""
        with self._changed:
            if self._closing:
                return False
            self._incoming.append(item)
            self._accepted += 1
            if len(self._incoming) == 1:
                self._changed.notify_all()
            return True

    def flush(self, timeout: float, *, patient: bool) -> bool:
        """Wait until all that was put is settled; False if it is not within `timeout` seconds.

        Args:
            patient: False: while the server is away, wait for one attempt only.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            target, attempts = self._accepted, self._attempts
            self._flushing += 1
            self._nudged = True
            self._changed.notify_all()
            while self._settled < target and self._carrier.is_alive():
                left = deadline - time.monotonic()
                away = self._failures > 0 and self._attempts > attempts
                if left <= 0 or (away and not patient):
                    break
                self._changed.wait(left)
            self._flushing -= 1
            return self._settled >= target

    def secure(self, timeout: float) -> bool:
        """Wait until the disk has (fsync) all that was put and is not settled, whatever the server does.

        Returns:
            False: the disk has not taken everything, at least not within `timeout` seconds; `unfiled` says how much.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while (self._incoming or self._filing) and self._filer.is_alive():
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left)
        return self._sync() and self.unfiled == 0

    def close(self, timeout: float, *, patient: bool) -> None:
        """Flush, end the threads, and give the file free. What waits on it stays there; `unfiled` items do not."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.flush(timeout, patient=patient)
        self._filer.join(max(1.0, deadline - time.monotonic()))
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        # It may hang in a request. What that delivers is delivered once more by the next process, which does no harm.
        self._carrier.join(min(1.0, timeout))
        if self._spool is not None and not self._filer.is_alive():  # else the disk hangs, and closing would too
            self._spool.close()

    # The first thread: from memory to the file

    def _file_all(self) -> None:
        due: float | None = None  # when the disk must have what was written
        while True:
            with self._changed:
                while not self._incoming and not self._closing and (due is None or time.monotonic() < due):
                    self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
                items = list(self._incoming)
                self._incoming.clear()
                self._filing = len(items)
                ending = self._closing
            if items and self._file(items) and due is None:
                due = time.monotonic() + _SYNC_SECONDS
            if due is not None and (ending or time.monotonic() >= due):
                due = None
                self._sync()
            if ending and not items:
                return

    def _file(self, items: Sequence[Item]) -> bool:
        """Put `items` on the file, else into memory; True for the file."""
        payloads = [payload for item in items if (payload := self._encoded(item)) is not None]
        filed = False
        # While some wait in memory those that follow do too: the order is kept.
        if self._spool is not None and self._memory.count == 0:
            try:
                self._spool.append(payloads)
                filed = True
            except Exception as error:
                _LOG.error("%s cannot be written; what comes waits in memory: %s", self._spool.path, error)
        with self._changed:
            if not filed:
                self._keep(payloads)
            self._filing = 0
            self._changed.notify_all()
        return filed

    def _encoded(self, item: Item) -> bytes | None:
        try:
            return self._encode(item)
        except Exception as error:  # a fault of the program; the thread has to go on
            _LOG.error("%r cannot be filed and is lost: %s", type(item).__name__, error)
            self.reason = str(error)
            self._lose(1)
            return None

    def _keep(self, payloads: Sequence[bytes]) -> None:
        room = len(payloads) if self._capacity is None else max(0, self._capacity - self._memory.count)
        self._memory.append(payloads[:room])
        self._lose(len(payloads[room:]))

    def _lose(self, number: int) -> None:
        with self._changed:
            self.lost += number
            self._settled += number
            self._changed.notify_all()

    def _sync(self) -> bool:
        try:
            if self._spool is not None:
                self._spool.sync()
        except OSError as error:
            _LOG.error("the disk does not take what was written to %s: %s", self._spool and self._spool.path, error)
            return False
        return True

    # The second thread: from there to the server

    def _deliver_all(self) -> None:
        while self._wait_for_work():
            queue = self._queue()
            try:
                payloads = self._peek(queue)
                settled = self._deliver(payloads) if payloads else 0
            except Exception as error:  # whatever it is, it must neither reach training nor end this thread
                self._fail(error)
            else:
                self._settle(queue, settled)

    def _peek(self, queue: Waiting) -> list[bytes]:
        if queue is not self._spool:
            return queue.peek(self._batch)
        before = self._spool.cut
        payloads = self._spool.peek(self._batch)
        if self._spool.cut > before:  # damaged while it was open; the spool has named the file that keeps the rest
            self.reason = f"{self._spool.path} was damaged"
            self._lose(self._spool.cut - before)
        return payloads

    def _queue(self) -> Waiting:
        return self._spool if self._spool is not None and self._spool.count else self._memory

    def _stored(self) -> int:
        return self._memory.count + (self._spool.count if self._spool is not None else 0)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to deliver and it is time to; False at the end."""
        with self._changed:
            while not self._ended and not self._stored():
                self._changed.wait()
            deadline = time.monotonic() + self._pause()
            while not self._ended and not self._due() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._nudged = False
            return not self._ended

    def _pause(self) -> float:
        if not self._failures:
            return self._interval
        first, longest = self._retry
        return min(longest, first * 2.0 ** min(self._failures - 1, 20))

    def _due(self) -> bool:
        if self._failures:
            return self._nudged
        return bool(self._flushing) or self._closing or self._catching_up or self._stored() >= self._batch

    # The lock is not held for what may take time: the file and the log. `put` takes it.

    def _settle(self, queue: Waiting, number: int) -> None:
        if self._ended:
            return
        self._outage.over(self._stored())
        with suppress(OSError):  # the file cannot be cut back: what it holds will be delivered once more
            queue.drop(number)
        with self._changed:
            self._attempts += 1
            self._settled += number
            self._catching_up = (self._catching_up or self._failures > 0) and self._stored() > 0
            self._failures = 0
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        self.reason = str(error) or type(error).__name__
        if self._ended:
            return
        self._outage.failed(self.reason, self.waiting)
        with self._changed:
            self._attempts += 1
            self._failures += 1
            self._changed.notify_all()
