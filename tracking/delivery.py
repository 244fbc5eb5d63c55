"""Hands what is logged to MLflow from a thread of its own, in order, so that training never waits for MLflow.

MLflow has asynchronous logging of its own (`log_batch(synchronous=False)`). It is not used here for three reasons: it sends
with ten threads, so that values arrive out of order and SQLite refuses writers that come at once; a failed batch is dropped
after one error line; and it takes one request, and several transactions, for each call. This one keeps what could not be sent,
in a spool on disk if it is given one, tries again, sends what has gathered in one request, and counts what was lost.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spool import Courier, Outage, Spool

logger = logging.getLogger(__name__)

THREAD_NAME = "tracking-delivery"
MAX_METRICS = 1000  # MLflow's limit for one request
MAX_PAIRS = 100

_LONGEST_RETRY_SECONDS = 30.0

Kind = Literal["metrics", "params", "tags", "document", "status"]


@dataclass(frozen=True)
class Entry:
    """One thing to log; plain JSON values only.

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
        lost: entries MLflow does not have and will not get.
        reason: why the last one was lost or had to wait; empty if nothing went wrong.
        waiting: entries that wait in the spool, for the next to open it.
    """

    sent: int
    lost: int
    reason: str
    waiting: int = 0


class Delivery:
    """A queue and the threads that empty it.

    Args:
        send: delivers one entry or raises; :class:`RefusedError` means that trying again is useless. Must be safe to
            repeat: an attempt that failed may have arrived (MLflow ignores a metric it has already).
        spool: where entries wait while MLflow is away; closed by :meth:`close`. None: in memory.
        server: MLflow and its place, without a password, for what the person is told.
        interval_seconds: how long entries gather before they are sent together.
        retry_seconds: wait after a failure; doubles up to 30 s.
        capacity: most entries that wait in memory; what comes beyond is given up and counted.
    """

    def __init__(
        self,
        send: Callable[[Entry], None],
        *,
        spool: Spool | None = None,
        server: str = "MLflow",
        interval_seconds: float = 5.0,
        retry_seconds: float = 1.0,
        capacity: int = 20_000,
    ) -> None:
        self._send = send
        self._spool = spool
        # The end of an earlier process is not the end of the run that goes on.
        self._session = uuid.uuid4().hex
        self._sent = 0
        self._refused = 0
        self._late = 0
        self._reason = ""
        place = "memory" if spool is None else str(spool.path)
        self._courier: Courier[Entry] = Courier(
            THREAD_NAME,
            self._encode,
            self._deliver,
            Outage(logger, server, "metrics", place),
            spool=spool,
            batch=MAX_METRICS,
            interval_seconds=interval_seconds,
            retry_seconds=(retry_seconds, _LONGEST_RETRY_SECONDS),
            capacity=capacity,
        )

    def put(self, entry: Entry) -> None:
        """Queues an entry; returns at once, whatever MLflow does."""
        if not self._courier.put(entry):
            self._late += 1
            self._reason = "logged after the run was closed"

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until everything queued was sent (or refused); False if it was not within `timeout` seconds.

        While MLflow is away each call makes one attempt; it does not wait for the time-out then.
        """
        return self._courier.flush(timeout, patient=False)

    def secure(self, timeout: float = 5.0) -> bool:
        """Waits until the disk has everything queued that MLflow has not; False if it does not take it, or there is no file."""
        return self._courier.secure(timeout)

    def close(self, timeout: float = 30.0) -> DeliveryReport:
        """Flushes, ends the threads, and says what became of all entries.

        What could not be sent waits in the spool; without one it is lost and counted.
        """
        courier = self._courier
        courier.close(timeout, patient=False)
        unfiled = courier.unfiled
        lost = self._refused + self._late + courier.lost + unfiled
        return DeliveryReport(self._sent, lost, self._reason or courier.reason, courier.waiting - unfiled)

    def _encode(self, entry: Entry) -> bytes:
        return json.dumps({"kind": entry.kind, "values": entry.values, "session": self._session}).encode()

    def _deliver(self, payloads: Sequence[bytes]) -> int:
        """Send the next request; returns how many payloads went into it."""
        entry, count = _gather(_decoded(payloads, self._session))
        if entry is None:
            return count
        try:
            self._send(entry)
        except RefusedError as error:
            self._reason = str(error)
            self._refused += count
            logger.warning("MLflow refused %s and will not get them: %s", entry.kind, error)
        else:
            self._sent += count
        return count


def waiting_entries(spool: Spool) -> Iterator[Entry]:
    """What an earlier process left in the spool, but for its end."""
    return (entry for entry in _decoded(spool.records(), "") if entry is not None)


def _decoded(payloads: Iterable[bytes], session: str) -> Iterator[Entry | None]:
    """The entries; None for the end of another process, and for what is none."""
    for payload in payloads:
        try:
            found: dict[str, Any] = json.loads(payload)
            ended = found["kind"] == "status" and found["session"] != session
            yield None if ended else Entry(found["kind"], tuple(tuple(value) for value in found["values"]))
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("a record of the spool is nothing MLflow could take and is left out: %s", error)
            yield None


def _gather(entries: Iterator[Entry | None]) -> tuple[Entry | None, int]:
    """The next request: the first entry and those like it that directly follow, within MLflow's limits; how many these are."""
    first = next(entries, None)
    if first is None:
        return None, 1
    limit = {"metrics": MAX_METRICS, "params": MAX_PAIRS, "tags": MAX_PAIRS, "document": 0, "status": 0}[first.kind]
    gathered, count = list(first.values), 1
    for entry in entries:
        if entry is None or entry.kind != first.kind or len(gathered) + len(entry.values) > limit:
            break
        gathered.extend(entry.values)
        count += 1
    return Entry(first.kind, tuple(gathered)), count  # type: ignore[arg-type]
