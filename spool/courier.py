"""Takes items without making the caller wait, stores them on disk, and delivers them in order.

It has two threads. One stores what was put, so that a server that hangs for a minute keeps nothing off the disk. The other
delivers what is stored, and tries again for as long as the server is away.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from spool.lock import HeldBackError, OutboxError, StoppedError
from spool.outage import Outage
from spool.outbox import Outbox

_LOG: Final = logging.getLogger(__name__)

Item = TypeVar("Item")


class Queue(Protocol):
    """Pending payloads, first in, first out."""

    @property
    def count(self) -> int: ...
    def peek(self, limit: int) -> list[bytes]: ...
    def remove(self, number: int) -> None: ...


class MemoryQueue:
    """The payloads that are on no disk: there is no outbox, or the disk is full."""

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

    def remove(self, number: int) -> None:
        with self._lock:
            for _ in range(number):
                self._payloads.popleft()


class Courier(Generic[Item]):
    """An outbox and the threads that fill and empty it.

    An item is in memory until the first thread has written it to the outbox, which it does at once. From then on it survives
    the end of the process and a power cut.

    Args:
        name: of the threads.
        encode: turns an item into bytes; it is called in a thread of its own.
        deliver: is given the first pending payloads and returns how many of them are settled, at least one. If it raises, the
            server is away, and the person is told the exception's text. :class:`StoppedError` ends all deliveries, and of a
            :class:`HeldBackError` nobody is told. It must accept a payload that it has had before.
        outage: tells the person.
        outbox: where items are stored; :meth:`close` closes it. None: in memory.
        batch: the most payloads for one call of `deliver`.
        interval_seconds: how long items gather before they are delivered together.
        retry_seconds: the first and the longest wait after a failure; it doubles between.
        capacity: the most items kept in memory; further ones are lost and counted. None: no limit.

    Attributes:
        lost: how many items are lost: they could be neither stored nor delivered.
        reason: why the last delivery failed, or the last item was lost; empty: none did.
        stopped: what ended all deliveries; None: nothing did.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Item], bytes],
        deliver: Callable[[Sequence[bytes]], int],
        outage: Outage,
        *,
        outbox: Outbox | None,
        batch: int,
        interval_seconds: float,
        retry_seconds: tuple[float, float],
        capacity: int | None = None,
    ) -> None:
        self._encode = encode
        self._deliver = deliver
        self._outage = outage
        self._outbox = outbox
        self._batch = batch
        self._interval = interval_seconds
        self._retry = retry_seconds
        self._capacity = capacity
        # Reentrant: a signal handler that logs may run while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._incoming: deque[Item] = deque()
        self._storing = 0  # taken from there, not yet in the outbox
        self._memory = MemoryQueue()
        self._accepted = 0 if outbox is None else outbox.count
        self._settled = 0
        self._catching_up = self._accepted > 0
        self._attempts = self._failures = 0  # ever; in a row
        self._flushing = 0
        self._retry_now = False
        self._closing = self._ended = False
        self.lost = 0
        self.reason = ""
        self.stopped: StoppedError | None = None
        self._storer = threading.Thread(target=self._store_all, name=f"{name}-storing", daemon=True)
        self._sender = threading.Thread(target=self._deliver_all, name=name, daemon=True)
        self._storer.start()
        self._sender.start()

    @property
    def pending(self) -> int:
        """How many items are not settled."""
        return self._accepted - self._settled

    @property
    def unstored(self) -> int:
        """How many of these are in memory only."""
        with self._changed:
            return len(self._incoming) + self._storing + self._memory.count

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
        """Wait until all items put so far are settled; False if they are not within `timeout` seconds.

        Args:
            timeout: seconds.
            patient: False: while the server is away, wait for one attempt only.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            target, attempts = self._accepted, self._attempts
            self._flushing += 1
            self._retry_now = True
            self._changed.notify_all()
            while self._settled < target and self._sender.is_alive():
                left = deadline - time.monotonic()
                away = self._failures > 0 and self._attempts > attempts
                if left <= 0 or self.stopped is not None or (away and not patient):
                    break
                self._changed.wait(left)
            self._flushing -= 1
            return self._settled >= target

    def sync(self, timeout: float) -> bool:
        """Wait until all items put so far are on the disk or settled, whatever the server does.

        Returns:
            False: some are not, at least not within `timeout` seconds; `unstored` says how many.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while (self._incoming or self._storing) and self._storer.is_alive():
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left)
            return self.unstored == 0

    def close(self, timeout: float, *, patient: bool) -> None:
        """Flush, end the threads, and release the outbox. Pending items stay in it, except `unstored` ones."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.flush(timeout, patient=patient)
        self._storer.join(max(1.0, deadline - time.monotonic()))
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        # It may hang in a request. The next process delivers those items once more, which does no harm.
        self._sender.join(min(1.0, timeout))
        if self._outbox is not None and not self._storer.is_alive():  # else the disk hangs, and closing would too
            self._outbox.close()

    # The first thread: from memory to the outbox

    def _store_all(self) -> None:
        while True:
            with self._changed:
                while not self._incoming and not self._closing:
                    self._changed.wait()
                items = list(self._incoming)
                self._incoming.clear()
                self._storing = len(items)
            if not items:
                return
            self._store(items)

    def _store(self, items: Sequence[Item]) -> None:
        payloads = [payload for item in items if (payload := self._encoded(item)) is not None]
        stored = False
        # While some are in memory, later ones go there too: the order is kept.
        if self._outbox is not None and self._memory.count == 0:
            try:
                self._outbox.append(payloads)
                stored = True
            except Exception as error:
                _LOG.error("%s cannot be written; new records are kept in memory: %s", self._outbox.path, error)
        with self._changed:
            if not stored:
                self._keep(payloads)
            self._storing = 0
            self._changed.notify_all()

    def _encoded(self, item: Item) -> bytes | None:
        try:
            return self._encode(item)
        except Exception as error:  # a fault of the program; the thread has to go on
            _LOG.error("%r cannot be encoded and is lost: %s", type(item).__name__, error)
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

    # The second thread: from there to the server

    def _deliver_all(self) -> None:
        while self._wait_for_work():
            queue = self._queue()
            try:
                payloads = self._peek(queue)
                settled = self._deliver(payloads) if payloads else 0
            except StoppedError as error:
                self._stop(error)
                return
            except Exception as error:  # whatever it is, it must neither reach training nor end this thread
                self._fail(error)
            else:
                self._settle(queue, settled)

    def _peek(self, queue: Queue) -> list[bytes]:
        if queue is not self._outbox:
            return queue.peek(self._batch)
        before = self._outbox.lost
        payloads = self._outbox.peek(self._batch)
        if self._outbox.lost > before:  # it was damaged while it was open, and has told so
            self.reason = f"{self._outbox.path} was damaged"
            self._lose(self._outbox.lost - before)
        return payloads

    def _queue(self) -> Queue:
        return self._outbox if self._outbox is not None and self._outbox.count else self._memory

    def _stored(self) -> int:
        return self._memory.count + (self._outbox.count if self._outbox is not None else 0)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to deliver and it is time to; False at the end."""
        with self._changed:
            while not self._ended and not self._stored():
                self._changed.wait()
            deadline = time.monotonic() + self._pause()
            while not self._ended and not self._due() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._retry_now = False
            return not self._ended

    def _pause(self) -> float:
        if not self._failures:
            return self._interval
        first, longest = self._retry
        return min(longest, first * 2.0 ** min(self._failures - 1, 20))

    def _due(self) -> bool:
        if self._failures:
            return self._retry_now
        return bool(self._flushing) or self._closing or self._catching_up or self._stored() >= self._batch

    # The lock is not held for what may take time, the file and the log: `put` needs it.

    def _settle(self, queue: Queue, number: int) -> None:
        if self._ended:
            return
        self._outage.ended(self._stored())
        with suppress(OSError, OutboxError):  # the disk fails: the next process delivers them once more
            queue.remove(number)
        with self._changed:
            self._attempts += 1
            self._settled += number
            self._catching_up = (self._catching_up or self._failures > 0) and self._stored() > 0
            self._failures = 0
            self._changed.notify_all()

    def _stop(self, error: StoppedError) -> None:
        self.reason = str(error)
        with self._changed:
            self.stopped = error
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        self.reason = str(error) or type(error).__name__
        if self._ended:
            return
        if not isinstance(error, HeldBackError):
            self._outage.failed(self.reason, self.pending)
        with self._changed:
            self._attempts += 1
            self._failures += 1
            self._changed.notify_all()
