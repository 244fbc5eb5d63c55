"""Hands what is logged to MLflow from a thread of its own, in order, so that training never waits for MLflow.

MLflow has asynchronous logging of its own (`log_batch(synchronous=False)`). It is not used here for three reasons: it sends
with ten threads, so that values arrive out of order and SQLite refuses writers that come at once; a failed batch is dropped
after one error line; and it takes one request, and several transactions, for each call. This one keeps what could not be sent
and tries again, sends what has gathered in one request, and counts what was lost. `Entry` holds plain JSON values only: what
waits here can be kept in a file as well.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

logger = logging.getLogger(__name__)

THREAD_NAME = "tracking-delivery"
MAX_METRICS = 1000  # MLflow's limit for one request
MAX_PAIRS = 100

Kind = Literal["metrics", "params", "tags", "document", "status"]


@dataclass(frozen=True)
class Entry:
    """One thing to log.

    Attributes:
        kind: what `values` holds.
        values: metrics: (name, value, timestamp in ms since 1970, step); params and tags: (name, text);
            document: one (path below the run's artifacts, content); status: one (the run's final state, end in ms since 1970).
    """

    kind: Kind
    values: tuple[tuple[str, float, int, int], ...] | tuple[tuple[str, str], ...]


class RefusedError(Exception):
    """Raised by `send`: MLflow refused the entry and would refuse it again."""


@dataclass(frozen=True)
class DeliveryReport:
    """What became of all entries.

    Attributes:
        sent: entries MLflow has.
        lost: entries MLflow does not have.
        reason: why the last one was lost or had to wait; empty if nothing went wrong.
    """

    sent: int
    lost: int
    reason: str


@dataclass
class _State:
    waiting: deque[Entry] = field(default_factory=deque)
    sent: int = 0
    lost: int = 0
    reason: str = ""
    warned: bool = False
    hurry: bool = False  # somebody waits in flush()
    stopping: bool = False
    failures: int = 0  # in a row
    attempts: int = 0  # ever


class Delivery:
    """A queue and the thread that empties it.

    Args:
        send: delivers one entry or raises; :class:`RefusedError` means that trying again is useless. Must be safe to
            repeat: an attempt that failed may have arrived (MLflow ignores a metric it has already).
        interval_seconds: how long entries gather before they are sent together.
        retry_seconds: wait after a failure; doubles up to 30 s.
        capacity: most entries that wait; what comes beyond is given up and counted.
    """

    def __init__(
        self,
        send: Callable[[Entry], None],
        *,
        interval_seconds: float = 5.0,
        retry_seconds: float = 1.0,
        capacity: int = 20_000,
    ) -> None:
        self._send = send
        self._interval = interval_seconds
        self._retry = retry_seconds
        self._capacity = capacity
        self._state = _State()
        # Reentrant: a signal handler that logs may run while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queues an entry; returns at once, whatever MLflow does."""
        with self._changed:
            state = self._state
            if state.stopping:
                state.lost += 1
                state.reason = "logged after the run was closed"
                return
            if len(state.waiting) >= self._capacity:
                state.lost += 1
                return
            state.waiting.append(entry)
            if len(state.waiting) == 1:
                self._changed.notify_all()

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until everything queued was sent (or refused); False if it was not within `timeout` seconds.

        While MLflow is away each call makes one attempt; it does not wait for the time-out then.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            state = self._state
            attempts = state.attempts
            state.hurry = True
            self._changed.notify_all()
            while state.waiting and self._thread.is_alive():
                away = state.failures > 0 and state.attempts > attempts
                remaining = deadline - time.monotonic()
                if away or remaining <= 0:
                    break
                self._changed.wait(remaining)
            state.hurry = False
            return not state.waiting

    def close(self, timeout: float = 30.0) -> DeliveryReport:
        """Flushes, ends the thread, and says what became of all entries. What could not be sent is lost and counted."""
        self.flush(timeout)
        with self._changed:
            state = self._state
            state.stopping = True
            state.lost += len(state.waiting)
            state.waiting.clear()
            self._changed.notify_all()
        self._thread.join(timeout=min(timeout, 5.0))
        return DeliveryReport(state.sent, state.lost, state.reason)

    def _run(self) -> None:
        state = self._state
        while True:
            with self._changed:
                while not state.waiting and not state.stopping:
                    self._changed.wait()
                if not state.stopping and not state.hurry:
                    self._changed.wait_for(lambda: state.hurry or state.stopping, self._pause())
                if state.stopping:
                    return
                entry, count = _gather(state.waiting)
            self._attempt(entry, count)

    def _pause(self) -> float:
        if not self._state.failures:
            return self._interval
        return min(30.0, self._retry * 2.0 ** min(self._state.failures - 1, 10))

    def _attempt(self, entry: Entry, count: int) -> None:
        failure: Exception | None = None
        try:
            self._send(entry)
        except Exception as error:  # whatever MLflow raises must not reach training
            failure = error
        with self._changed:
            self._settle(entry, count, failure)
            self._changed.notify_all()

    def _settle(self, entry: Entry, count: int, failure: Exception | None) -> None:
        state = self._state
        state.attempts += 1
        if state.stopping:  # closed meanwhile, and counted as lost
            return
        if failure is None:
            self._remove(count)
            state.sent += count
            if state.failures:
                logger.warning("MLflow is back: what had gathered is being sent")
            state.failures, state.warned = 0, False
            return
        state.reason = str(failure) or type(failure).__name__
        if isinstance(failure, RefusedError):
            self._remove(count)
            state.lost += count
            logger.warning("MLflow refused %s and will not get them: %s", entry.kind, state.reason)
            return
        state.failures += 1
        if not state.warned:
            state.warned = True
            logger.warning("MLflow cannot be reached; the run goes on and what it logs waits in memory: %s", state.reason)

    def _remove(self, count: int) -> None:
        for _ in range(min(count, len(self._state.waiting))):
            self._state.waiting.popleft()


def _gather(waiting: deque[Entry]) -> tuple[Entry, int]:
    """The next request: the first entry and those like it that directly follow, within MLflow's limits."""
    first = waiting[0]
    limit = {"metrics": MAX_METRICS, "params": MAX_PAIRS, "tags": MAX_PAIRS, "document": 0, "status": 0}[first.kind]
    gathered, count = list(first.values), 1
    for entry in islice(waiting, 1, limit + 1):
        if entry.kind != first.kind or len(gathered) + len(entry.values) > limit:
            break
        gathered.extend(entry.values)
        count += 1
    return Entry(first.kind, tuple(gathered)), count  # type: ignore[arg-type]
